"""Who speaks when, as bars: the turns of a recording and of a model's answers to it, ready to draw."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from qlora_studio.audio.turns import Turn, cut, from_rttm, match_speakers, speakers_of
from qlora_studio.state import formats

SHOWN_S = 120.0  # of a longer recording, its beginning
_N_COLOURS = 6
_LANE_PX = 12
_MOST_SPOKEN = 30  # turns of one line that are read out


@dataclass(frozen=True)
class Bar:
    """One turn: where it is (percent of the time shown, pixels from the top) and in which colour."""

    left: str
    width: str
    top: str
    colour: str
    title: str


@dataclass(frozen=True)
class Line:
    """The turns of a reference or an answer. `spoken` says them in words."""

    bars: list[Bar] = field(default_factory=list)
    height: str = "0px"
    spoken: str = ""


@dataclass(frozen=True)
class Speaker:
    """A name and its colour."""

    name: str
    colour: str


@dataclass(frozen=True)
class Timeline:
    """A recording's reference, the base model's answer and the newest one, over the same time.

    Speakers of the answers, who have no names, get the name and colour of the one in the reference with whom
    they share most time; those left over are called “nobody known”.
    """

    speakers: list[Speaker] = field(default_factory=list)
    reference: Line = Line()
    base: Line = Line()
    now: Line = Line()
    end: str = ""


NOTHING = Timeline()
_UNKNOWN = "nobody known"


def timeline_of(reference: str, base: str | None, now: str, *, duration_s: float | None) -> Timeline:
    """Return the timeline of three times RTTM; `NOTHING` where the reference is no RTTM."""
    said = from_rttm(reference)
    if not said:
        return NOTHING
    answers = [from_rttm(base or ""), from_rttm(now)]
    end_s = min(duration_s or max(turn.end_s for turn in said), SHOWN_S)
    names = speakers_of(said)
    lines = [_line(said, {name: name for name in names}, names, end_s)]
    lines += [_line(answer, match_speakers(said, answer), names, end_s) for answer in answers]
    strangers = any(set(speakers_of(answer)) - set(match_speakers(said, answer)) for answer in answers)
    shown = [Speaker(name, _colour(index)) for index, name in enumerate(names)]
    if strangers:
        shown.append(Speaker(_UNKNOWN, _colour(None)))
    is_cut = duration_s is not None and duration_s > SHOWN_S
    end = formats.duration(end_s) + (f" of {formats.duration(duration_s)}" if is_cut else "")
    return Timeline(shown, *lines, end=end)


@dataclass(frozen=True)
class AnswerLine:
    """An answer with nothing to compare it to: its speakers have numbers."""

    speakers: list[Speaker] = field(default_factory=list)
    line: Line = Line()
    end: str = ""


NO_ANSWER = AnswerLine()


def answer_line(turns: Sequence[Turn]) -> AnswerLine:
    """Return an answer on its own, up to the end of its last turn."""
    if not turns:
        return NO_ANSWER
    names = speakers_of(turns)
    shown = {name: f"Speaker {index + 1}" for index, name in enumerate(names)}
    end_s = min(max(turn.end_s for turn in turns), SHOWN_S)
    line = _line(turns, shown, list(shown.values()), end_s)
    speakers = [Speaker(name, _colour(index)) for index, name in enumerate(shown.values())]
    return AnswerLine(speakers, line, formats.duration(end_s))


def _line(turns: Sequence[Turn], known: dict[str, str], names: Sequence[str], end_s: float) -> Line:
    """One lane for each speaker of the reference, and one for all that are none of them."""
    within = cut(turns, 0.0, end_s)
    n_lanes = len(names) + any(turn.speaker not in known for turn in within)
    bars = [_bar(turn, known.get(turn.speaker), names, end_s) for turn in within]
    return Line(bars, f"{n_lanes * _LANE_PX}px", _spoken(within, known))


def _bar(turn: Turn, name: str | None, names: Sequence[str], end_s: float) -> Bar:
    lane = len(names) if name is None else names.index(name)
    return Bar(
        left=f"{100 * turn.start_s / end_s:.2f}%",
        width=f"{max(100 * turn.duration_s / end_s, 0.3):.2f}%",
        top=f"{lane * _LANE_PX}px",
        colour=_colour(None if name is None else lane),
        title=f"{name or _UNKNOWN}, {_times(turn)}",
    )


def _colour(lane: int | None) -> str:
    return "var(--muted-foreground)" if lane is None else f"var(--chart-{lane % _N_COLOURS + 1})"


def _times(turn: Turn) -> str:
    return f"{turn.start_s:.1f} to {turn.end_s:.1f} s"


def _spoken(turns: Sequence[Turn], known: dict[str, str]) -> str:
    if not turns:
        return "Nobody speaks."
    told = "; ".join(f"{known.get(t.speaker, _UNKNOWN)} {_times(t)}" for t in turns[:_MOST_SPOKEN])
    n_more = len(turns) - _MOST_SPOKEN
    return told + (f"; and {formats.count(n_more, 'more turn')}." if n_more > 0 else ".")
