"""RTTM files as they come: checked line by line, and their turns sorted by recording."""

from dataclasses import dataclass, field
from pathlib import Path

from qlora_studio.audio.turns import Turn, read_fields
from qlora_studio.ingest.manifests import MAX_ROWS, ManifestRefused, read_text

MAX_CHARACTERS = 500_000  # of one clip's lines: about 8,000 segments
_MIN_FIELDS = 8


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
        turn = read_fields(fields)
        if turn is None:
            its.fault = its.fault or f"Bad segment: line {number} of {name} has no usable start or duration."
        else:
            its.turns.append(turn)
    return found
