// What the shell does without asking the server: sidebar, drawer, command palette, copy buttons.
// Elements ask for it by data attributes, so that the pages stay plain Python.
(() => {
  const root = document.documentElement;
  const read = (key) => {
    try {
      return localStorage.getItem(key);
    } catch {
      return null;
    }
  };
  if (read("studio-sidebar") === "icons") root.dataset.sidebar = "icons";

  const dialog = (id) => document.getElementById(id);
  const open = (id) => {
    const element = dialog(id);
    if (!element || element.open) return;
    element.showModal();
    const input = element.querySelector("input");
    if (input) {
      input.value = "";
      filter(element);
      input.focus();
    }
  };

  const items = (palette) => [...palette.querySelectorAll(".palette-item")];
  const shown = (palette) => items(palette).filter((item) => !item.hidden);
  function activate(palette, index) {
    const visible = shown(palette);
    items(palette).forEach((item) => (item.dataset.active = "false"));
    const item = visible[(index + visible.length) % visible.length];
    if (!item) return;
    item.dataset.active = "true";
    item.scrollIntoView({ block: "nearest" });
    palette.querySelector("input")?.setAttribute("aria-activedescendant", item.id);
  }
  function filter(palette) {
    const words = palette.querySelector("input").value.toLowerCase().split(/\s+/).filter(Boolean);
    items(palette).forEach((item) => {
      const text = item.textContent.toLowerCase();
      item.hidden = !words.every((word) => text.includes(word));
    });
    const none = palette.querySelector("[data-palette-none]");
    if (none) none.hidden = shown(palette).length > 0;
    activate(palette, 0);
  }

  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-open-dialog]");
    if (opener) open(opener.dataset.openDialog);
    const closer = event.target.closest("[data-close-dialog], dialog.drawer a, dialog.palette a");
    if (closer) closer.closest("dialog")?.close();
    if (event.target instanceof HTMLDialogElement) event.target.close(); // the backdrop
    if (event.target.closest("[data-toggle-sidebar]")) {
      const next = root.dataset.sidebar === "icons" ? "full" : "icons";
      root.dataset.sidebar = next;
      try {
        localStorage.setItem("studio-sidebar", next);
      } catch {}
    }
    const copier = event.target.closest("[data-copy]");
    if (copier) copy(copier);
    if (event.target.closest("[data-log-out]")) logOut();
  });

  async function copy(button) {
    const source = button.dataset.copy || button.parentElement.querySelector("code, pre")?.textContent || "";
    try {
      await navigator.clipboard.writeText(source);
    } catch {
      return;
    }
    button.dataset.copied = "true";
    const before = button.getAttribute("aria-label");
    button.setAttribute("aria-label", "Copied");
    setTimeout(() => {
      delete button.dataset.copied;
      if (before) button.setAttribute("aria-label", before);
    }, 1500);
  }

  async function logOut() {
    try {
      await fetch("/api/v1/auth/logout", { method: "POST" });
    } finally {
      try {
        sessionStorage.removeItem("token");
      } catch {}
      location.assign("/login");
    }
  }

  document.addEventListener("input", (event) => {
    const palette = event.target.closest("dialog.palette");
    if (palette) filter(palette);
  });

  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
      event.preventDefault();
      const palette = dialog("command-palette");
      if (palette?.open) palette.close();
      else open("command-palette");
      return;
    }
    const palette = event.target.closest?.("dialog.palette");
    if (!palette) return;
    const visible = shown(palette);
    const at = visible.findIndex((item) => item.dataset.active === "true");
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      activate(palette, at + (event.key === "ArrowDown" ? 1 : -1));
    } else if (event.key === "Enter" && visible[at]) {
      event.preventDefault();
      visible[at].click();
      palette.close();
    }
  });
})();
