// Two sounds to compare. Both run at the same time and one is heard: the other is a key away, at the same position.
// Space plays, A and B choose which is heard, R starts again; left and right arrow prefer, down is a tie, S skips and
// U takes the last answer back. The sounds of the pair after this one are fetched meanwhile.
import { useCallback, useEffect, useRef, useState } from "react";

const SIDES = ["left", "right"];
const LETTER = { left: "A", right: "B" };
const FADE_S = 0.012;
const RATE = 48000;
const BARS = 120;
const KEPT = 8; // sounds that are kept: this pair, the next, and the ones before

// -- sounds -----------------------------------------------------------------------------------------------

let context = null;
const sounds = new Map(); // address -> promise of an AudioBuffer

function audio() {
  context ??= new AudioContext();
  return context;
}

function fetchSound(url) {
  if (!sounds.has(url)) {
    const made = fetch(url)
      .then((answer) => {
        if (!answer.ok) throw new Error("This sound is no longer there.");
        return answer.arrayBuffer();
      })
      .then((bytes) => new OfflineAudioContext(1, 1, RATE).decodeAudioData(bytes)); // needs no leave to play
    made.catch(() => sounds.delete(url));
    sounds.set(url, made);
    for (const old of [...sounds.keys()].slice(0, -KEPT)) sounds.delete(old);
  }
  return sounds.get(url);
}

function peaksOf(buffer) {
  const samples = buffer.getChannelData(0);
  return Array.from({ length: BARS }, (_, i) => {
    const from = Math.floor((i * samples.length) / BARS);
    const to = Math.max(from + 1, Math.floor(((i + 1) * samples.length) / BARS));
    let high = 0;
    for (let j = from; j < to; j++) high = Math.max(high, Math.abs(samples[j] ?? 0));
    return high;
  });
}

// Both sounds from `at` on, `side` to be heard.
function startBoth(buffers, at, side) {
  const now = audio().currentTime;
  const parts = {};
  for (const name of SIDES) {
    const source = audio().createBufferSource();
    const gain = audio().createGain();
    source.buffer = buffers[name];
    gain.gain.value = name === side ? 1 : 0;
    source.connect(gain).connect(audio().destination);
    if (at < source.buffer.duration) source.start(now, at);
    parts[name] = { source, gain };
  }
  return { parts, startedAt: now - at };
}

function stopBoth(run) {
  for (const { source } of Object.values(run.parts)) {
    try {
      source.stop();
    } catch {
      // it never began: it is shorter than where the other one is
    }
    source.disconnect();
  }
}

function usePair(left, right) {
  const [loaded, setLoaded] = useState({ key: "", buffers: null, error: "" });
  const key = `${left} ${right}`;
  useEffect(() => {
    let isCurrent = true;
    if (!left || !right) return undefined;
    Promise.all([fetchSound(left), fetchSound(right)])
      .then(([one, other]) => isCurrent && setLoaded({ key, buffers: { left: one, right: other }, error: "" }))
      .catch((error) => isCurrent && setLoaded({ key, buffers: null, error: error.message }));
    return () => {
      isCurrent = false;
    };
  }, [key]);
  return loaded.key === key ? loaded : { buffers: null, error: "" };
}

// What plays, from where, and which of the two was heard so far.
function usePlayer(pairId, buffers) {
  const run = useRef(null);
  const place = useRef(0);
  const [side, setSide] = useState("left");
  const [isPlaying, setPlaying] = useState(false);
  const [at, setAt] = useState(0);
  const [heard, setHeard] = useState({});
  const length = buffers ? Math.max(buffers.left.duration, buffers.right.duration) : 0;

  const stop = useCallback(() => {
    if (run.current) stopBoth(run.current);
    run.current = null;
    setPlaying(false);
  }, []);

  const play = useCallback(
    (name, from) => {
      if (!buffers) return;
      if (run.current) stopBoth(run.current);
      audio().resume();
      place.current = from;
      run.current = startBoth(buffers, from, name);
      setSide(name);
      setHeard((before) => ({ ...before, [name]: true }));
      setPlaying(true);
    },
    [buffers],
  );

  const listen = useCallback(
    (name) => {
      setSide(name);
      if (!run.current) return play(name, place.current);
      const now = audio().currentTime;
      for (const one of SIDES) run.current.parts[one].gain.gain.setTargetAtTime(one === name ? 1 : 0, now, FADE_S);
      setHeard((before) => ({ ...before, [name]: true }));
    },
    [play],
  );

  const seek = useCallback(
    (to) => {
      place.current = to;
      setAt(to);
      if (run.current) play(side, to);
    },
    [play, side],
  );

  useEffect(() => {
    stop();
    place.current = 0;
    setAt(0);
    setSide("left");
    setHeard({});
  }, [pairId]);
  useEffect(() => stop, []);

  useEffect(() => {
    if (!isPlaying) return undefined;
    let frame = 0;
    const tick = () => {
      if (!run.current) return;
      place.current = audio().currentTime - run.current.startedAt;
      if (place.current >= buffers[side].duration) {
        place.current = 0;
        setAt(0);
        const other = side === "left" ? "right" : "left";
        if (heard[other]) return stop();
        play(other, 0); // the first time both are played, one after the other
      } else setAt(place.current);
      frame = requestAnimationFrame(tick);
    };
    frame = requestAnimationFrame(tick);
    return () => cancelAnimationFrame(frame);
  }, [isPlaying, side, heard, buffers]);

  const toggle = () => (isPlaying ? stop() : play(side, place.current));
  return { side, isPlaying, at, length, heard, toggle, listen, seek, stop };
}

// -- what is seen -----------------------------------------------------------------------------------------

const card = {
  border: "1px solid var(--border)",
  borderRadius: 10,
  background: "var(--card)",
  boxShadow: "var(--shadow)",
  padding: 14,
  display: "flex",
  flexDirection: "column",
  gap: 12,
  minWidth: 0,
  transition: "border-color 150ms ease-out",
};
const plain = {
  display: "inline-flex",
  alignItems: "center",
  justifyContent: "center",
  gap: 8,
  minHeight: 40,
  padding: "0 14px",
  borderRadius: 8,
  border: "1px solid var(--border)",
  background: "var(--card)",
  color: "var(--foreground)",
  fontSize: 14,
  fontWeight: 500,
  cursor: "pointer",
};
const filled = { ...plain, background: "var(--primary)", color: "var(--primary-foreground)", borderColor: "transparent" };

function Key({ children, tinted }) {
  const border = tinted ? "color-mix(in srgb, currentColor 45%, transparent)" : "var(--border)";
  return (
    <kbd className="pair-key" aria-hidden="true" style={{ fontSize: 11, border: `1px solid ${border}`, borderRadius: 4, padding: "0 5px" }}>
      {children}
    </kbd>
  );
}

function Wave({ buffer, at, isHeard, onSeek }) {
  const peaks = useRef({ of: null, values: [] });
  if (buffer && peaks.current.of !== buffer) peaks.current = { of: buffer, values: peaksOf(buffer) };
  const values = buffer ? peaks.current.values : Array.from({ length: BARS }, () => 0);
  const played = buffer ? at / buffer.duration : 0;
  return (
    <svg
      viewBox={`0 0 ${BARS * 3} 64`}
      preserveAspectRatio="none"
      aria-hidden="true"
      onPointerDown={(event) => {
        const box = event.currentTarget.getBoundingClientRect();
        if (buffer) onSeek(((event.clientX - box.left) / box.width) * buffer.duration);
      }}
      style={{ width: "100%", height: 64, cursor: buffer ? "pointer" : "default", opacity: buffer ? 1 : 0.5 }}
    >
      {values.map((value, i) => {
        const tall = Math.max(2, value * 62);
        const color = isHeard && i / BARS < played ? "var(--primary)" : "var(--border-strong)";
        return <rect key={i} x={i * 3} y={32 - tall / 2} width={2} height={tall} rx={1} fill={color} />;
      })}
    </svg>
  );
}

function Side({ name, player, buffer, canAnswer, onAnswer }) {
  const isOn = player.side === name;
  const letter = LETTER[name];
  return (
    <section aria-label={`Sound ${letter}`} style={{ ...card, borderColor: isOn ? "var(--primary)" : "var(--border)" }}>
      <div style={{ display: "flex", alignItems: "center", justifyContent: "space-between", gap: 8 }}>
        <h2 style={{ fontSize: 15, fontWeight: 600, margin: 0, whiteSpace: "nowrap" }}>Sound {letter}</h2>
        <span style={{ fontSize: 12, color: "var(--muted-foreground)", whiteSpace: "nowrap" }} className="tabular">
          {buffer ? `${buffer.duration.toFixed(1)} s` : "Loading"}
          {player.heard[name] && (
            <span role="img" aria-label="heard" title="Heard" style={{ color: "var(--success)" }}>
              {" ✓"}
            </span>
          )}
        </span>
      </div>
      <Wave buffer={buffer} at={player.at} isHeard={isOn} onSeek={player.seek} />
      <button
        type="button"
        style={isOn && player.isPlaying ? { ...plain, background: "var(--primary-soft)" } : plain}
        aria-pressed={isOn && player.isPlaying}
        disabled={!buffer}
        onClick={() => player.listen(name)}
      >
        Listen to {letter} <Key>{letter}</Key>
      </button>
      <button type="button" style={{ ...filled, opacity: canAnswer ? 1 : 0.55 }} disabled={!canAnswer} onClick={() => onAnswer(name)}>
        {letter} is better <Key tinted>{name === "left" ? "←" : "→"}</Key>
      </button>
    </section>
  );
}

export function BlindPair({ pair, upcoming, isBusy, canUndo, onAnswer, onUndo }) {
  const { buffers, error } = usePair(pair.left, pair.right);
  const player = usePlayer(pair.id, buffers);
  const [answered, setAnswered] = useState("");
  const isOpen = !isBusy && answered !== pair.id;
  const canAnswer = Boolean(isOpen && buffers && player.heard.left && player.heard.right);

  useEffect(() => {
    for (const url of [upcoming.left, upcoming.right]) if (url) fetchSound(url).catch(() => {});
  }, [upcoming.left, upcoming.right]);
  useEffect(() => setAnswered(""), [pair.id]);

  const answer = (verdict) => {
    if (!isOpen || (verdict !== "skip" && !canAnswer)) return;
    player.stop();
    setAnswered(pair.id);
    onAnswer?.(pair.id, verdict);
    setTimeout(() => setAnswered((before) => (before === pair.id ? "" : before)), 4000); // it was refused, or lost
  };
  const undo = () => canUndo && isOpen && onUndo?.();
  const actions = {
    " ": player.toggle,
    a: () => player.listen("left"),
    b: () => player.listen("right"),
    r: () => player.seek(0),
    ArrowLeft: () => answer("left"),
    ArrowRight: () => answer("right"),
    ArrowDown: () => answer("tie"),
    s: () => answer("skip"),
    u: undo,
  };
  const latest = useRef(actions);
  latest.current = actions;
  useEffect(() => {
    const press = (event) => {
      const action = latest.current[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      const isTyped = event.target.closest?.("input, textarea, select, [contenteditable], dialog, [role=dialog], [role=menu]");
      const isPressed = event.key === " " && event.target.closest?.("button, a");
      if (!action || isTyped || isPressed || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      action();
    };
    window.addEventListener("keydown", press);
    return () => window.removeEventListener("keydown", press);
  }, []);

  const hint = error || (canAnswer || !isOpen ? "" : "Listen to both before you answer.");
  const dimmed = { ...plain, opacity: canAnswer ? 1 : 0.55 };
  return (
    <div data-pair={pair.id} data-ready={Boolean(buffers)} style={{ display: "flex", flexDirection: "column", gap: 16 }}>
      <p style={{ fontSize: 18, lineHeight: 1.4, fontWeight: 500, textAlign: "center", textWrap: "balance", margin: "4px 0", overflowWrap: "anywhere" }}>
        “{pair.prompt}”
      </p>
      <div style={{ display: "flex", alignItems: "center", justifyContent: "center", gap: 12 }}>
        <button type="button" style={plain} disabled={!buffers} onClick={player.toggle}>
          {player.isPlaying ? "Pause" : "Play"} <Key>Space</Key>
        </button>
        <span className="tabular" style={{ fontSize: 13, color: "var(--muted-foreground)", minWidth: 84 }}>
          {player.at.toFixed(1)} of {player.length.toFixed(1)} s
        </span>
      </div>
      <div style={{ display: "grid", gridTemplateColumns: "repeat(2, minmax(0, 1fr))", gap: 12 }}>
        {SIDES.map((name) => (
          <Side key={name} name={name} player={player} buffer={buffers?.[name]} canAnswer={canAnswer} onAnswer={answer} />
        ))}
      </div>
      <div style={{ display: "flex", flexWrap: "wrap", justifyContent: "center", gap: 10 }}>
        <button type="button" style={dimmed} disabled={!canAnswer} onClick={() => answer("tie")}>
          Equally good <Key>↓</Key>
        </button>
        <button type="button" style={plain} disabled={!isOpen} onClick={() => answer("skip")}>
          Skip <Key>S</Key>
        </button>
        {onUndo && (
          <button type="button" style={{ ...plain, opacity: canUndo ? 1 : 0.55 }} disabled={!canUndo || !isOpen} onClick={undo}>
            Undo <Key>U</Key>
          </button>
        )}
      </div>
      <p role="status" style={{ minHeight: 20, textAlign: "center", fontSize: 13, margin: 0, color: error ? "var(--danger)" : "var(--muted-foreground)" }}>
        {hint}
      </p>
    </div>
  );
}
