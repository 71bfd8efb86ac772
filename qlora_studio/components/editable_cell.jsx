// A value that is read until it is edited. Enter or a double click (on a touch screen a tap) opens it, Enter saves
// and goes on to the row below, Escape leaves it as it was; arrows go up and down, and leaving the field saves.
import { useEffect, useRef, useState } from "react";

function neighbour(element, by) {
  const group = element.dataset.cell;
  const scope = element.closest("table, dl") ?? document;
  const cells = [...scope.querySelectorAll(`[data-cell="${group}"]`)];
  return cells[cells.indexOf(element) + by]?.querySelector("button");
}

export function EditableCell({ rowId, field, group, value, label, placeholder, options, failures, onSave }) {
  const [draft, setDraft] = useState(null); // null while it is only read
  const [sent, setSent] = useState(null); // shown until the server has answered
  const cell = useRef(null);
  const comesBack = useRef(false);
  const pointer = useRef("");
  useEffect(() => setSent(null), [value, failures]);
  useEffect(() => {
    const inside = cell.current?.querySelector("input, textarea, select, button");
    if (draft !== null) {
      inside?.focus();
      inside?.select?.();
    } else if (comesBack.current) inside?.focus();
    comesBack.current = false;
  }, [draft !== null]);

  const shown = sent ?? value;
  const nameOf = (key) => options?.find(([one]) => one === key)?.[1] ?? key;
  const open = () => setDraft(shown);
  const close = () => {
    comesBack.current = true;
    setDraft(null);
  };
  const keep = (text) => {
    const clean = text.trim();
    if (clean === shown) return;
    setSent(clean);
    onSave?.(rowId, field, clean);
  };
  const leave = () => {
    if (draft === null || comesBack.current) return;
    keep(draft);
    setDraft(null);
  };

  function onKeyDown(event) {
    if (event.nativeEvent.isComposing) return;
    if (event.key === " " && event.ctrlKey) {
      event.preventDefault();
      event.currentTarget.closest("tr")?.querySelector("studio-player")?.toggle?.();
    } else if (event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      close();
    } else if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      keep(draft);
      const next = neighbour(cell.current, 1);
      if (!next) return close();
      comesBack.current = false;
      setDraft(null);
      next.focus();
    }
  }

  function onReadKeyDown(event) {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const next = by && neighbour(cell.current, by);
    if (next) {
      event.preventDefault();
      next.focus();
    } else if (event.key === " " && event.ctrlKey) onKeyDown(event);
  }

  const reader = (
    <button
      type="button"
      className={shown ? "cell-value" : "cell-value cell-empty"}
      aria-label={`${label}: ${shown ? nameOf(shown) : "empty"}`}
      aria-keyshortcuts="Enter"
      title="Enter or double-click to edit"
      onPointerDown={(event) => (pointer.current = event.pointerType)}
      onClick={(event) => (event.detail === 0 || pointer.current !== "mouse") && open()}
      onDoubleClick={open}
      onKeyDown={onReadKeyDown}
    >
      {shown ? nameOf(shown) : placeholder}
    </button>
  );
  const control = {
    "aria-label": label,
    className: "cell-control",
    value: draft ?? "",
    onChange: (event) => setDraft(event.target.value),
    onBlur: leave,
    onKeyDown,
  };
  const choose = (event) => {
    if (pointer.current !== "list") return setDraft(event.target.value);
    keep(event.target.value);
    close();
  };
  const writer = options ? (
    <select
      {...control}
      onPointerDown={() => (pointer.current = "list")}
      onKeyDown={(event) => {
        pointer.current = "keys";
        onKeyDown(event);
      }}
      onChange={choose}
    >
      {options.map(([key, name]) => (
        <option key={key} value={key}>
          {name}
        </option>
      ))}
    </select>
  ) : (
    <textarea {...control} rows={1} maxLength={field === "text" ? 4096 : 200} />
  );
  return (
    <div ref={cell} data-cell={group || field} className="cell">
      {draft === null ? reader : writer}
    </div>
  );
}
