// Buttons that zoom a chart without a pointer that is dragged: in, out, along the run, and back to the whole of it.

// What each button makes of the part that is shown (`from` to `to`), of all there is (`first` to `last`).
const PARTS = {
  in: ({ from, to }) => around((from + to) / 2, (to - from) / 4),
  out: ({ from, to }) => around((from + to) / 2, to - from),
  back: ({ from, to }, { first }) => moved(from, to, -Math.min((to - from) / 2, Math.max(0, from - first))),
  on: ({ from, to }, { last }) => moved(from, to, Math.min((to - from) / 2, Math.max(0, last - to))),
};
const around = (middle, half) => ({ from: middle - half, to: middle + half });
const moved = (from, to, by) => ({ from: from + by, to: to + by });

// All there is of a chart's curves; null while there is nothing to zoom into.
export function extentOf(points) {
  const ends = points.map((one) => one.ends).filter(Boolean);
  const first = Math.min(...ends.map((one) => one.first));
  const last = Math.max(...ends.map((one) => one.last));
  return last > first ? { first, last } : null;
}

// A range as the chart keeps it; null for the whole. A part that reaches the newest point goes on with it, and
// an end that a date was rounded to is the end.
export function rangeOf({ from, to }, { first, last }) {
  const slack = (to - from) / 1000;
  if (!(to > from)) return null;
  if (from <= first + slack && to >= last - slack) return null;
  return { from, to, follows: to >= last - slack };
}

export function zoomed(name, range, extent) {
  const shown = { from: range?.from ?? extent.first, to: !range || range.follows ? extent.last : range.to };
  const { from, to } = PARTS[name](shown, extent);
  return rangeOf({ from: Math.max(from, extent.first), to: Math.min(to, extent.last) }, extent);
}

const BUTTONS = [
  ["in", "Zoom in", "M12 5v14M5 12h14"],
  ["out", "Zoom out", "M5 12h14"],
  ["back", "Show earlier", "m15 18-6-6 6-6"],
  ["on", "Show later", "m9 18 6-6-6-6"],
  ["whole", "Show the whole run", "M3 12h18M7 8l-4 4 4 4M17 8l4 4-4 4"],
];

// Which button would change nothing. It keeps the focus, so it is not `disabled`.
function isIdle(name, range, extent, nShown) {
  if (name === "in") return nShown < 4;
  if (name === "on") return !range || range.follows;
  if (name === "back") return !range || range.from <= extent.first;
  return !range;
}

export function ZoomButtons({ label, range, extent, nShown, onZoom }) {
  if (!extent) return null;
  return (
    <div role="group" aria-label={`Zoom: ${label}`} className="chart-zoom">
      {BUTTONS.map(([name, says, path]) => {
        const idle = isIdle(name, range, extent, nShown);
        const zoom = () => !idle && onZoom(name === "whole" ? null : zoomed(name, range, extent));
        return (
          <button key={name} type="button" aria-label={says} title={says} aria-disabled={idle} onClick={zoom}>
            <svg viewBox="0 0 24 24" width="14" height="14" fill="none" stroke="currentColor" strokeWidth="2" aria-hidden>
              <path d={path} strokeLinecap="round" strokeLinejoin="round" />
            </svg>
          </button>
        );
      })}
    </div>
  );
}
