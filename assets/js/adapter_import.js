// <studio-adapter-import model-id="mod_…" label-from="id of the field with its name">: a zip with an adapter made elsewhere, dropped or chosen. It is sent
// at once for that base model; "Taken" with {id} when it was taken in. A refusal stands under the drop zone.
const LOST = "The server can't be reached. Try again.";

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

function action(label, run) {
  const made = element("button", "up-button", label);
  made.type = "button";
  made.addEventListener("click", run);
  return made;
}

class StudioAdapterImport extends HTMLElement {
  #request = null;

  connectedCallback() {
    if (!this.firstChild) this.#build();
  }

  disconnectedCallback() {
    this.#request?.abort();
    this.#request = null;
    this.replaceChildren();
  }

  #build() {
    this.file = element("input");
    this.file.type = "file";
    this.file.accept = ".zip,application/zip";
    this.file.hidden = true;
    this.file.setAttribute("aria-label", "Zip of the adapter");
    this.file.addEventListener("change", () => {
      if (this.file.files[0]) this.#send(this.file.files[0]);
      this.file.value = "";
    });
    this.zone = element("div", "up-zone");
    const buttons = element("div", "up-buttons");
    buttons.append(action("Choose a zip", () => this.file.click()));
    this.zone.append(element("strong", "", "Drop the adapter's zip here"), element("p", "", "The folder that PEFT saved: adapter_config.json and adapter_model.safetensors."), buttons);
    this.live = element("div", "trial-live");
    this.live.hidden = true;
    this.note = element("p", "up-note");
    this.note.setAttribute("role", "alert");
    this.note.hidden = true;
    this.append(this.file, this.zone, this.live, this.note);
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
      if (file) this.#send(file);
    });
  }

  #show(what, note = "") {
    this.zone.hidden = what !== "zone";
    this.live.hidden = what === "zone";
    this.note.hidden = !note;
    this.note.textContent = note;
  }

  #send(file) {
    const model = this.getAttribute("model-id");
    if (!model) return this.#show("zone", "Choose the base model first.");
    const bar = element("div", "up-bar trial-meter");
    bar.append(element("i"));
    bar.setAttribute("role", "progressbar");
    bar.setAttribute("aria-label", `Sending ${file.name}`);
    const cancel = action("Cancel", () => {
      this.#request?.abort();
      this.#request = null;
      this.#show("zone");
    });
    this.live.replaceChildren(element("span", "trial-name", file.name), bar, cancel);
    this.#show("live");
    const request = new XMLHttpRequest();
    const about = new URLSearchParams({ model_id: model, name: document.getElementById(this.getAttribute("label-from"))?.value || "", file_name: file.name.slice(0, 200) });
    request.open("POST", `/api/v1/adapters?${about}`);
    request.setRequestHeader("Content-Type", "application/zip");
    request.upload.onprogress = (event) => {
      bar.firstChild.style.width = `${(100 * event.loaded) / Math.max(1, event.total)}%`;
    };
    request.onloadend = () => {
      if (request !== this.#request) return;
      this.#request = null;
      let body = {};
      try {
        body = JSON.parse(request.responseText || "{}");
      } catch {
        /* not one of our answers */
      }
      this.#show("zone", request.status === 201 ? "" : body.detail || LOST);
      if (request.status === 201) this.dispatchEvent(new CustomEvent("Taken", { detail: { id: body.id } }));
    };
    this.#request = request;
    request.send(file);
  }
}
customElements.define("studio-adapter-import", StudioAdapterImport);
