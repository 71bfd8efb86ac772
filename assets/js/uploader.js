// <studio-uploader dataset-id="ds_…">: sends files to the REST API with progress, cancel, retry and resume. With
// kind="models" the id is a model's, and what is at the end is a check.
// Without a dataset id it only gathers files; its hidden field `draft` names the batch, and the page that opens as
// /datasets/ds_…?draft=<name> sends it. Uploads belong to the tab, not to the page: they go on while one looks around.
// With `replaces`, what the server has was found wanting. Once all is sent and there are columns to look at, it says
// "Review".
import { Batch, byDataset, drafts, files, size, span } from "./upload_batch.js";

const MOST_ROWS = 200;
const TEXTS = {
  datasets: ["Drop recordings here", "WAV, FLAC, Ogg or MP3: files, folders or one zip. Words and labels come from manifest.csv, manifest.jsonl, metadata.csv, a .txt beside each recording, or a folder for each class."],
  models: ["Drop the model's folder here", "config.json, the weights as safetensors, and the JSON files of its tokenizer and feature extractor."],
};

async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => ({ file, name: file.name }));
  const found = [];
  const walk = async (entry, prefix) => {
    if (entry.isFile) {
      const file = await new Promise((ok, bad) => entry.file(ok, bad));
      found.push({ file, name: prefix + file.name });
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((ok, bad) => reader.readEntries(ok, bad));
      if (!some.length) return;
      for (const child of some) await walk(child, `${prefix}${entry.name}/`);
    }
  };
  for (const entry of entries) await walk(entry, "");
  return found;
}

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

class StudioUploader extends HTMLElement {
  static observedAttributes = ["dataset-id"];
  #rows = new Map();
  #onChange = () => this.#later();
  #onReview = () => this.dispatchEvent(new Event("Review"));

  connectedCallback() {
    if (!this.firstChild) this.#build();
    this.#attach();
  }

  disconnectedCallback() {
    this.#detach();
  }

  #detach() {
    this.batch?.removeEventListener("changed", this.#onChange);
    this.batch?.removeEventListener("review", this.#onReview);
  }

  attributeChangedCallback(_, before, after) {
    if (this.isConnected && this.firstChild && before !== after) this.#attach();
  }

  #attach() {
    this.#detach();
    const id = this.getAttribute("dataset-id") || "";
    this.batch = id ? this.#batchOf(id) : this.#draft();
    this.batch.addEventListener("changed", this.#onChange);
    this.batch.addEventListener("review", this.#onReview);
    this.list.replaceChildren();
    this.#rows.clear();
    this.#render();
  }

  get #kind() {
    return this.getAttribute("kind") || "datasets";
  }

  #draft() {
    const name = crypto.randomUUID ? crypto.randomUUID() : String(Math.random()).slice(2);
    const batch = new Batch(this.#kind);
    drafts.clear(); // one form at a time
    drafts.set(name, batch);
    this.field.value = name;
    return batch;
  }

  #batchOf(id) {
    let batch = byDataset.get(id);
    if (batch) return batch;
    const name = new URLSearchParams(location.search).get("draft");
    batch = drafts.get(name) || new Batch(this.#kind);
    batch.goesOn = drafts.delete(name) && batch.items.length > 0;
    batch.isReplacing = this.hasAttribute("replaces");
    byDataset.set(id, batch);
    batch.start(id);
    return batch;
  }

  #build() {
    this.zone = element("div", "up-zone");
    const [title, text] = TEXTS[this.#kind];
    this.zone.append(element("strong", "", title), element("p", "", text));
    const pick = element("input");
    const pickFolder = element("input");
    for (const input of [pick, pickFolder]) {
      input.type = "file";
      input.multiple = true;
      input.hidden = true;
      input.addEventListener("change", () => {
        this.batch.add([...input.files].map((file) => ({ file, name: file.webkitRelativePath || file.name })));
        input.value = "";
      });
    }
    pick.setAttribute("aria-label", "Files to upload");
    pickFolder.setAttribute("aria-label", "Folder to upload");
    pickFolder.webkitdirectory = true;
    const buttons = element("div", "up-buttons");
    buttons.append(action("Choose files", () => pick.click()), action("Choose a folder", () => pickFolder.click()));
    this.goOn = element("div", "up-go-on");
    this.goOnText = element("p");
    // A folder was chosen as a folder, and has to be again: only so do its files have their names.
    const again = () => (this.batch.missing().some(([name]) => name.includes("/")) ? pickFolder : pick).click();
    this.goOn.append(this.goOnText, action("Go on", again, { "data-primary": "" }));
    this.zone.append(buttons, pick, pickFolder);
    this.field = element("input");
    this.field.type = "hidden";
    this.field.name = "draft";
    this.total = element("div", "up-total");
    this.totalText = element("span");
    this.totalMore = element("span", "up-state");
    this.go = action("Process", () => this.batch.process(), { "data-primary": "" });
    this.stop = action("Cancel upload", () => this.batch.cancel());
    this.total.append(this.totalText, this.totalMore, this.stop, this.go);
    this.live = element("div", "sr-only");
    this.live.setAttribute("role", "status");
    this.bar = element("div", "up-bar up-total-bar");
    this.bar.append(element("i"));
    this.bar.setAttribute("role", "progressbar");
    this.bar.setAttribute("aria-label", "Upload");
    this.note = element("p", "up-note");
    this.note.setAttribute("role", "alert");
    this.list = element("ul", "up-rows");
    this.list.setAttribute("aria-label", "Files");
    this.list.tabIndex = 0;
    this.append(this.goOn, this.zone, this.field, this.note, this.total, this.bar, this.live, this.list);
    this.#dropZone();
  }

  #dropZone() {
    const over = (is) => (event) => {
      event.preventDefault();
      this.zone.toggleAttribute("data-over", is);
    };
    this.zone.addEventListener("dragenter", over(true));
    this.zone.addEventListener("dragover", over(true));
    this.zone.addEventListener("dragleave", over(false));
    this.zone.addEventListener("drop", async (event) => {
      over(false)(event);
      this.batch.add(await dropped(event.dataTransfer));
    });
  }

  #later() {
    if (this.#timer) return;
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      if (this.isConnected) this.#render();
    }, 100);
  }
  #timer = 0;

  #render() {
    const { batch } = this;
    const all = batch.items.reduce((sum, item) => sum + item.file.size, 0);
    const sent = batch.items.reduce((sum, item) => sum + (item.state === "done" ? item.file.size : item.sent), 0);
    const older = [...batch.held.values()].filter((item) => !batch.names.has(item.filename));
    this.note.hidden = !batch.note;
    this.note.textContent = batch.note;
    this.zone.hidden = Boolean(batch.isProcessing);
    this.#renderGoOn(batch);
    this.#renderTotal(batch, all, sent, older);
    this.#renderRows(batch, older);
  }

  #renderGoOn(batch) {
    const missing = batch.isBusy ? [] : batch.missing();
    this.goOn.hidden = missing.length === 0;
    if (!missing.length) return;
    const bytes = missing.reduce((sum, [name, [whole]]) => sum + Math.max(0, whole - (batch.held.get(name)?.received ?? 0)), 0);
    const kind = missing.some(([name]) => name.includes("/")) ? "folder" : "files";
    const n = batch.expected.size - missing.length;
    this.goOnText.textContent = `The upload was cut off: ${n.toLocaleString("en")} of ${files(batch.expected.size)} ${n === 1 ? "is" : "are"} here, ${size(bytes)} are missing. Choose the same ${kind} again: what is here isn't sent twice.`;
  }

  #renderTotal(batch, all, sent, older) {
    const n = batch.items.length;
    const done = batch.count("done");
    const ready = done + older.filter((item) => item.is_complete).length;
    this.total.hidden = n + older.length === 0;
    this.bar.hidden = !batch.isBusy;
    this.bar.firstChild.style.width = `${all ? (100 * sent) / all : 0}%`;
    this.bar.setAttribute("aria-valuenow", String(Math.round(all ? (100 * sent) / all : 0)));
    if (!batch.datasetId) this.totalText.textContent = `${files(n)} chosen, ${size(all)}`;
    else if (batch.isBusy) this.totalText.textContent = `${done.toLocaleString("en")} of ${files(n)} sent`;
    else this.totalText.textContent = `${files(ready)} received`;
    const speed = batch.isBusy ? batch.speed(sent) : 0;
    const left = speed > 0 ? `, ${size(speed)}/s, ${span((all - sent) / speed)} left` : "";
    this.totalMore.textContent = batch.isBusy ? `${size(sent)} of ${size(all)}${left}` : "";
    this.stop.hidden = !batch.isBusy;
    this.go.hidden = !batch.datasetId || batch.isBusy || batch.isProcessing || ready === 0;
    this.go.disabled = Boolean(batch.isStarting);
    this.go.textContent = batch.isStarting ? "Looking at them …" : `${this.#kind === "models" ? "Check" : "Process"} ${files(ready)}`;
    const spoken = batch.datasetId && n && !batch.isBusy ? `${files(ready)} received` : "";
    if (this.live.textContent !== spoken) this.live.textContent = spoken;
  }

  #renderRows(batch, older) {
    const rank = { failed: 0, sending: 1, waiting: 2, done: 3 };
    const earlier = older.sort((a, b) => a.is_complete - b.is_complete).slice(0, MOST_ROWS);
    const shown = batch.items.length > MOST_ROWS ? [...batch.items].sort((a, b) => rank[a.state] - rank[b.state]).slice(0, MOST_ROWS) : batch.items;
    const keys = new Set([...shown.map((item) => item.id), ...earlier.map((item) => item.filename)]);
    for (const [key, row] of this.#rows)
      if (!keys.has(key)) {
        row.remove();
        this.#rows.delete(key);
      }
    for (const item of earlier) {
      const row = this.#row(item.filename, item.filename);
      const came = `${size(item.received)} of ${item.size ? size(item.size) : "?"} came. Add the file again to go on.`;
      row.dataset.state = item.is_complete ? "done" : "partly";
      row.text.textContent = item.is_complete ? `${size(item.received)} ✓` : came;
      this.#buttons(row, row.dataset.state, [["Remove", () => batch.forget(item.filename)]], item.filename);
    }
    for (const item of shown) this.#renderItem(batch, item);
  }

  #renderItem(batch, item) {
    const row = this.#row(item.id, item.name);
    const isSending = item.state === "sending";
    row.dataset.state = item.state;
    row.bar.hidden = !isSending;
    row.bar.firstChild.style.width = `${item.file.size ? (100 * item.sent) / item.file.size : 0}%`;
    const texts = { waiting: size(item.file.size), sending: `${size(item.sent)} of ${size(item.file.size)}`, done: `${size(item.file.size)} ✓`, failed: item.message };
    const text = isSending && item.message ? item.message : texts[item.state];
    if (row.text.textContent !== text) row.text.textContent = text;
    const actions = [];
    if (item.state === "failed" && item.canRetry) actions.push(["Retry", () => batch.retry(item)]);
    if (item.state !== "done") actions.push([isSending ? "Cancel" : "Remove", () => batch.cancel([item])]);
    this.#buttons(row, item.state + item.canRetry, actions, item.name);
  }

  #row(key, name) {
    let row = this.#rows.get(key);
    if (row) return row;
    row = element("li", "up-row");
    const label = element("span", "up-name", name);
    label.title = name;
    row.text = element("span", "up-state");
    row.actions = element("span", "up-actions");
    row.bar = element("div", "up-bar");
    row.bar.append(element("i"));
    row.bar.hidden = true;
    row.append(label, row.text, row.actions, row.bar);
    this.list.append(row);
    this.#rows.set(key, row);
    return row;
  }

  #buttons(row, kind, actions, name) {
    if (row.kind === kind) return;
    row.kind = kind;
    row.actions.replaceChildren(...actions.map(([label, run]) => action(label, run, { "data-plain": "", "aria-label": `${label} ${name}` })));
  }
}
customElements.define("studio-uploader", StudioUploader);
