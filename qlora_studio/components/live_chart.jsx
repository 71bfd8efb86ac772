// One curve chart. Plotly's basic bundle is loaded when the first chart comes into view, and colours come from
// the design tokens. The server gives a whole curve once (`curves`) and then only new points (`tail`); zooming
// asks the REST API for more detail of the part that is shown, and points that come meanwhile are added to it.
import { useEffect, useMemo, useRef, useState } from "react";
import { axisFor, axisOf, pointsOf, useDetail } from "./chart_detail.jsx";
import { followPointer, point, useView } from "./chart_view.jsx";
import { ZoomButtons, extentOf, rangeOf } from "./chart_zoom.jsx";

let plotly;
export const loadPlotly = () =>
  (plotly ??= import("plotly.js-basic-dist-min").then((module) => module.default ?? module));

// A first drawing takes a tenth of a second: one chart in a frame, so that the first is seen while the next is made.
const firsts = [];
function inTurn(draw) {
  if (firsts.push(draw) > 1) return;
  const next = () => {
    firsts.shift()();
    if (firsts.length) requestAnimationFrame(() => setTimeout(next)); // what was drawn is painted before
  };
  requestAnimationFrame(next);
}

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

const plain = (text) => text.replace(/[&<>]/g, (sign) => `&#${sign.charCodeAt(0)};`); // plotly reads markup

// The traces as plotly takes them, and beside each the points it is made of.
function traces(figure, points, scale, axis, runs) {
  const unit = axis.name === "elapsed" ? elapsedUnit(points) : null;
  const draw = unit ? (x) => x / unit.seconds : axis.draw;
  const made = figure.data.flatMap((trace, i) => {
    const { at, y } = points[i];
    if (!at.length) return [];
    const name = runs.length > 1 ? plain(runs[trace.meta.run].name) : trace.name;
    const mode = at.length < 2 ? "markers" : trace.mode;
    const whole = { ...trace, name, x: at.map(draw), y, mode };
    if (!scale.smoothing || at.length < 3 || trace.meta.exact) return [[whole, points[i]]];
    const smoothed = { ...whole, y: smooth(y, scale.smoothing), legendgroup: trace.meta.curve };
    // What was measured stays there, faint: a spike must not be smoothed away.
    const faint = { ...whole, opacity: 0.28, showlegend: false, hoverinfo: "skip", legendgroup: trace.meta.curve };
    return [
      [faint, points[i]],
      [smoothed, points[i]],
    ];
  });
  return { data: made.map(([trace]) => trace), sources: made.map(([, source]) => source), draw, unit };
}

const UNITS = [
  { seconds: 3600, name: "h" },
  { seconds: 60, name: "min" },
  { seconds: 1, name: "s" },
];
function elapsedUnit(points) {
  const longest = Math.max(0, ...points.map(({ at }) => at.at(-1) ?? 0));
  return UNITS.find((unit) => longest >= 3 * unit.seconds) ?? UNITS.at(-1);
}

function layoutFor(figure, made, { base, scale, axis, range, jobKey }) {
  const layout = { ...figure.layout, uirevision: jobKey, datarevision: Math.random() };
  if (!made.data.length) return emptyLayout(layout, range);
  layout.showlegend = figure.layout.showlegend && new Set(made.data.map((trace) => trace.meta.curve)).size > 1;
  // The part that is shown is ours to say (`uirevision` new each time); which curves are hidden is plotly's.
  layout.xaxis = { ...figure.layout.xaxis, ...figure.layout.meta.axes[axis.name], uirevision: Math.random() };
  if (made.unit)
    Object.assign(layout.xaxis, {
      ticksuffix: ` ${made.unit.name}`,
      unifiedhovertitle: { text: `%{x:.2f} after its start` },
    });
  if (range) {
    const last = Math.max(...made.sources.map(({ at }) => at.at(-1)));
    layout.xaxis.range = [range.from, range.follows ? Math.max(last, range.from) : range.to].map(made.draw);
    layout.xaxis.autorange = false;
  } else layout.xaxis.autorange = true;
  if (axis.name === "step" && stepsShown(made, range) < 6) layout.xaxis.dtick = 1; // else 132, 133, 133, 134
  const isLog = scale.log && Boolean(figure.layout.meta.log);
  layout.yaxis = { ...figure.layout.yaxis, type: isLog ? "log" : "linear" };
  return typeof base === "number" && base > 0 ? { ...layout, ...baseLine(base, isLog) } : layout;
}

function stepsShown(made, range) {
  const ends = made.sources.flatMap(({ at }) => [at[0], at.at(-1)]);
  const from = range?.from ?? Math.min(...ends);
  return (range && !range.follows ? range.to : Math.max(...ends)) - from;
}

function baseLine(base, isLog) {
  const line = { color: "var(--muted-foreground)", width: 1.5, dash: "dot" };
  const text = {
    xref: "paper",
    x: 1,
    xanchor: "right",
    y: isLog ? Math.log10(base) : base,
    yanchor: "bottom",
    showarrow: false,
    text: "base model",
    font: { size: 11, color: "var(--muted-foreground)" },
  };
  return {
    shapes: [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: base, y1: base, line }],
    annotations: [text],
  };
}

function emptyLayout(layout, isPart) {
  const hidden = { visible: false, fixedrange: true };
  const text = {
    xref: "paper",
    yref: "paper",
    x: 0.5,
    y: 0.5,
    showarrow: false,
    text: isPart ? "Nothing measured in this part. Zoom out to see the rest." : "Nothing measured yet",
    font: { size: 13, color: "var(--muted-foreground)" },
  };
  const xaxis = isPart ? { ...hidden, fixedrange: false } : hidden;
  return { ...layout, xaxis, yaxis: hidden, annotations: [text], dragmode: false };
}

// Changes when a chart's own points do: curves only grow, or are sent whole with other first points.
function signature(points, rest) {
  const ends = points.map(({ at, y }) => [at.length, at[0], at.at(-1), y.at(-1), y[y.length >> 1]]);
  return JSON.stringify([ends, rest]);
}

function describe(label, figure, points, axis, runs) {
  const parts = figure.data.map((trace, i) => {
    if (!runs[trace.meta.run]) return null;
    const { at, x, y } = points[i];
    const name = runs.length > 1 ? runs[trace.meta.run].name : trace.name;
    const last = y.at(-1);
    if (last === undefined || last === null) return `${name}: no value yet`;
    const where = { step: ` at step ${x.at(-1)}`, epoch: ` at epoch ${Number(at.at(-1)?.toPrecision(3))}` };
    return `${name}: ${Number(last.toPrecision(4))}${where[axis.name] ?? ""}`;
  });
  return `${label}. ${parts.filter(Boolean).join("; ")}.`;
}

export function LiveChart({ figure, curves, tail, base, jobId, epochs = 0, runs, label, height = 260 }) {
  const element = useRef(null);
  const drawn = useRef({ Plotly: null, pending: false, sources: [], draw: null });
  const [isVisible, setVisible] = useState(false);
  const [theme, setTheme] = useState(0);
  const [range, setRange] = useState(null);
  const scale = useView();
  const jobKey = JSON.stringify(runs ?? [jobId, epochs]);
  const shownRuns = useMemo(() => runs ?? [{ id: jobId, epochs, start: 0 }], [jobKey]);
  const axisName = axisFor(scale.x, Boolean(figure.layout.meta.time), shownRuns);
  const axis = axisOf(axisName);
  const [detail, problem] = useDetail({ figure, runs: shownRuns, axis: axisName, range, renew: curves });
  const points = figure.data.map(({ meta }) =>
    pointsOf(meta, { curves, tail, detail, range, axis, runs: shownRuns }),
  );
  const extent = extentOf(points);
  const ids = shownRuns.map((run) => run.id).join();
  useEffect(() => setRange(null), [axisName, ids]);

  useEffect(() => {
    const seen = new IntersectionObserver(([entry]) => setVisible(entry.isIntersecting), {
      rootMargin: "600px",
    });
    seen.observe(element.current);
    const themed = new MutationObserver(() => setTheme((count) => count + 1));
    themed.observe(document.documentElement, { attributes: true, attributeFilter: ["class"] });
    const node = element.current;
    const unlink = followPointer(
      node,
      (place) => latest.current.show(place),
      () => latest.current.hide(),
    );
    return () => {
      seen.disconnect();
      themed.disconnect();
      unlink();
      drawn.current.Plotly?.purge(node);
    };
  }, []);

  // Plotly calls back long after; what it calls is of the newest props, which are drawn in the next frame, and
  // only once a frame.
  const latest = useRef({});
  latest.current = {
    draw() {
      const { Plotly } = drawn.current;
      const node = element.current;
      if (!Plotly || !node) return;
      const rest = [base, scale, theme, height, jobKey, axisName, range && [range.from, range.to]];
      const now = signature(points, rest);
      if (now === drawn.current.signature) return; // the other charts' points have changed, not these
      const made = traces(figure, points, scale, axis, shownRuns);
      Object.assign(drawn.current, { signature: now, sources: made.sources, draw: made.draw, unit: made.unit });
      const layout = layoutFor(figure, made, { base, scale, axis, range, jobKey: ids });
      const config = {
        displayModeBar: false,
        displaylogo: false,
        responsive: true,
        doubleClick: "autosize",
        showTips: false, // the controls say how to zoom out
      };
      Plotly.react(node, withColours(made.data), withColours({ ...layout, height }), config);
      node.dataset.points = String(points[0].x.length);
      node.dataset.last = String(points[0].x.at(-1) ?? "");
      node.dataset.over = axisName;
      node.dataset.detail = detail ? "yes" : "";
    },
    zoom(event) {
      if (event["xaxis.autorange"]) return setRange(null);
      if (event["xaxis.range[0]"] === undefined) return;
      const undraw = (x) => axis.undraw(x) * (drawn.current.unit?.seconds ?? 1);
      const [from, to] = [undraw(event["xaxis.range[0]"]), undraw(event["xaxis.range[1]"])];
      if (extent) setRange(rangeOf({ from, to }, extent));
    },
    pointed(event) {
      const found = event.points?.[0];
      const source = found && drawn.current.sources[found.curveNumber];
      if (!source || !event.event) return; // it was not the pointer
      const i = found.pointNumber;
      point(element.current, { axis: axisName, at: source.at[i], time: source.t[i], step: source.x[i] });
    },
    show({ axis: its, at, time }) {
      const source = drawn.current.sources[0];
      if (!source) return;
      const here = its === axisName ? at : axisName === "time" ? time : nearest(source, time);
      drawn.current.Plotly?.Fx.hover(element.current, { xval: drawn.current.draw(here) }, "xy", true);
    },
    hide() {
      if (drawn.current.sources.length) drawn.current.Plotly?.Fx.unhover(element.current, {}, "xy");
    },
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
      (isFirst ? inTurn : requestAnimationFrame)(() => {
        drawn.current.pending = false;
        latest.current.draw();
        if (isFirst && element.current?.on) listen(element.current);
      });
    });
    return () => {
      isCurrent = false;
    };
  }, [isVisible, curves, tail, base, scale, theme, detail, range, axisName, jobKey, figure]);

  function listen(node) {
    node.on("plotly_relayout", (event) => latest.current.zoom(event));
    node.on("plotly_hover", (event) => latest.current.pointed(event));
    node.on("plotly_unhover", (event) => event.event && point(node, null));
  }

  return (
    <div className="chart-box">
      <div style={{ position: "relative" }}>
        <div
          ref={element}
          role="img"
          aria-label={describe(label, figure, points, axis, shownRuns)}
          className="live-chart"
          style={{ width: "100%", height, minHeight: height }}
        />
        {problem && (
          <p role="status" style={{ position: "absolute", bottom: 0, fontSize: 12, color: "var(--warning)" }}>
            {problem}
          </p>
        )}
      </div>
      <ZoomButtons
        label={label}
        range={range}
        extent={extent}
        nShown={Math.max(...points.map(({ at }) => at.length))}
        onZoom={setRange}
      />
    </div>
  );
}

// Where the point of a curve is that was measured nearest to a time.
function nearest({ at, t }, time) {
  let best = 0;
  t.forEach((one, i) => {
    if (Math.abs(one - time) < Math.abs(t[best] - time)) best = i;
  });
  return at[best];
}
