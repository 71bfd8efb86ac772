// What a chart runs over, and more detail of the part that is shown, asked from the REST API.
import { useEffect, useRef, useState } from "react";

// Plotly shows dates as UTC; people read their own clock. One offset for the page: a curve never folds over.
const offset = new Date().getTimezoneOffset() * 60;

// An axis has: the place of a point (its step and time) in a run, the same as plotly draws it and back, and the
// part of a run between two places as the API is asked for it.
const AXES = {
  step: {
    at: (step) => step,
    part: (from, to) => ({ from_step: Math.floor(from), to_step: Math.ceil(to) }),
  },
  epoch: {
    at: (step, time, run) => step * run.epochs,
    part: (from, to, run) => ({ from_step: Math.floor(from / run.epochs), to_step: Math.ceil(to / run.epochs) }),
  },
  elapsed: {
    at: (step, time, run) => time - run.start,
    part: (from, to, run) => ({ from_time: run.start + from, to_time: run.start + to }),
  },
  time: {
    at: (step, time) => time,
    part: (from, to) => ({ from_time: from, to_time: to }),
    draw: (x) => (x - offset) * 1000,
    undraw: (x) => (typeof x === "number" ? x : Date.parse(`${x.replace(" ", "T")}Z`)) / 1000 + offset,
  },
};
const same = (x) => x;
export const axisOf = (name) => ({ name, draw: same, undraw: Number, ...AXES[name] });

// Which axis a chart has: machine curves are always over time, several runs over the time since each began, and
// epochs need a run that counts them.
export function axisFor(x, isByTime, runs) {
  if (isByTime) return "time";
  if (x === "time") return runs.length > 1 ? "elapsed" : "time";
  return x === "epoch" && runs.every((run) => run.epochs > 0) ? "epoch" : "step";
}

// The points of the part that is zoomed into; null while there is no zoom or they are not here yet. A part that
// is asked for again, or another one, ends the question before; a question that fails is asked again.
export function useDetail({ figure, runs, axis, range, renew }) {
  const [detail, setDetail] = useState(null);
  const [problem, setProblem] = useState("");
  const newest = useRef(0);
  const which = JSON.stringify([runs.map((run) => run.id), axis, range && [range.from, range.follows || range.to]]);
  useEffect(() => {
    const mine = ++newest.current;
    setProblem("");
    if (!range) return setDetail(null);
    const asking = new AbortController();
    let timer;
    const ask = async (nTries) => {
      try {
        const found = await fetchDetail(figure, runs, axisOf(axis), range, asking.signal);
        if (mine !== newest.current) return;
        setDetail({ found, from: range.from, to: endOf(range) });
        setProblem("");
      } catch (error) {
        if (mine !== newest.current || asking.signal.aborted) return;
        setProblem(`More detail could not be loaded.${error.isFinal ? "" : " Trying again."}`);
        if (!error.isFinal) timer = setTimeout(ask, Math.min(500 * 2 ** nTries, 8000), nTries + 1);
      }
    };
    ask(0);
    return () => {
      asking.abort();
      clearTimeout(timer);
    };
  }, [which, range?.follows ? renew : null]);
  // What was asked for a smaller part, or another one, has gaps in this.
  const covers = range && detail && detail.from <= range.from && endOf(range) <= detail.to;
  return [covers ? detail.found : null, problem];
}
const endOf = (range) => (range.follows ? Infinity : range.to);

async function fetchDetail(figure, runs, axis, range, signal) {
  const wanted = runs.map((run, i) => [run, figure.data.filter((trace) => trace.meta.run === i)]);
  const parts = await Promise.all(
    wanted.filter(([, traces]) => traces.length).map(([run, traces]) => fetchRun(run, traces, axis, range, signal)),
  );
  return Object.assign({}, ...parts);
}

async function fetchRun(run, traces, axis, range, signal) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(axis.part(range.from, range.to, run)))
    if (Number.isFinite(value) && !(range.follows && name.startsWith("to_"))) query.set(name, Math.max(0, value));
  traces.forEach((trace) => query.append("keys", trace.meta.key));
  const answer = await fetch(`/api/v1/jobs/${run.id}/metrics?${query}`, { signal });
  if (!answer.ok) {
    const isFinal = answer.status < 500 && answer.status !== 429;
    throw Object.assign(new Error(`status ${answer.status}`), { isFinal });
  }
  const { series } = await answer.json();
  const curves = traces.map(({ meta }) => [meta.curve, series[meta.key]]).filter(([, part]) => part);
  return Object.fromEntries(curves.map(([name, part]) => [name, { x: part.step, t: part.time, y: part.value }]));
}

// The points of one curve: steps, times, values, and places on the axis, those of a zoom only; and between which
// places the whole of it is (`ends`).
export function pointsOf(meta, { curves, tail, detail, range, axis, runs }) {
  const run = runs[meta.run];
  const whole = joined(curves?.[meta.curve], tail?.[meta.curve]);
  if (!whole || !run) return { x: [], t: [], y: [], at: [] };
  const place = (points) => points.x.map((step, i) => axis.at(step, points.t[i], run));
  const placeOf = (i) => axis.at(whole.x.at(i), whole.t.at(i), run);
  const ends = whole.x.length ? { first: placeOf(0), last: placeOf(-1) } : null;
  if (!range) return { ...whole, at: place(whole), ends };
  const fine = detail?.[meta.curve];
  const newest = fine?.t.length ? fine.t.at(-1) : -Infinity;
  const later = whole.t.findIndex((time) => time > newest); // what came after the detail
  const part = fine ? joined(fine, later < 0 ? null : cut(whole, later, whole.x.length)) : whole;
  const at = place(part);
  const first = at.findIndex((x) => x >= range.from);
  if (first < 0) return { x: [], t: [], y: [], at: [], ends };
  let end = at.length;
  if (!range.follows) while (end > first && at[end - 1] > range.to) end--;
  return { ...cut(part, first, end), at: at.slice(first, end), ends };
}

const cut = ({ x, t, y }, from, to) => ({ x: x.slice(from, to), t: t.slice(from, to), y: y.slice(from, to) });

function joined(first, more) {
  if (!first || !more?.x.length) return first ?? more;
  return { x: first.x.concat(more.x), t: first.t.concat(more.t), y: first.y.concat(more.y) };
}
