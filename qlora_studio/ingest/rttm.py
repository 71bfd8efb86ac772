"""Who speaks when: RTTM files (NIST Rich Transcription, 2009), read and written in one canonical form.

A clip of a diarization dataset keeps its segments as the lines of an RTTM file in `Clip.text`, ordered by
their start: `SPEAKER <file> 1 <start> <duration> <NA> <NA> <speaker> <NA> <NA>`, times in seconds.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from qlora_studio.ingest.manifests import MAX_ROWS, ManifestRefused, read_text

MAX_CHARACTERS = 500_000  # of one clip's lines: about 8,000 segments
_MIN_FIELDS = 8


@dataclass(frozen=True, slots=True, order=True)
class Turn:
    """One speaker's stretch of speech, in seconds."""

    start_s: float
    duration_s: float
    speaker: str


@dataclass(slots=True)
class Turns:
    """What a file says of one recording. `fault` tells what is wrong with it, if anything is."""

    turns: list[Turn] = field(default_factory=list)
    fault: str | None = None


def read(path: Path, name: str) -> dict[str, Turns]:
    """Read an RTTM file; file id -> its segments. Lines of other types than SPEAKER are passed over.

    Raises:
        ManifestRefused: it is too large, isn't text, or has lines that aren't RTTM.
    """
    lines = read_text(path, name).splitlines()
    if len(lines) > MAX_ROWS:
        raise ManifestRefused(f"{name} has {len(lines):,} lines; at most {MAX_ROWS:,} are read.")
    found: dict[str, Turns] = {}
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields or line.startswith(";") or (fields[0].isupper() and fields[0] != "SPEAKER"):
            continue
        if fields[0] != "SPEAKER" or len(fields) < _MIN_FIELDS:
            raise ManifestRefused(f"{name} is broken at line {number}: not a line of RTTM.")
        its = found.setdefault(fields[1], Turns())
        turn = _turn(fields)
        if turn is None:
            its.fault = its.fault or f"Bad segment: line {number} of {name} has no usable start or duration."
        else:
            its.turns.append(turn)
    return found


def canonical(file_id: str, turns: Iterable[Turn]) -> str:
    """The lines that a clip keeps, without a line break at the end."""
    name = "_".join(file_id.split())
    return "\n".join(
        f"SPEAKER {name} 1 {t.start_s:.3f} {t.duration_s:.3f} <NA> <NA> {t.speaker} <NA> <NA>"
        for t in sorted(turns)
    )


def parse(text: str) -> list[Turn]:
    """The segments of lines that `canonical` wrote."""
    return [turn for line in text.splitlines() if (turn := _turn(line.split())) is not None]


def _turn(fields: list[str]) -> Turn | None:
    try:
        start, duration = float(fields[3]), float(fields[4])
    except (ValueError, IndexError):
        return None
    if not (math.isfinite(start) and math.isfinite(duration) and start >= 0 and duration > 0):
        return None
    return Turn(start, duration, fields[7][:200])
