"""Who speaks when in a recording: its turns, as lines of RTTM (NIST Rich Transcription, 2009).

A clip of a diarization dataset keeps its turns in `Clip.text`, and a model's answer is written the same way:
`SPEAKER <file> 1 <start> <duration> <NA> <NA> <speaker> <NA> <NA>`, ordered by their start, times in seconds.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product

_MIN_FIELDS = 8
_SHORTEST_S = 0.001  # what the lines can tell apart


@dataclass(frozen=True, slots=True, order=True)
class Turn:
    """One speaker's stretch of speech, in seconds."""

    start_s: float
    duration_s: float
    speaker: str

    @property
    def end_s(self) -> float:
        return self.start_s + self.duration_s


def to_rttm(file_id: str, turns: Iterable[Turn]) -> str:
    """The lines that a clip keeps, without a line break at the end; in names, spaces become `_`."""
    name = _one_word(file_id)
    return "\n".join(
        f"SPEAKER {name} 1 {t.start_s:.3f} {t.duration_s:.3f} <NA> <NA> {_one_word(t.speaker)} <NA> <NA>"
        for t in sorted(turns)
    )


def _one_word(name: str) -> str:
    return "_".join(name.split()) or "<NA>"


def from_rttm(text: str) -> list[Turn]:
    """The turns of lines that `to_rttm` wrote; what is no such line is passed over."""
    return [turn for line in text.splitlines() if (turn := read_fields(line.split())) is not None]


def read_fields(fields: Sequence[str]) -> Turn | None:
    """The turn in the fields of one SPEAKER line, or None if it has no usable start or duration."""
    if len(fields) < _MIN_FIELDS or fields[0] != "SPEAKER":
        return None
    try:
        start, duration = float(fields[3]), float(fields[4])
    except ValueError:
        return None
    if not (math.isfinite(start) and math.isfinite(duration) and start >= 0 and duration > 0):
        return None
    return Turn(start, duration, fields[7][:200])


def file_id_of(text: str) -> str:
    """What the lines call their recording; empty if there are none."""
    fields = text.split(maxsplit=2)
    return fields[1] if len(fields) == 3 and fields[0] == "SPEAKER" else ""


def speakers_of(turns: Iterable[Turn]) -> list[str]:
    """The speakers, each once, in the order in which they are first heard."""
    return list(dict.fromkeys(turn.speaker for turn in sorted(turns)))


def cut(turns: Iterable[Turn], start_s: float, end_s: float) -> list[Turn]:
    """What is said between two times, counted from the first of them."""
    found = []
    for turn in turns:
        start, end = max(turn.start_s, start_s), min(turn.end_s, end_s)
        if end - start >= _SHORTEST_S:
            found.append(replace(turn, start_s=start - start_s, duration_s=end - start))
    return sorted(found)


def match_speakers(reference: Iterable[Turn], answer: Iterable[Turn]) -> dict[str, str]:
    """Which speaker of the reference each speaker of an answer is: those that share most time come first.

    A model does not know names. Speakers of the answer that share no time with one still free are left out.
    """
    shared: dict[tuple[str, str], float] = {}
    for said, heard in product(reference, answer):
        seconds = min(said.end_s, heard.end_s) - max(said.start_s, heard.start_s)
        if seconds > 0:
            pair = (heard.speaker, said.speaker)
            shared[pair] = shared.get(pair, 0.0) + seconds
    names: dict[str, str] = {}
    for heard_name, said_name in sorted(shared, key=lambda pair: (-shared[pair], pair)):
        if heard_name not in names and said_name not in names.values():
            names[heard_name] = said_name
    return names
