// <studio-adapter-import model-id="mod_…" label-from="id of the field with its name">: a zip with an adapter made elsewhere, dropped or chosen. It is sent
// at once for that base model; "Taken" with {id} when it was taken in. A refusal stands under the drop zone.
import { action, element, fileInput, post, show, takeDrops } from "./sending.js";

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
    const take = (file) => this.#send(file);
    this.file = fileInput(".zip,application/zip", "Zip of the adapter", take);
    this.zone = element("div", "up-zone");
    const buttons = element("div", "up-buttons");
    buttons.append(action("Choose a zip", () => this.file.click()));
    this.zone.append(element("strong", "", "Drop the adapter's zip here"), element("p", "", "The folder that PEFT saved: adapter_config.json and adapter_model.safetensors."), buttons);
    this.live = element("div", "trial-live");
    this.note = element("p", "up-note");
    this.note.setAttribute("role", "alert");
    this.append(this.file, this.zone, this.live, this.note);
    takeDrops(this.zone, take);
    show(this, "zone");
  }

  #send(file) {
    const model = this.getAttribute("model-id");
    if (!model) return show(this, "zone", "Choose the base model first.");
    const about = new URLSearchParams({ model_id: model, name: document.getElementById(this.getAttribute("label-from"))?.value || "", file_name: file.name.slice(0, 200) });
    show(this, "live");
    const request = post(this.live, {
      address: `/api/v1/adapters?${about}`,
      type: "application/zip",
      blob: file,
      name: file.name,
      onCancel: () => {
        this.#request?.abort();
        this.#request = null;
        show(this, "zone");
      },
      onDone: (made, refusal) => {
        if (request !== this.#request) return;
        this.#request = null;
        show(this, "zone", made ? "" : refusal);
        if (made) this.dispatchEvent(new CustomEvent("Taken", { detail: { id: made.id } }));
      },
    });
    this.#request = request;
  }
}
customElements.define("studio-adapter-import", StudioAdapterImport);
