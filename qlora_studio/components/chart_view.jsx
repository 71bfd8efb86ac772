// What all charts of a page share: smoothing, scale and what they run over (remembered by this browser), and the
// place that is pointed at, which every chart shows.
import { useSyncExternalStore } from "react";

const KEY = "studio-charts";
const AXES = [
  ["step", "Step"],
  ["epoch", "Epoch"],
  ["time", "Time"],
];
const FIRST = { smoothing: 0, log: false, x: "step" };

function remembered() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY)) ?? {};
    const smoothing = Number(kept.smoothing);
    return {
      smoothing: smoothing >= 0 && smoothing < 1 ? smoothing : 0,
      log: kept.log === true,
      x: AXES.some(([name]) => name === kept.x) ? kept.x : "step",
    };
  } catch {
    return FIRST; // nothing kept, or not allowed to
  }
}

let view = typeof localStorage === "undefined" ? FIRST : remembered();
const listeners = new Set();
function setView(changes) {
  view = { ...view, ...changes };
  try {
    localStorage.setItem(KEY, JSON.stringify(view));
  } catch {
    // it holds for this page all the same
  }
  listeners.forEach((listener) => listener());
}
const subscribe = (listener) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};
export const useView = () =>
  useSyncExternalStore(
    subscribe,
    () => view,
    () => FIRST,
  );

// -- the place pointed at ---------------------------------------------------------------------------------

const charts = new Map(); // element -> what shows a place in it, and what ends that
let frame = 0;

// Let a chart follow the others' pointers; returns what ends it.
export function followPointer(element, show, hide) {
  charts.set(element, { show, hide });
  return () => charts.delete(element);
}

// Show a place in all other charts that are on the screen, once a frame; without a place show none.
export function point(from, place) {
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(() => {
    charts.forEach(({ show, hide }, element) => {
      if (element === from) return;
      const { top, bottom } = element.getBoundingClientRect();
      if (place && bottom > 0 && top < window.innerHeight) show(place);
      else hide();
    });
  });
}

// -- controls ---------------------------------------------------------------------------------------------

const row = { display: "flex", alignItems: "center", gap: "0.5rem" };

export function ChartControls({ withEpochs = true }) {
  const scale = useView();
  return (
    <div style={{ ...row, flexWrap: "wrap", gap: "0.5rem 1.5rem", fontSize: 13 }}>
      <AxisChoice axes={AXES.filter(([name]) => withEpochs || name !== "epoch")} chosen={scale.x} />
      <label style={row}>
        Smoothing
        <input
          type="range"
          className="slider"
          min="0"
          max="0.98"
          step="0.02"
          value={scale.smoothing}
          style={{ width: 120, "--at": scale.smoothing, "--from": 0, "--to": 0.98 }}
          onChange={(event) => setView({ smoothing: Number(event.target.value) })}
        />
      </label>
      <label style={row}>
        <input
          type="checkbox"
          checked={scale.log}
          style={{ accentColor: "var(--primary)", width: 15, height: 15, margin: 0 }}
          onChange={(event) => setView({ log: event.target.checked })}
        />
        Log scale
      </label>
      <span style={{ color: "var(--muted-foreground)" }}>Drag to zoom in, double-click to zoom out, or use a chart's own buttons</span>
    </div>
  );
}

function AxisChoice({ axes, chosen }) {
  const shown = axes.some(([name]) => name === chosen) ? chosen : "step";
  const frame = { border: "1px solid var(--border)", borderRadius: 8, background: "var(--muted)" };
  return (
    <div role="group" aria-label="Charts over" style={{ ...frame, display: "inline-flex", padding: 2 }}>
      {axes.map(([name, label]) => (
        <button
          key={name}
          type="button"
          aria-pressed={name === shown}
          onClick={() => setView({ x: name })}
          style={{
            border: 0,
            borderRadius: 6,
            padding: "3px 10px",
            cursor: "pointer",
            fontWeight: name === shown ? 500 : 400,
            color: name === shown ? "var(--foreground)" : "var(--muted-foreground)",
            background: name === shown ? "var(--card)" : "transparent",
            boxShadow: name === shown ? "var(--shadow)" : "none",
          }}
        >
          {label}
        </button>
      ))}
    </div>
  );
}
