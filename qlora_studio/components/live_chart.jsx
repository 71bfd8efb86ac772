// One curve chart. Plotly's basic bundle is loaded when the first chart comes into view, and colours come from
// the design tokens. The server gives a whole curve once (`curves`) and then only new points (`tail`); zooming
// asks the REST API for more detail of the part that is shown.
import { useEffect, useRef, useState, useSyncExternalStore } from "react";

let plotly;
export const loadPlotly = () =>
  (plotly ??= import("plotly.js-basic-dist-min").then((module) => module.default ?? module));

// Smoothing and scale are one choice for all charts of the page.
const view = { smoothing: 0, log: false, listeners: new Set() };
let snapshot = { ...view };
function setView(changes) {
  Object.assign(view, changes);
  snapshot = { smoothing: view.smoothing, log: view.log };
  view.listeners.forEach((listener) => listener());
}
const subscribe = (listener) => {
  view.listeners.add(listener);
  return () => view.listeners.delete(listener);
};
const useView = () =>
  useSyncExternalStore(
    subscribe,
    () => snapshot,
    () => snapshot,
  );

// Resolved once for each theme: asking for a computed style costs a layout.
const colours = new Map();
function resolveColour(text) {
  const name = /^var\((--[\w-]+)\)$/.exec(text);
  if (!name) return text;
  const key = `${document.documentElement.className} ${name[1]}`;
  if (!colours.has(key)) colours.set(key, paint(name[1]));
  return colours.get(key);
}
function paint(token) {
  const root = document.querySelector(".radix-themes") ?? document.body;
  // Plotly does not know oklch(): let the browser paint one pixel with it.
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = getComputedStyle(root).getPropertyValue(token).trim();
  context.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
  return `rgba(${r},${g},${b},${a / 255})`;
}
export function withColours(value) {
  if (typeof value === "string") return resolveColour(value);
  if (Array.isArray(value)) return typeof value[0] === "object" ? value.map(withColours) : value;
  if (value && typeof value === "object")
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, withColours(item)]));
  return value;
}

function smooth(values, weight) {
  let last = null;
  let norm = 0;
  return values.map((value) => {
    if (value === null || !Number.isFinite(value)) return null;
    last = (last ?? 0) * weight + value * (1 - weight);
    norm = norm * weight + (1 - weight);
    return last / norm;
  });
}

function points(key, curves, tail, isTime) {
  const axis = isTime ? "t" : "x";
  const whole = curves?.[key];
  if (!whole) return { x: [], y: [] };
  const more = tail?.[key];
  const x = more ? whole[axis].concat(more[axis]) : whole[axis];
  const y = more ? whole.y.concat(more.y) : whole.y;
  if (!isTime) return { x, y };
  const offset = new Date().getTimezoneOffset() * 60; // plotly shows dates as UTC; people read their own clock
  return { x: x.map((seconds) => (seconds - offset) * 1000), y };
}

function traces(figure, shown, scale) {
  return figure.data.flatMap((trace) => {
    const { x, y } = shown(trace.meta.key);
    if (!x.length) return [];
    const plain = { ...trace, x, y, mode: x.length < 2 ? "markers" : trace.mode };
    if (!scale.smoothing || x.length < 3 || trace.meta.exact) return [plain];
    return [
      { ...plain, opacity: 0.28, showlegend: false, hoverinfo: "skip", legendgroup: trace.name },
      { ...plain, y: smooth(y, scale.smoothing), legendgroup: trace.name },
    ];
  });
}

function layoutFor(figure, data, base, scale, jobId) {
  const layout = { ...figure.layout, uirevision: jobId, datarevision: Math.random() };
  if (!data.length) return emptyLayout(layout);
  layout.showlegend = figure.layout.showlegend && new Set(data.map((trace) => trace.name)).size > 1;
  const canBeLog = figure.layout.meta?.log;
  layout.yaxis = { ...figure.layout.yaxis, type: scale.log && canBeLog ? "log" : "linear" };
  if (typeof base === "number" && base > 0) {
    layout.shapes = [
      {
        type: "line",
        xref: "paper",
        x0: 0,
        x1: 1,
        y0: base,
        y1: base,
        line: { color: "var(--muted-foreground)", width: 1.5, dash: "dot" },
      },
    ];
    layout.annotations = [
      {
        xref: "paper",
        x: 1,
        xanchor: "right",
        y: scale.log && canBeLog ? Math.log10(base) : base,
        yanchor: "bottom",
        showarrow: false,
        text: "base model",
        font: { size: 11, color: "var(--muted-foreground)" },
      },
    ];
  }
  return layout;
}

function emptyLayout(layout) {
  const hidden = { visible: false, fixedrange: true };
  const text = {
    xref: "paper",
    yref: "paper",
    x: 0.5,
    y: 0.5,
    showarrow: false,
    text: "Nothing measured yet",
    font: { size: 13, color: "var(--muted-foreground)" },
  };
  return { ...layout, xaxis: hidden, yaxis: hidden, annotations: [text], dragmode: false };
}

// Changes when a chart's own points do: curves only grow, or are sent whole with other first points.
function signature(figure, shown, rest) {
  const ends = figure.data.map((trace) => {
    const { x, y } = shown(trace.meta.key);
    return [x.length, x[0], x.at(-1), y.at(-1), y[y.length >> 1]];
  });
  return JSON.stringify([ends, rest]);
}

function describe(label, figure, shown) {
  const parts = figure.data.map((trace) => {
    const { x, y } = shown(trace.meta.key);
    const last = y.at(-1);
    if (last === undefined || last === null) return `${trace.name}: no value yet`;
    return `${trace.name}: ${Number(last.toPrecision(4))}${typeof x.at(-1) === "number" && !figure.layout.meta?.time ? ` at step ${x.at(-1)}` : ""}`;
  });
  return `${label}. ${parts.join("; ")}.`;
}

export function LiveChart({ figure, curves, tail, base, jobId, label, height = 260 }) {
  const element = useRef(null);
  const drawn = useRef({ Plotly: null, pending: false });
  const [isVisible, setVisible] = useState(false);
  const [theme, setTheme] = useState(0);
  const [detail, setDetail] = useState(null);
  const scale = useView();
  const isTime = Boolean(figure.layout.meta?.time);
  const shown = (key) => points(key, detail ?? curves, detail ? null : tail, isTime);

  useEffect(() => {
    const seen = new IntersectionObserver(([entry]) => setVisible(entry.isIntersecting), {
      rootMargin: "600px",
    });
    seen.observe(element.current);
    const themed = new MutationObserver(() => setTheme((count) => count + 1));
    themed.observe(document.documentElement, { attributes: true, attributeFilter: ["class"] });
    const node = element.current;
    return () => {
      seen.disconnect();
      themed.disconnect();
      drawn.current.Plotly?.purge(node);
    };
  }, []);

  // The newest props are drawn in the next frame, and only once a frame.
  const draw = useRef(null);
  draw.current = () => {
    const { Plotly } = drawn.current;
    const node = element.current;
    if (!Plotly || !node) return;
    const now = signature(figure, shown, [base, scale.smoothing, scale.log, theme, height, jobId]);
    if (now === drawn.current.signature) return; // the other charts' points have changed, not these
    drawn.current.signature = now;
    const data = withColours(traces(figure, shown, scale));
    const layout = withColours({ ...layoutFor(figure, data, base, scale, jobId), height });
    Plotly.react(node, data, layout, { displayModeBar: false, displaylogo: false, responsive: true });
    const first = shown(figure.data[0].meta.key);
    node.dataset.points = String(first.x.length);
    node.dataset.last = String(first.x.at(-1) ?? "");
  };
  useEffect(() => {
    if (!isVisible) return;
    let isCurrent = true;
    loadPlotly().then((Plotly) => {
      if (!isCurrent || !element.current) return;
      const isFirst = !drawn.current.Plotly;
      drawn.current.Plotly = Plotly;
      if (drawn.current.pending) return;
      drawn.current.pending = true;
      requestAnimationFrame(() => {
        drawn.current.pending = false;
        draw.current();
        if (isFirst && element.current?.on) listen(element.current);
      });
    });
    return () => {
      isCurrent = false;
    };
  }, [isVisible, curves, tail, base, scale, theme, detail, figure]);

  function listen(node) {
    node.on("plotly_relayout", async (event) => {
      if (event["xaxis.autorange"]) return setDetail(null);
      const [from, to] = [event["xaxis.range[0]"], event["xaxis.range[1]"]];
      if (from === undefined || isTime) return;
      setDetail(await fetchDetail(jobId, figure, Math.floor(from), Math.ceil(to)));
    });
  }

  return (
    <div
      ref={element}
      role="img"
      aria-label={describe(label, figure, shown)}
      className="live-chart"
      style={{ width: "100%", height, minHeight: height }}
    />
  );
}

async function fetchDetail(jobId, figure, from, to) {
  const query = new URLSearchParams({ from_step: Math.max(0, from), to_step: Math.max(0, to) });
  figure.data.forEach((trace) => query.append("keys", trace.meta.key));
  try {
    const answer = await fetch(`/api/v1/jobs/${jobId}/metrics?${query}`);
    if (!answer.ok) return null;
    const { series } = await answer.json();
    return Object.fromEntries(
      Object.entries(series).map(([key, part]) => [key, { x: part.step, t: part.time, y: part.value }]),
    );
  } catch {
    return null;
  }
}

export function ChartControls() {
  const scale = useView();
  const row = { display: "flex", alignItems: "center", gap: "0.5rem" };
  return (
    <div style={{ ...row, flexWrap: "wrap", gap: "0.5rem 1.5rem", fontSize: 13 }}>
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
      <span style={{ color: "var(--muted-foreground)" }}>Drag to zoom in, double-click to zoom out</span>
    </div>
  );
}
