// A batch of files on its way to a dataset or a model: three at once, resumed after a dropped connection, processed at the end.
// It belongs to the tab, not to a page, and tells whoever shows it by the event "changed". What was chosen is noted in
// the browser, so that after a reload it is known what is missing.
const AT_ONCE = 3;
const MOST_TRIES = 12; // of a server that answers with an error; a connection is tried again for as long as it takes
const WORTH_ANOTHER_TRY = [408, 409, 429, 500, 502, 503, 504]; // statuses
const LONGEST_WAIT_S = 15;
const STALLED_MS = 30_000; // without a byte: the connection is dead, though nobody said so
const ANSWER_MS = 180_000; // once all has left: what is still under way arrives, and is written down
const MOST_NOTED = 20_000;
const SPEED_WINDOW_MS = 4000;
const JUNK = /(^|\/)(\.|thumbs\.db$|desktop\.ini$|__MACOSX\/)/i;
const UNREACHABLE = "The server can't be reached. Trying again.";
const LOST = "Connection lost.";
const OF_A_MODEL = /\.(json|safetensors)$|^(merges\.txt|spm_char\.model|README\.md)$/;
const TEXT = /\.(csv|tsv|jsonl|txt)$/i;
export const drafts = new Map();
export const byDataset = new Map();

export const size = (n) => (n < 1e3 ? `${n} B` : n < 1e6 ? `${(n / 1e3).toFixed(0)} kB` : n < 1e9 ? `${(n / 1e6).toFixed(1)} MB` : `${(n / 1e9).toFixed(2)} GB`);
export const span = (s) => (s < 60 ? `${Math.max(1, Math.ceil(s))} s` : s < 3600 ? `${Math.ceil(s / 60)} min` : `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} min`);
export const files = (n) => `${n.toLocaleString("en")} ${n === 1 ? "file" : "files"}`;

// Waits, but no longer than until the network is back.
function pause(ms) {
  return new Promise((done) => {
    const end = () => {
      clearTimeout(timer);
      removeEventListener("online", end);
      done();
    };
    const timer = setTimeout(end, ms);
    addEventListener("online", end);
  });
}

const isReadable = (file) => file.slice(0, 1).arrayBuffer().then(() => true, () => false);

// What was chosen for a dataset in this browser: name -> [size, when it was changed last].
const notes = {
  key: (id) => `studio-upload-${id}`,
  read(id) {
    try {
      return new Map(JSON.parse(localStorage.getItem(this.key(id)) || "[]"));
    } catch {
      return new Map();
    }
  },
  write(id, chosen) {
    try {
      if (chosen.size && chosen.size <= MOST_NOTED) localStorage.setItem(this.key(id), JSON.stringify([...chosen]));
      else localStorage.removeItem(this.key(id));
    } catch {
      /* no room, or not allowed: then a reload only knows what the server holds */
    }
  },
};

function takenNames(names) {
  const some = names.slice(0, 3).join(", ") + (names.length > 3 ? ", …" : "");
  const were = names.length === 1 ? "1 other file was not added: its name is" : `${files(names.length)} were not added: their names are`;
  return `${were} taken (${some}). Choose the folder that they are in, so that their names tell them apart.`;
}

// A model's files lie side by side: of a folder, those directly in it.
function besideEachOther(name) {
  const [folder, inner, ...deeper] = name.split("/");
  return deeper.length ? "" : (inner ?? folder);
}

function leftOut(names) {
  const some = names.slice(0, 3).join(", ") + (names.length > 3 ? ", …" : "");
  return `${files(names.length)} left out, for a model has no use for ${names.length === 1 ? "it" : "them"}: ${some}.`;
}

export class Batch extends EventTarget {
  items = [];
  names = new Map();
  held = new Map(); // what the server has from before: name -> {received, size, is_complete}
  expected = new Map(); // chosen before a reload, as in `notes`
  isReplacing = false; // what the server has was found wanting: send all that is chosen, whatever it has
  datasetId = "";
  goesOn = false; // process by itself once everything is sent
  note = "";
  samples = [];
  #n = 0;
  #isAsked = false; // what the server holds

  constructor(kind = "datasets") {
    super();
    this.kind = kind;
  }

  get address() {
    return `/api/v1/${this.kind}/${this.datasetId}`;
  }

  add(chosen) {
    const others = [];
    const useless = [];
    for (const { file, name: full } of chosen) {
      if (JUNK.test(full)) continue;
      const name = this.kind === "models" ? besideEachOther(full) : full;
      if (this.kind === "models" && !OF_A_MODEL.test(name)) {
        useless.push(full);
        continue;
      }
      const old = this.names.get(name);
      if (old && old.state !== "failed") {
        if (old.file.size !== file.size || old.file.lastModified !== file.lastModified) others.push(name);
        continue;
      }
      const item = old || { id: ++this.#n, name };
      Object.assign(item, { file, state: "waiting", sent: 0, from: 0, tries: 0, message: "" });
      if (this.#isAsked) this.#compare(item);
      if (!old) {
        this.items.push(item);
        this.names.set(name, item);
      }
    }
    this.note = others.length ? takenNames(others) : useless.length ? leftOut(useless) : "";
    if (this.expected.size && !this.missing().length) this.goesOn = true; // what was cut off is whole again
    this.#note();
    this.changed();
    this.pump();
  }

  // A file that the server has from before: go on with it if it is the same, else have it forgotten first.
  #compare(item) {
    if (!this.held.has(item.name)) return;
    const [size, changedAt] = this.expected.get(item.name) ?? [item.file.size, item.file.lastModified];
    const isSame = !this.isReplacing && size === item.file.size && changedAt === item.file.lastModified;
    const isGuess = !this.expected.has(item.name) && TEXT.test(item.name); // same size says little of a text
    if (isSame && !isGuess) this.#takeUp(item);
    else item.isInTheWay = true;
  }

  // Begin where the server's copy of a file ends; one that is there whole isn't sent again.
  #takeUp(item) {
    const before = this.held.get(item.name);
    const isSame = before && before.size === item.file.size;
    if (isSame && before.is_complete) Object.assign(item, { state: "done", sent: item.file.size, message: "" });
    else item.from = item.sent = isSame && before.received < item.file.size ? before.received : 0;
  }

  async start(datasetId) {
    this.datasetId = datasetId;
    this.expected = notes.read(datasetId);
    for (let tries = 0; (await this.ask()) === null; tries++) await pause(1000 * Math.min(LONGEST_WAIT_S, 2 ** tries));
    this.#isAsked = true;
    for (const item of this.items) this.#compare(item);
    this.#note();
    this.pump();
  }

  // Files that were chosen before a reload and aren't here, nor chosen again: [[name, [size, …]], …].
  missing() {
    const isHere = ([name, [size]]) => this.names.has(name) || (this.held.get(name)?.is_complete && this.held.get(name).size === size);
    return [...this.expected].filter((noted) => !isHere(noted));
  }

  #note() {
    const chosen = this.items.map((item) => [item.name, [item.file.size, item.file.lastModified]]);
    if (this.#isAsked) notes.write(this.datasetId, new Map([...this.expected, ...chosen]));
  }

  // Learn what the server holds: true, false if it doesn't say, null if it can't be reached.
  async ask() {
    try {
      const response = await fetch(`${this.address}/files`);
      if (!response.ok) throw new Error((await response.json().catch(() => ({}))).detail || `The server answered ${response.status}.`);
      const { items } = await response.json();
      this.held = new Map(items.map((item) => [item.filename, item]));
      this.note = "";
      return true;
    } catch (error) {
      const isLost = error instanceof TypeError;
      this.note = isLost ? UNREACHABLE : error.message;
      return isLost ? null : false;
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
    if (!this.#isAsked) return;
    let free = AT_ONCE - this.count("sending");
    for (const item of this.items) {
      if (free <= 0) break;
      if (item.state !== "waiting") continue;
      free--;
      item.state = "sending";
      this.#send(item);
    }
    this.changed();
    if (!this.isBusy && this.goesOn && !this.isStarting && this.count("failed") === 0 && this.count("done") > 0) this.process();
  }

  async #send(item) {
    while (item.state === "sending") {
      const answer = item.isInTheWay ? await this.#clear(item) : await this.#put(item);
      if (item.state !== "sending") break;
      if (answer.status === 204) continue;
      if (item.sent > item.from) item.tries = 0;
      const isRetried = answer.status === 0 || (WORTH_ANOTHER_TRY.includes(answer.status) && item.tries < MOST_TRIES);
      if (answer.status === 201 && answer.body.received === item.file.size) {
        Object.assign(item, { state: "done", sent: item.file.size, message: "" });
      } else if (answer.status === 409 && Number.isInteger(answer.body.received)) {
        item.from = item.sent = answer.body.received >= item.file.size ? 0 : answer.body.received;
        item.tries++;
      } else if (isRetried) {
        await this.#again(item, answer);
      } else {
        item.state = "failed";
        item.canRetry = ![413, 422].includes(answer.status);
        item.message = answer.body.detail || `The server answered ${answer.status}.`;
      }
    }
    this.pump();
  }

  // Wait, longer each time, until the server tells what it holds; go on from there.
  async #again(item, answer) {
    let reason = answer.status ? answer.body.detail || "The server is busy." : LOST;
    do {
      const wait = Math.min(LONGEST_WAIT_S, 2 ** item.tries++);
      item.message = `${navigator.onLine ? reason : "Offline."} Trying again in ${wait} s`;
      this.changed();
      await pause(wait * 1000);
      if (item.state !== "sending") return;
      reason = LOST;
    } while ((await this.ask()) === null);
    item.message = "";
    if (await isReadable(item.file)) {
      if (!item.isInTheWay) this.#takeUp(item);
    } else {
      Object.assign(item, { state: "failed", canRetry: false, message: "It was changed or moved on this computer. Remove it, and choose it again." });
    }
  }

  // Another file of this name came earlier.
  async #clear(item) {
    const answer = await this.#delete(item.name);
    item.isInTheWay = answer.status !== 204;
    return answer;
  }

  async #delete(name) {
    const path = name.split("/").map(encodeURIComponent).join("/");
    const response = await fetch(`${this.address}/files/${path}`, { method: "DELETE" }).catch(() => null);
    return { status: response?.status ?? 0, body: (await response?.json().catch(() => null)) || {} };
  }

  #put(item) {
    return new Promise((done) => {
      const request = new XMLHttpRequest();
      const path = item.name.split("/").map(encodeURIComponent).join("/");
      request.open("PUT", `${this.address}/files/${path}`);
      const total = item.file.size;
      if (item.from > 0) request.setRequestHeader("Content-Range", `bytes ${item.from}-${total - 1}/${total}`);
      request.setRequestHeader("Content-Type", "application/octet-stream");
      item.sent = item.from;
      let patience = setTimeout(() => request.abort(), STALLED_MS);
      request.upload.onprogress = (event) => {
        clearTimeout(patience);
        patience = setTimeout(() => request.abort(), event.loaded < event.total ? STALLED_MS : ANSWER_MS);
        item.sent = Math.min(total, item.from + event.loaded);
        this.changed();
      };
      request.onloadend = () => {
        clearTimeout(patience);
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

  // Let files go, all that aren't there yet unless others are named.
  cancel(left = this.items.filter((item) => item.state !== "done")) {
    if (left.length > 1) this.goesOn = false;
    const gone = new Set(left);
    this.items = this.items.filter((item) => !gone.has(item));
    for (const item of left) {
      const wasSent = item.state === "sending" || item.sent > 0;
      item.state = "cancelled";
      item.request?.abort();
      this.names.delete(item.name);
      this.expected.delete(item.name);
      if (wasSent && this.#isAsked) this.forget(item.name);
    }
    this.#note();
    this.pump();
  }

  async forget(name) {
    let answer = await this.#delete(name);
    for (let tries = 0; tries < MOST_TRIES && [0, ...WORTH_ANOTHER_TRY].includes(answer.status); tries++) {
      await pause(500 * Math.min(LONGEST_WAIT_S, 2 ** tries)); // it hasn't noticed yet that the sender has gone
      answer = await this.#delete(name);
    }
    if ([204, 404].includes(answer.status)) {
      this.held.delete(name);
      this.expected.delete(name);
      this.#note();
    } else {
      await this.ask(); // the server still has it
      this.note = `${name} was not taken back. ${answer.body.detail || "Try again."}`;
    }
    this.changed();
  }

  retry(item) {
    Object.assign(item, { state: "waiting", tries: 0, message: "" });
    this.pump();
  }

  // Hand everything over. Where there are columns to look at, whoever shows this batch does that first.
  async process() {
    this.goesOn = this.isBusy; // clicked in the moment between a file's choice and the page's next picture: later
    if (this.goesOn) return;
    this.isStarting = true;
    const isModel = this.kind === "models";
    const answer = isModel ? {} : await this.#post("mapping-preview", {});
    const isLookedAt = answer.ok && answer.body.is_choice;
    const started = isLookedAt ? answer : await this.#post(isModel ? "check" : "ingest");
    this.isStarting = false;
    this.note = started.ok ? "" : started.body.detail || started.body.title || "That didn't work. Try again.";
    if (started.ok) {
      byDataset.delete(this.datasetId); // what is shown next asks the server what it holds
      notes.write(this.datasetId, new Map());
      this.isProcessing = !isLookedAt;
      if (isLookedAt || isModel) this.dispatchEvent(new Event("review"));
    }
    this.changed();
  }

  // Asks until the server is reached.
  async #post(what, body) {
    const headers = body ? { "Content-Type": "application/json" } : {};
    const options = { method: "POST", headers, body: body && JSON.stringify(body) };
    for (let tries = 0; ; tries++) {
      this.changed();
      const response = await fetch(`${this.address}/${what}`, options).catch(() => null);
      if (response) return { ok: response.ok, body: (await response.json().catch(() => null)) || {} };
      this.note = UNREACHABLE;
      this.changed();
      await pause(1000 * Math.min(LONGEST_WAIT_S, 2 ** tries));
    }
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
