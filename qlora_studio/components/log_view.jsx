// A log: its end, and lines as they are written; or what a search has found in it. The page says with `end` that
// there is more, and only what is new is asked for.
import { useEffect, useRef, useState } from "react";

const TAIL = 400; // lines at first
const KEPT = 2000; // lines in the page
const SEARCH_AGAIN_MS = 2000; // while the log grows
const NOTHING = { lines: [], found: null, isWhole: true, cursor: "", attempt: 0, state: "loading" };
const COLOURS = { error: "var(--danger)", warning: "var(--warning)", debug: "var(--muted-foreground)" };

async function ask(jobId, query, signal) {
  const known = Object.entries(query).filter(([, value]) => value);
  const answer = await fetch(`/api/v1/jobs/${jobId}/logs?${new URLSearchParams(known)}`, { signal });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const found = await answer.json();
  signal.throwIfAborted(); // another log is shown now
  return found;
}

const linesOf = (answer) => answer.lines.map((text, i) => ({ text, level: answer.levels[i] }));

function useLog(jobId, attempt, level, search, end) {
  const [log, setLog] = useState(NOTHING);
  const latest = useRef(log);
  const put = (changes) => {
    latest.current = { ...latest.current, ...changes };
    setLog(latest.current);
  };
  const which = JSON.stringify([jobId, attempt, level, search]);
  const newest = useRef(end);
  const grown = useRef(() => {});
  useEffect(() => {
    if (!jobId) return;
    const asking = new AbortController();
    let [timer, answered, nFailed, isAsking] = [null, 0, 0, false];
    put({ ...NOTHING });
    const whole = async () => {
      const answer = await ask(jobId, { attempt, level, search, tail: TAIL }, asking.signal);
      const { cursor, n_found: found, is_complete: isWhole } = answer;
      put({ lines: linesOf(answer), cursor, found, isWhole, attempt: answer.attempt, state: "shown" });
    };
    const more = async () => {
      for (;;) {
        const before = latest.current;
        const answer = await ask(jobId, { cursor: before.cursor, level }, asking.signal);
        // Another attempt has begun: the page will say which one it shows.
        if (answer.cursor === before.cursor || answer.attempt !== before.attempt) return;
        const lines = before.lines.concat(linesOf(answer)).slice(-KEPT);
        const found = before.found === null ? null : before.found + answer.lines.length;
        put({ lines, found, cursor: answer.cursor, state: "shown" });
      }
    };
    const load = async () => {
      const seen = newest.current;
      [timer, isAsking] = [null, true];
      try {
        await (latest.current.cursor && !search ? more() : whole());
        asking.signal.throwIfAborted();
        if (latest.current.state !== "shown") put({ state: "shown" });
        nFailed = 0;
      } catch {
        if (asking.signal.aborted) return;
        put({ state: "failing" });
        nFailed += 1;
      }
      [answered, isAsking] = [performance.now(), false];
      if (nFailed || newest.current !== seen) loadSoon();
    };
    // A log that never rests must not put a search off for ever, nor end one that is under way.
    const loadSoon = () => {
      if (isAsking || timer !== null) return;
      const again = search ? Math.max(0, answered + SEARCH_AGAIN_MS - performance.now()) : 0;
      timer = setTimeout(load, nFailed ? Math.min(250 * 2 ** nFailed, 8000) : again);
    };
    grown.current = loadSoon;
    load();
    return () => {
      grown.current = () => {};
      asking.abort();
      clearTimeout(timer);
    };
  }, [which]);
  useEffect(() => {
    newest.current = end;
    grown.current();
  }, [end]);
  return log;
}

// The matches of a search, marked.
function Marked({ text, search }) {
  if (!search) return text;
  const parts = [];
  const [low, wanted] = [text.toLowerCase(), search.toLowerCase()];
  if (low.length !== text.length) return text; // a letter whose small form is longer
  let at = 0;
  for (let i = low.indexOf(wanted); i >= 0; i = low.indexOf(wanted, at)) {
    parts.push(text.slice(at, i), <mark key={i}>{text.slice(i, i + wanted.length)}</mark>);
    at = i + wanted.length;
  }
  return [...parts, text.slice(at)];
}

function summary({ lines, found, isWhole, state }, search) {
  if (state === "failing") return "The log could not be loaded. Trying again.";
  if (state === "loading") return "Loading";
  if (found === null) return "";
  const words = `${found.toLocaleString("en")} ${found === 1 ? "line" : "lines"}${search ? " found" : ""}`;
  const shown = found > lines.length ? `, the newest ${lines.length.toLocaleString("en")} shown` : "";
  return words + shown + (isWhole ? "" : "; there was no time to look through the oldest part");
}

export function LogView({ jobId, attempt, level, search, end }) {
  const log = useLog(jobId, attempt, level, search, end);
  const isFiltered = Boolean(level || search);
  const nothing = isFiltered ? ["Nothing found", "No line of this log matches."] : [
    "Nothing logged",
    "What the training process writes appears here.",
  ];
  const isEmpty = log.state === "shown" && !log.lines.length;
  return (
    <>
      <p role="status" data-log-state={log.state} style={{ fontSize: 12, minHeight: 18, margin: "0 0 6px", color: "var(--muted-foreground)" }}>
        {summary(log, search)}
      </p>
      {isEmpty ? (
        <div style={{ textAlign: "center", padding: "56px 24px" }}>
          <h2 style={{ fontSize: 15, fontWeight: 600 }}>{nothing[0]}</h2>
          <p style={{ marginTop: 4, color: "var(--muted-foreground)" }}>{nothing[1]}</p>
        </div>
      ) : (
        // Newest at the bottom; it stays there unless somebody has scrolled up.
        <div role="log" aria-label="Log" tabIndex={0} className="log-view">
          <div style={{ minWidth: "100%", width: "max-content" }}>
            {log.lines.map((line, i) => (
              <div key={i} style={{ whiteSpace: "pre", color: COLOURS[line.level] }}>
                <Marked text={line.text} search={search} />
              </div>
            ))}
          </div>
        </div>
      )}
    </>
  );
}
