// <studio-player src seconds peaks label>: a waveform to hear. `peaks` is base64 of unsigned bytes, low and high in
// turn (0 is -1, 255 is +1). Click or drag seeks; Space or Enter plays, arrows seek, Home and End jump, L loops.
// With `post`, the sound is the answer to that body, fetched at once and drawn from what it holds.
(() => {
  if (customElements.get("studio-player")) return;
  const PLAY = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M7 4.5v15l12-7.5z"/></svg>';
  const PAUSE = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M7 5h3.6v14H7zM13.4 5H17v14h-3.6z"/></svg>';
  const time = (s) => (s < 60 ? `${s.toFixed(1)} s` : `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`);
  let playing = null;

  // Low and high of each stretch, as the server's peaks: unsigned bytes in turn.
  function peaksOf(samples, bars = 100) {
    const peaks = new Uint8Array(2 * bars);
    for (let i = 0; i < bars; i++) {
      let low = 0;
      let high = 0;
      for (let j = Math.floor((i * samples.length) / bars); j < Math.floor(((i + 1) * samples.length) / bars); j++) {
        low = Math.min(low, samples[j]);
        high = Math.max(high, samples[j]);
      }
      peaks[2 * i] = Math.round((low + 1) * 127.5);
      peaks[2 * i + 1] = Math.round((high + 1) * 127.5);
    }
    return peaks;
  }

  class StudioPlayer extends HTMLElement {
    static observedAttributes = ["src", "peaks", "seconds", "post"];

    connectedCallback() {
      if (!this.firstChild) this.#build();
      if (this.hasAttribute("post")) this.#order();
      this.#resize = new ResizeObserver(() => this.#draw());
      this.#resize.observe(this.wave);
      this.#theme = new MutationObserver(() => this.#draw());
      this.#theme.observe(document.documentElement, { attributes: true, attributeFilter: ["class"] });
    }

    disconnectedCallback() {
      this.#resize?.disconnect();
      this.#theme?.disconnect();
      this.#stop();
    }

    attributeChangedCallback(name, before, after) {
      if (before === after || !this.wave) return;
      if (name === "src" || name === "post") this.#stop();
      if (this.hasAttribute("post") && (name === "src" || name === "post")) this.#order();
      this.#label();
      this.#draw();
    }

    #resize;
    #theme;
    #frame = 0;
    #wanted = 0; // seconds; where to begin once the sound is there

    // Ask for the sound once per change, however many attributes change at once.
    #order() {
      URL.revokeObjectURL(this.made);
      this.made = ""; // what was made for other settings is not to be heard under these
      if (this.ordered) return;
      this.ordered = true;
      queueMicrotask(() => {
        this.ordered = false;
        this.#fetch();
      });
    }

    async #fetch() {
      const body = this.getAttribute("post");
      const src = this.getAttribute("src");
      const isCurrent = () => this.isConnected && this.getAttribute("post") === body && this.getAttribute("src") === src;
      this.setAttribute("aria-busy", "true");
      try {
        const answer = await fetch(src, { method: "POST", headers: { "Content-Type": "application/json" }, body });
        if (!isCurrent()) return;
        if (!answer.ok) throw new Error((await answer.json()).detail);
        const bytes = await answer.arrayBuffer();
        const sound = await new OfflineAudioContext(1, 1, 16000).decodeAudioData(bytes.slice(0));
        if (!isCurrent()) return;
        this.made = URL.createObjectURL(new Blob([bytes], { type: "audio/wav" }));
        this.broken = "";
        this.decodedFrom = this.getAttribute("peaks") || "";
        this.decoded = peaksOf(sound.getChannelData(0));
      } catch (error) {
        if (isCurrent()) this.broken = error.message || "This could not be made. Try again.";
      }
      this.removeAttribute("aria-busy");
      this.#label();
      this.#draw();
    }

    get duration() {
      const known = Number(this.getAttribute("seconds")) || 0;
      return Number.isFinite(this.audio?.duration) ? this.audio.duration : known;
    }

    get position() {
      return this.audio?.readyState ? this.audio.currentTime : this.#wanted;
    }

    #build() {
      this.button = document.createElement("button");
      this.button.type = "button";
      this.button.className = "player-button";
      this.button.addEventListener("click", () => this.toggle());
      this.wave = document.createElement("div");
      this.wave.className = "player-wave";
      this.wave.tabIndex = 0;
      this.wave.setAttribute("role", "slider");
      this.wave.setAttribute("aria-valuemin", "0");
      this.canvas = document.createElement("canvas");
      this.wave.append(this.canvas);
      this.clock = document.createElement("span");
      this.clock.className = "player-clock";
      this.append(this.button, this.wave, this.clock);
      this.wave.addEventListener("pointerdown", (event) => this.#scrub(event));
      this.wave.addEventListener("keydown", (event) => this.#key(event));
      this.#label();
    }

    #label() {
      const name = this.getAttribute("label") || "clip";
      const isOn = Boolean(this.audio && !this.audio.paused);
      this.button.innerHTML = isOn ? PAUSE : PLAY;
      this.button.setAttribute("aria-label", `${isOn ? "Pause" : "Play"} ${name}`);
      this.button.title = this.broken || (isOn ? "Pause" : "Play");
      this.wave.setAttribute("aria-label", `Position in ${name}`);
      this.wave.setAttribute("aria-valuemax", this.duration.toFixed(1));
      this.#tick();
    }

    #tick() {
      const at = this.position;
      this.wave.setAttribute("aria-valuenow", at.toFixed(1));
      this.wave.setAttribute("aria-valuetext", `${time(at)} of ${time(this.duration)}`);
      this.clock.textContent = this.broken ? "can't play here" : time(at > 0 ? at : this.duration);
    }

    toggle() {
      if (this.audio && !this.audio.paused) this.audio.pause();
      else this.play();
    }

    play() {
      if (playing && playing !== this) playing.audio?.pause();
      playing = this;
      if (this.hasAttribute("post") && !this.made) return;
      if (!this.audio) {
        this.audio = new Audio(this.made || this.getAttribute("src"));
        this.audio.loop = this.hasAttribute("data-loop");
        for (const name of ["play", "pause", "ended", "loadedmetadata"]) this.audio.addEventListener(name, () => this.#changed(name));
        this.audio.addEventListener("error", () => this.#failed());
      }
      this.audio.play().catch(() => {});
    }

    #changed(name) {
      if (!this.audio) return; // a pause that is told after the sound was let go
      if (name === "loadedmetadata") {
        if (this.#wanted) this.audio.currentTime = this.#wanted;
        this.#wanted = 0; // not before: it is told of "play" first
      }
      if (name === "ended") this.audio.currentTime = 0;
      cancelAnimationFrame(this.#frame);
      if (!this.audio.paused) this.#run();
      this.#label();
      this.#draw();
    }

    #failed() {
      this.broken = "This browser can't play this recording. Download it to hear it.";
      this.#label();
    }

    #run() {
      this.#draw();
      this.#tick();
      this.#frame = requestAnimationFrame(() => this.#run());
    }

    #stop() {
      cancelAnimationFrame(this.#frame);
      this.audio?.pause();
      this.audio = null;
      this.broken = "";
      this.#wanted = 0;
    }

    repeat() {
      this.toggleAttribute("data-loop");
      if (this.audio) this.audio.loop = this.hasAttribute("data-loop");
    }

    seek(seconds) {
      const at = Math.min(Math.max(0, seconds), this.duration);
      if (this.audio?.readyState) this.audio.currentTime = at;
      else this.#wanted = at;
      this.#tick();
      this.#draw();
    }

    #scrub(event) {
      if (event.button) return;
      const box = this.wave.getBoundingClientRect();
      const to = (e) => this.seek(((e.clientX - box.left) / box.width) * this.duration);
      to(event);
      this.wave.setPointerCapture(event.pointerId);
      const end = () => {
        this.wave.removeEventListener("pointermove", to);
        this.wave.removeEventListener("pointerup", end);
        this.wave.removeEventListener("pointercancel", end);
      };
      this.wave.addEventListener("pointermove", to);
      this.wave.addEventListener("pointerup", end);
      this.wave.addEventListener("pointercancel", end);
    }

    #key(event) {
      const step = Math.max(0.1, this.duration / 20);
      const actions = {
        " ": () => this.toggle(),
        Enter: () => this.toggle(),
        ArrowRight: () => this.seek(this.position + step),
        ArrowUp: () => this.seek(this.position + step),
        ArrowLeft: () => this.seek(this.position - step),
        ArrowDown: () => this.seek(this.position - step),
        Home: () => this.seek(0),
        End: () => this.seek(this.duration),
        l: () => this.repeat(),
      };
      if (event.ctrlKey || event.metaKey || event.altKey || !actions[event.key]) return;
      event.preventDefault();
      actions[event.key]();
    }

    #bytes() {
      const text = this.getAttribute("peaks") || "";
      if (this.decodedFrom !== text) {
        this.decodedFrom = text;
        this.decoded = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
      }
      return this.decoded;
    }

    #draw() {
      const { width, height } = this.wave.getBoundingClientRect();
      if (!width || !height) return;
      const scale = devicePixelRatio || 1;
      this.canvas.width = Math.round(width * scale);
      this.canvas.height = Math.round(height * scale);
      const pen = this.canvas.getContext("2d");
      pen.scale(scale, scale);
      const style = getComputedStyle(this);
      const played = style.getPropertyValue("--primary").trim();
      const rest = style.getPropertyValue("--border-strong").trim();
      const bytes = this.#bytes();
      const pairs = bytes.length / 2;
      const bars = Math.max(1, Math.min(pairs, Math.floor(width / 3)));
      const until = this.duration ? this.position / this.duration : 0;
      for (let i = 0; i < bars && pairs; i++) {
        let low = 255;
        let high = 0;
        const last = Math.max(Math.floor(((i + 1) * pairs) / bars), Math.floor((i * pairs) / bars) + 1);
        for (let j = Math.floor((i * pairs) / bars); j < last; j++) {
          low = Math.min(low, bytes[2 * j]);
          high = Math.max(high, bytes[2 * j + 1]);
        }
        const x = (i * width) / bars;
        const top = ((255 - high) / 255) * height;
        const tall = Math.max(1.5, ((high - low) / 255) * height);
        pen.fillStyle = i / bars < until ? played : rest;
        pen.beginPath();
        pen.roundRect(x, Math.min(top, height - tall), Math.max(1.2, width / bars - 1), tall, 1);
        pen.fill();
      }
    }
  }
  customElements.define("studio-player", StudioPlayer);
})();
