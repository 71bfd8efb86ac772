// <studio-trial-clip>: a clip to try a model on, dropped, chosen or recorded. It is sent to the server at once and says
// "Sent" with {id} once it is there, "Gone" when it is taken away. One clip at a time.
import { Microphone } from "./microphone.js";
import "./player.js";

const LOST = "The server can't be reached. Try again.";
const clock = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

function action(label, run, options = {}) {
  const made = element("button", "up-button", label);
  made.type = "button";
  for (const [key, value] of Object.entries(options)) made.setAttribute(key, value);
  made.addEventListener("click", run);
  return made;
}

class StudioTrialClip extends HTMLElement {
  static observedAttributes = ["most-bytes", "most-seconds"]; // the server's limits, which a setting changes
  #microphone = null;
  #request = null;
  #turn = 0; // a newer clip has taken over when it differs

  connectedCallback() {
    if (!this.firstChild) this.#build();
  }

  disconnectedCallback() {
    this.#letGo();
    this.replaceChildren();
  }

  attributeChangedCallback() {
    if (this.hint) this.hint.textContent = this.#hint();
  }

  #most(what) {
    return Number(this.getAttribute(`most-${what}`)) || Infinity;
  }

  get #megabytes() {
    return `${Math.round(this.#most("bytes") / 2 ** 20)} MB`;
  }

  #hint() {
    const seconds = this.#most("seconds");
    return `WAV, FLAC, Ogg or MP3, up to ${this.#megabytes} and ${seconds < 120 ? `${seconds} seconds` : `${Math.floor(seconds / 60)} minutes`}. Or say something.`;
  }

  #build() {
    this.file = element("input");
    this.file.type = "file";
    this.file.accept = "audio/*,.wav,.flac,.ogg,.mp3";
    this.file.hidden = true;
    this.file.setAttribute("aria-label", "Clip to try");
    this.file.addEventListener("change", () => {
      if (this.file.files[0]) this.#send(this.file.files[0], this.file.files[0].name);
      this.file.value = "";
    });
    this.zone = element("div", "up-zone trial-zone");
    this.hint = element("p", "", this.#hint());
    const buttons = element("div", "up-buttons");
    buttons.append(action("Choose a file", () => this.file.click()), action("Record", () => this.#record(), { "data-record": "" }));
    this.zone.append(element("strong", "", "Drop a clip here"), this.hint, buttons);
    this.live = element("div", "trial-live");
    this.note = element("p", "up-note");
    this.note.setAttribute("role", "alert");
    this.append(this.file, this.zone, this.live, this.note);
    this.#dropZone();
    this.#show("zone");
  }

  #dropZone() {
    const over = (is) => (event) => {
      event.preventDefault();
      this.zone.toggleAttribute("data-over", is);
    };
    this.zone.addEventListener("dragenter", over(true));
    this.zone.addEventListener("dragover", over(true));
    this.zone.addEventListener("dragleave", over(false));
    this.zone.addEventListener("drop", (event) => {
      over(false)(event);
      const [file] = event.dataTransfer.files;
      if (file) this.#send(file, file.name);
    });
  }

  #show(what, note = "") {
    this.zone.hidden = what !== "zone";
    this.live.hidden = what === "zone";
    this.note.hidden = !note;
    this.note.textContent = note;
    if (what === "zone") this.live.replaceChildren();
  }

  async #record() {
    const turn = ++this.#turn;
    const meter = element("div", "trial-meter");
    meter.append(element("i"));
    const time = element("span", "trial-time", "0:00");
    const live = element("span", "sr-only", "Recording");
    live.setAttribute("role", "status");
    const onLevel = (level) => {
      meter.firstChild.style.width = `${100 * level}%`;
      time.textContent = clock(this.#microphone?.seconds ?? 0);
      if (this.#microphone?.seconds >= this.#most("seconds")) this.#stop();
    };
    try {
      const opened = await Microphone.open(onLevel);
      if (turn !== this.#turn || !this.isConnected) return opened.drop();
      this.#microphone = opened;
    } catch (error) {
      this.#show("zone", error.message);
      return;
    }
    const stop = action("Stop and use", () => this.#stop(), { "data-primary": "" });
    const drop = action("Cancel", () => {
      this.#letGo();
      this.#show("zone");
    });
    this.live.replaceChildren(element("span", "trial-dot"), time, meter, drop, stop, live);
    this.#show("live");
    stop.focus();
  }

  async #stop() {
    const microphone = this.#microphone;
    this.#microphone = null;
    if (!microphone) return;
    try {
      this.#send(await microphone.stop(), "Recording");
    } catch (error) {
      this.#show("zone", error.message);
    }
  }

  #send(blob, name) {
    this.#letGo();
    if (blob.size > this.#most("bytes")) return this.#show("zone", `${name} is larger than ${this.#megabytes}. Choose a shorter clip.`);
    const turn = ++this.#turn;
    const bar = element("div", "up-bar trial-meter");
    bar.append(element("i"));
    bar.setAttribute("role", "progressbar");
    bar.setAttribute("aria-label", `Sending ${name}`);
    const cancel = action("Cancel", () => {
      this.#letGo();
      this.#show("zone");
    });
    this.live.replaceChildren(element("span", "trial-name", name), bar, cancel);
    this.#show("live");
    const request = new XMLHttpRequest();
    request.open("POST", "/api/v1/trial-clips");
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => {
      bar.firstChild.style.width = `${(100 * event.loaded) / Math.max(1, event.total)}%`;
    };
    request.onloadend = () => {
      if (turn !== this.#turn) return;
      this.#request = null;
      let body = {};
      try {
        body = JSON.parse(request.responseText || "{}");
      } catch {
        /* not one of our answers */
      }
      if (request.status === 201) this.#sent(body, blob, name);
      else this.#show("zone", body.detail || LOST);
    };
    this.#request = request;
    request.send(blob);
  }

  #sent(clip, blob, name) {
    this.address = URL.createObjectURL(blob);
    const player = element("studio-player");
    for (const [key, value] of Object.entries({ src: this.address, peaks: clip.peaks, seconds: String(clip.duration_s), label: name })) player.setAttribute(key, value);
    const other = action("Another clip", () => {
      this.#letGo();
      this.#show("zone");
      this.zone.querySelector("button").focus();
      this.dispatchEvent(new Event("Gone"));
    });
    const label = element("span", "trial-name", name);
    label.title = name;
    this.live.replaceChildren(label, player, other);
    this.#show("live");
    this.dispatchEvent(new CustomEvent("Sent", { detail: { id: clip.id } }));
  }

  #letGo() {
    this.#turn++;
    this.#microphone?.drop();
    this.#microphone = null;
    this.#request?.abort();
    this.#request = null;
    if (this.address) URL.revokeObjectURL(this.address);
    this.address = "";
  }
}
customElements.define("studio-trial-clip", StudioTrialClip);
