// One file, dropped or chosen and sent at once: what <studio-trial-clip> and <studio-adapter-import> share.
const LOST = "The server can't be reached. Try again.";

export function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

export function action(label, run, options = {}) {
  const made = element("button", "up-button", label);
  made.type = "button";
  for (const [key, value] of Object.entries(options)) made.setAttribute(key, value);
  made.addEventListener("click", run);
  return made;
}

// The hidden input that a button of the zone opens; the same file can be chosen twice.
export function fileInput(accept, label, onFile) {
  const input = element("input");
  Object.assign(input, { type: "file", accept, hidden: true });
  input.setAttribute("aria-label", label);
  input.addEventListener("change", () => {
    if (input.files[0]) onFile(input.files[0]);
    input.value = "";
  });
  return input;
}

export function takeDrops(zone, onFile) {
  const over = (is) => (event) => {
    event.preventDefault();
    zone.toggleAttribute("data-over", is);
  };
  zone.addEventListener("dragenter", over(true));
  zone.addEventListener("dragover", over(true));
  zone.addEventListener("dragleave", over(false));
  zone.addEventListener("drop", (event) => {
    over(false)(event);
    const [file] = event.dataTransfer.files;
    if (file) onFile(file);
  });
}

// Three parts of which one is seen: the zone, what is under way, and a refusal under either.
export function show(host, what, note = "") {
  host.zone.hidden = what !== "zone";
  host.live.hidden = what === "zone";
  host.note.hidden = !note;
  host.note.textContent = note;
  if (what === "zone") host.live.replaceChildren();
}

// Posts `blob` and shows how far it is in `live`. `onDone(made, refusal)`: what the server made, or a sentence.
export function post(live, { address, type, blob, name, onCancel, onDone }) {
  const bar = element("div", "up-bar trial-meter");
  bar.append(element("i"));
  bar.setAttribute("role", "progressbar");
  bar.setAttribute("aria-label", `Sending ${name}`);
  live.replaceChildren(element("span", "trial-name", name), bar, action("Cancel", onCancel));
  const request = new XMLHttpRequest();
  request.open("POST", address);
  request.setRequestHeader("Content-Type", type);
  request.upload.onprogress = (event) => {
    bar.firstChild.style.width = `${(100 * event.loaded) / Math.max(1, event.total)}%`;
  };
  request.onloadend = () => {
    let body = {};
    try {
      body = JSON.parse(request.responseText || "{}");
    } catch {
      /* not one of our answers */
    }
    onDone(request.status === 201 ? body : null, body.detail || LOST);
  };
  request.send(blob);
  return request;
}
