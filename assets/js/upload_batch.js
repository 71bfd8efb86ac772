// A batch of files on its way to a dataset: three at once, resumed after a dropped connection, processed at the end.
// It belongs to the tab, not to a page, and tells whoever shows it by the event "changed".
const AT_ONCE = 3;
const MOST_TRIES = 12;
const SPEED_WINDOW_MS = 4000;
const JUNK = /(^|\/)(\.|thumbs\.db$|desktop\.ini$|__MACOSX\/)/i;
export const drafts = new Map();
export const byDataset = new Map();

export const size = (n) => (n < 1e3 ? `${n} B` : n < 1e6 ? `${(n / 1e3).toFixed(0)} kB` : n < 1e9 ? `${(n / 1e6).toFixed(1)} MB` : `${(n / 1e9).toFixed(2)} GB`);
export const span = (s) => (s < 60 ? `${Math.max(1, Math.ceil(s))} s` : s < 3600 ? `${Math.ceil(s / 60)} min` : `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} min`);
export const files = (n) => `${n.toLocaleString("en")} ${n === 1 ? "file" : "files"}`;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function problem(response) {
  const body = await response.json().catch(() => ({}));
  return body.detail || body.title || `The server answered ${response.status}.`;
}

export class Batch extends EventTarget {
  items = [];
  names = new Map();
  held = new Map(); // what the server has from before: name -> {received, size, is_complete}
  datasetId = "";
  goesOn = false; // process by itself once everything is sent
  note = "";
  samples = [];
  #n = 0;

  add(chosen) {
    for (const { file, name } of chosen) {
      if (JUNK.test(name)) continue;
      const old = this.names.get(name);
      if (old && old.state !== "failed" && old.state !== "cancelled") continue;
      const before = this.held.get(name);
      const isHere = before?.is_complete && before.size === file.size;
      const from = before && !before.is_complete && before.size === file.size ? before.received : 0;
      const item = old || { id: ++this.#n, name };
      Object.assign(item, { file, state: isHere ? "done" : "waiting", sent: isHere ? file.size : from, from, tries: 0, message: "" });
      if (!old) {
        this.items.push(item);
        this.names.set(name, item);
      }
    }
    this.changed();
    this.pump();
  }

  async start(datasetId) {
    this.datasetId = datasetId;
    await this.ask();
    for (const item of this.items) {
      const before = this.held.get(item.name);
      if (before && !before.is_complete && before.size === item.file.size) item.from = item.sent = before.received;
    }
    this.pump();
  }

  // What the server holds; false if it can't be reached.
  async ask() {
    try {
      const response = await fetch(`/api/v1/datasets/${this.datasetId}/files`);
      if (!response.ok) throw new Error(await problem(response));
      const { items } = await response.json();
      this.held = new Map(items.map((item) => [item.filename, item]));
      this.note = "";
      return true;
    } catch (error) {
      this.note = error instanceof TypeError ? "The server can't be reached. Trying again." : error.message;
      return false;
    } finally {
      this.changed();
    }
  }

  count(...states) {
    return this.items.reduce((n, item) => n + states.includes(item.state), 0);
  }

  get isBusy() {
    return this.count("waiting", "sending") > 0 && Boolean(this.datasetId);
  }

  pump() {
    if (!this.datasetId) return;
    let free = AT_ONCE - this.count("sending");
    for (const item of this.items) {
      if (free <= 0) break;
      if (item.state !== "waiting") continue;
      free--;
      item.state = "sending";
      this.#send(item);
    }
    this.changed();
    if (!this.isBusy && this.goesOn && this.count("failed") === 0 && this.count("done") > 0) this.process();
  }

  async #send(item) {
    while (item.state === "sending") {
      const answer = await this.#put(item);
      if (item.state !== "sending") break;
      if (answer.status === 201) {
        Object.assign(item, { state: "done", sent: item.file.size, message: "" });
      } else if (answer.status === 409 && Number.isInteger(answer.body.received)) {
        item.from = item.sent = answer.body.received >= item.file.size ? 0 : answer.body.received;
        item.tries++;
      } else if ([0, 408, 409, 429, 500, 502, 503, 504].includes(answer.status) && item.tries < MOST_TRIES) {
        await this.#again(item, answer);
      } else {
        item.state = "failed";
        item.canRetry = ![413, 422].includes(answer.status);
        item.message = answer.body.detail || (answer.status ? `The server answered ${answer.status}.` : "The connection is lost.");
      }
    }
    this.pump();
  }

  async #again(item, answer) {
    const wait = Math.min(15, 2 ** item.tries++);
    item.message = `${answer.status ? answer.body.detail || "The server is busy." : "Connection lost."} Trying again in ${wait} s`;
    this.changed();
    await pause(wait * 1000);
    if (item.state !== "sending" || !(await this.ask())) return;
    const before = this.held.get(item.name);
    item.from = item.sent = before && before.size === item.file.size && before.received < item.file.size ? before.received : 0;
    item.message = "";
  }

  #put(item) {
    return new Promise((done) => {
      const request = new XMLHttpRequest();
      const path = item.name.split("/").map(encodeURIComponent).join("/");
      request.open("PUT", `/api/v1/datasets/${this.datasetId}/files/${path}`);
      const total = item.file.size;
      if (item.from > 0) request.setRequestHeader("Content-Range", `bytes ${item.from}-${total - 1}/${total}`);
      request.setRequestHeader("Content-Type", "application/octet-stream");
      request.upload.onprogress = (event) => {
        item.sent = Math.min(total, item.from + event.loaded);
        this.changed();
      };
      request.onloadend = () => {
        let body = {};
        try {
          body = JSON.parse(request.responseText || "{}");
        } catch {
          /* not one of our answers */
        }
        done({ status: request.status, body });
      };
      item.request = request;
      request.send(item.from > 0 ? item.file.slice(item.from) : item.file);
    });
  }

  cancel(item) {
    const wasSent = item.sent > 0 && this.datasetId;
    item.state = "cancelled";
    item.request?.abort();
    this.items = this.items.filter((other) => other !== item);
    this.names.delete(item.name);
    if (wasSent) this.forget(item.name);
    this.pump();
  }

  async forget(name) {
    const path = name.split("/").map(encodeURIComponent).join("/");
    for (let i = 0; i < 5; i++) {
      const response = await fetch(`/api/v1/datasets/${this.datasetId}/files/${path}`, { method: "DELETE" }).catch(() => null);
      if (response && response.status !== 409) break;
      await pause(500); // the server hasn't noticed yet that the sender has gone
    }
    this.held.delete(name);
    this.changed();
  }

  retry(item) {
    Object.assign(item, { state: "waiting", tries: 0, message: "" });
    this.pump();
  }

  async process() {
    this.goesOn = false;
    this.isStarting = true;
    this.changed();
    const response = await fetch(`/api/v1/datasets/${this.datasetId}/ingest`, { method: "POST" }).catch(() => null);
    this.isStarting = false;
    if (response?.ok) byDataset.delete(this.datasetId);
    this.note = response?.ok ? "" : response ? await problem(response) : "The server can't be reached. Try again.";
    this.isProcessing = Boolean(response?.ok);
    this.changed();
  }

  changed() {
    this.dispatchEvent(new Event("changed"));
  }

  // Bytes a second over the last seconds.
  speed(sent) {
    const now = performance.now();
    this.samples.push([now, sent]);
    while (this.samples.length > 2 && now - this.samples[0][0] > SPEED_WINDOW_MS) this.samples.shift();
    const [at, before] = this.samples[0];
    return now - at > 300 ? Math.max(0, ((sent - before) / (now - at)) * 1000) : 0;
  }
}

addEventListener("beforeunload", (event) => {
  if ([...byDataset.values()].some((batch) => batch.isBusy)) event.preventDefault();
});
