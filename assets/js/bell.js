// <studio-bell data-owner>: has the browser tell what is fresh, for people who have switched that on here.
// Its children are links with `data-notice` (an id), `data-title` and `data-body`; the pages put them there.
// <studio-bell-switch data-owner>: the switch itself. Only a click on it ever asks for the browser's permission.
//
// Several tabs may be open. A visible one takes a notification at once and shows nothing, since its bell does; the
// others wait a moment, and the first of them to take it shows it. Taken means: its id is in `localStorage`.
(() => {
  if (customElements.get("studio-bell")) return;
  const KEPT = 50;
  const LET_VISIBLE_TABS_GO_FIRST_MS = 1500;
  const supported = () => "Notification" in window && window.isSecureContext;
  const switchKey = (owner) => `studio-bell-${owner}`;
  const takenKey = (owner) => `studio-bell-taken-${owner}`;
  const read = (key) => {
    try {
      return localStorage.getItem(key);
    } catch {
      return null;
    }
  };
  const write = (key, value) => {
    try {
      localStorage.setItem(key, value);
      return true;
    } catch {
      return false;
    }
  };
  const isOn = (owner) => supported() && Notification.permission === "granted" && read(switchKey(owner)) === "on";

  // Run alone among all tabs; without the browser's locks only among this tab's own calls, which is always so.
  const alone = (work) => (navigator.locks ? navigator.locks.request("studio-bell", work) : Promise.resolve(work()));

  function take(owner, id) {
    return alone(() => {
      let taken = [];
      try {
        taken = JSON.parse(read(takenKey(owner)) || "[]");
      } catch {}
      if (!Array.isArray(taken) || taken.includes(id)) return false;
      return write(takenKey(owner), JSON.stringify([...taken, id].slice(-KEPT)));
    });
  }

  class StudioBell extends HTMLElement {
    connectedCallback() {
      this.#watch = new MutationObserver(() => this.#look());
      this.#watch.observe(this, { childList: true, subtree: true, attributes: true });
      this.#look();
    }

    disconnectedCallback() {
      this.#watch?.disconnect();
    }

    #watch;
    #seen = new Set();

    #look() {
      const owner = this.dataset.owner;
      if (!owner) return;
      for (const link of this.querySelectorAll("[data-notice]")) {
        const id = link.dataset.notice;
        if (this.#seen.has(id)) continue;
        this.#seen.add(id);
        if (document.visibilityState === "visible") take(owner, id);
        else setTimeout(() => this.#tell(owner, id), LET_VISIBLE_TABS_GO_FIRST_MS);
      }
    }

    async #tell(owner, id) {
      const link = this.#link(id);
      if (!link || !(await take(owner, id))) return;
      if (document.visibilityState === "visible" || !isOn(owner)) return;
      let shown;
      try {
        shown = new Notification(link.dataset.title, { body: link.dataset.body, tag: id, icon: "/favicon.svg" });
      } catch {
        return; // phones tell only through a service worker; the bell has it
      }
      shown.onclick = () => {
        window.focus();
        this.#link(id)?.click();
        shown.close();
      };
    }

    #link(id) {
      return [...this.querySelectorAll("[data-notice]")].find((link) => link.dataset.notice === id);
    }
  }

  class StudioBellSwitch extends HTMLElement {
    connectedCallback() {
      if (!this.firstChild) this.#build();
      this.#show();
    }

    static observedAttributes = ["data-owner"];

    attributeChangedCallback() {
      if (this.input) this.#show();
    }

    #build() {
      const label = document.createElement("label");
      label.className = "flex items-start justify-between gap-4 cursor-pointer";
      const words = document.createElement("span");
      words.className = "min-w-0";
      const name = document.createElement("span");
      name.className = "text-[15px] font-semibold block leading-6";
      name.textContent = "In this browser";
      this.help = document.createElement("span");
      this.help.className = "text-[13px] text-muted-foreground block";
      this.help.id = "browser-notices-help";
      this.help.setAttribute("role", "status");
      words.append(name, this.help);
      this.input = document.createElement("input");
      this.input.type = "checkbox";
      this.input.setAttribute("role", "switch");
      this.input.setAttribute("aria-label", "In this browser");
      this.input.setAttribute("aria-describedby", this.help.id);
      this.input.className = "switch shrink-0";
      this.input.addEventListener("change", () => this.#change());
      label.append(words, this.input);
      this.append(label);
    }

    async #change() {
      const owner = this.dataset.owner;
      const wanted = this.input.checked;
      if (!owner) return;
      if (wanted && Notification.permission !== "granted") await Notification.requestPermission();
      write(switchKey(owner), wanted && Notification.permission === "granted" ? "on" : "off");
      this.#show();
    }

    #show() {
      const owner = this.dataset.owner;
      this.input.checked = Boolean(owner) && isOn(owner);
      this.input.disabled = !supported() || Notification.permission === "denied";
      this.help.textContent = !supported()
        ? "This browser shows notifications only for pages over HTTPS or on localhost."
        : Notification.permission === "denied"
          ? "This browser blocks notifications of this site. Allow them in its settings for the site."
          : "Shown by the browser while a page of the studio is open, and you look at something else.";
    }
  }

  customElements.define("studio-bell", StudioBell);
  customElements.define("studio-bell-switch", StudioBellSwitch);
})();
