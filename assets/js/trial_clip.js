// <studio-trial-clip>: a clip to try a model on, dropped, chosen or recorded. It is sent to the server at once and says
// "Sent" with {id} once it is there, "Gone" when it is taken away. One clip at a time.
import { Microphone } from "./microphone.js";
import "./player.js";
import { action, element, fileInput, post, show, takeDrops } from "./sending.js";

const clock = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;

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
    const take = (file) => this.#send(file, file.name);
    this.file = fileInput("audio/*,.wav,.flac,.ogg,.mp3", "Clip to try", take);
    this.zone = element("div", "up-zone trial-zone");
    this.hint = element("p", "", this.#hint());
    const buttons = element("div", "up-buttons");
    buttons.append(action("Choose a file", () => this.file.click()), action("Record", () => this.#record(), { "data-record": "" }));
    this.zone.append(element("strong", "", "Drop a clip here"), this.hint, buttons);
    this.live = element("div", "trial-live");
    this.note = element("p", "up-note");
    this.note.setAttribute("role", "alert");
    this.append(this.file, this.zone, this.live, this.note);
    takeDrops(this.zone, take);
    show(this, "zone");
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
      show(this, "zone", error.message);
      return;
    }
    const stop = action("Stop and use", () => this.#stop(), { "data-primary": "" });
    const drop = action("Cancel", () => {
      this.#letGo();
      show(this, "zone");
    });
    this.live.replaceChildren(element("span", "trial-dot"), time, meter, drop, stop, live);
    show(this, "live");
    stop.focus();
  }

  async #stop() {
    const microphone = this.#microphone;
    this.#microphone = null;
    if (!microphone) return;
    try {
      this.#send(await microphone.stop(), "Recording");
    } catch (error) {
      show(this, "zone", error.message);
    }
  }

  #send(blob, name) {
    this.#letGo();
    if (blob.size > this.#most("bytes")) return show(this, "zone", `${name} is larger than ${this.#megabytes}. Choose a shorter clip.`);
    const turn = ++this.#turn;
    show(this, "live");
    this.#request = post(this.live, {
      address: "/api/v1/trial-clips",
      type: "application/octet-stream",
      blob,
      name,
      onCancel: () => {
        this.#letGo();
        show(this, "zone");
      },
      onDone: (made, refusal) => {
        if (turn !== this.#turn) return;
        this.#request = null;
        if (made) this.#sent(made, blob, name);
        else show(this, "zone", refusal);
      },
    });
  }

  #sent(clip, blob, name) {
    this.address = URL.createObjectURL(blob);
    const player = element("studio-player");
    for (const [key, value] of Object.entries({ src: this.address, peaks: clip.peaks, seconds: String(clip.duration_s), label: name })) player.setAttribute(key, value);
    const other = action("Another clip", () => {
      this.#letGo();
      show(this, "zone");
      this.zone.querySelector("button").focus();
      this.dispatchEvent(new Event("Gone"));
    });
    const label = element("span", "trial-name", name);
    label.title = name;
    this.live.replaceChildren(label, player, other);
    show(this, "live");
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
