// <take-keys>: around the Studio's prompt and takes. J and K go from take to take, space plays, 1 to 5 rate, F likes,
// T and N write tags and a note, B changes to the same text and seed made otherwise, at the same position, ? shows
// the keys. Takes are `[data-take]`; `[data-twin]` names those of one text and seed; `[data-words]` is what is written
// of a take, out of sight while there is nothing and the take isn't `[data-writing]`.
(() => {
  if (customElements.get("take-keys")) return;
  const TYPING = "input:not([type=checkbox]):not([type=range]), textarea, select, [contenteditable=true]";
  const isShown = (element) => element.getClientRects().length > 0;

  class TakeKeys extends HTMLElement {
    connectedCallback() {
      document.addEventListener("keydown", this.#key);
      this.addEventListener("click", this.#click);
      this.addEventListener("focusin", this.#meet);
    }

    disconnectedCallback() {
      document.removeEventListener("keydown", this.#key);
      this.removeEventListener("click", this.#click);
      this.removeEventListener("focusin", this.#meet);
    }

    #current = "";

    get #takes() {
      return [...this.querySelectorAll("[data-take]")].filter(isShown);
    }

    get #take() {
      const takes = this.#takes;
      return takes.find((take) => take.dataset.take === this.#current) ?? takes[0];
    }

    #go(take, { andFocus = true } = {}) {
      if (!take) return;
      this.#current = take.dataset.take;
      for (const other of this.#takes) other.toggleAttribute("data-current", other === take);
      if (!andFocus) return;
      take.focus({ preventScroll: true });
      take.scrollIntoView({ block: "nearest" });
    }

    #step(by) {
      const takes = this.#takes;
      const at = takes.findIndex((take) => take.dataset.take === this.#current);
      this.#go(at < 0 ? takes[0] : takes[Math.min(Math.max(0, at + by), takes.length - 1)]);
    }

    #change(take) {
      const twin = take.dataset.twin;
      const same = twin ? this.#takes.filter((other) => other.dataset.twin === twin) : [];
      const next = same[(same.indexOf(take) + 1) % same.length];
      if (!next || next === take) return;
      const from = take.querySelector("studio-player");
      const to = next.querySelector("studio-player");
      const at = from.position;
      this.#go(next);
      to.seek(at);
      to.play();
    }

    #meet = (event) => {
      const take = event.target.closest("[data-take]");
      if (take) this.#go(take, { andFocus: false });
    };

    #click = (event) => {
      const take = event.target.closest("[data-take]");
      if (!take) return;
      this.#go(take, { andFocus: false });
      if (event.target.closest("[data-change]")) this.#change(take);
      if (event.target.closest("[data-open-words]")) this.#write(take, "tags");
    };

    #write(take, name) {
      take.toggleAttribute("data-writing", true);
      take.querySelector(`[data-write="${name}"]`)?.focus();
    }

    #rate(take, stars) {
      const star = take.querySelector(`[data-stars="${stars}"]`);
      if (!star || star.disabled) return;
      star.click();
      if (!this.querySelector("#go-on")?.checked) return;
      const before = this.#current;
      this.#step(1);
      if (this.#current === before) return;
      this.#take.querySelector("studio-player")?.play();
    }

    #key = (event) => {
      const isTyping = event.target.closest?.(TYPING);
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        const send = this.querySelector("[data-generate]");
        if (!send || event.repeat || document.querySelector("dialog[open], [role=dialog], [role=alertdialog]")) return;
        event.preventDefault();
        if (isTyping) event.target.blur(); // what is being written is taken in first
        send.click();
        return;
      }
      if (isTyping && event.key === "Escape" && event.target.closest("[data-take]")) {
        event.target.closest("[data-take]").focus();
        return;
      }
      if (isTyping || event.isComposing || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
      if (document.querySelector("dialog[open], [role=dialog], [role=alertdialog], [role=menu]")) return;
      const help = event.key === "?" && this.querySelector("[data-key-help]");
      if (help) {
        event.preventDefault();
        help.click();
        return;
      }
      const take = this.#take;
      if (!take) return;
      const actions = {
        j: () => this.#step(1),
        k: () => this.#step(-1),
        b: () => this.#change(take),
        l: () => take.querySelector("studio-player")?.repeat(),
        f: () => take.querySelector("[data-like]")?.click(),
        t: () => this.#write(take, "tags"),
        n: () => this.#write(take, "note"),
      };
      if (!event.target.closest?.("button, a, summary, [role=slider], [role=switch], [type=checkbox], [type=range]")) {
        const player = take.querySelector("studio-player");
        const move = (by) => () => player?.seek(player.position + by * Math.max(0.1, player.duration / 20));
        actions.arrowright = move(1);
        actions.arrowleft = move(-1);
        actions[" "] = () => take.querySelector("studio-player")?.toggle();
      }
      if (/^[1-5]$/.test(event.key)) actions[event.key] = () => this.#rate(take, event.key);
      const action = actions[event.key.toLowerCase()];
      if (!action) return;
      event.preventDefault();
      if (!event.repeat || ["j", "k", "arrowleft", "arrowright"].includes(event.key.toLowerCase())) action();
    };
  }
  customElements.define("take-keys", TakeKeys);
})();
