"""Tables of preferences as trl has them: `{"prompt": …, "chosen": FILE, "rejected": FILE}` a line.

A recording may be the better one of some pairs and the worse one of others, so a pair becomes marks in the
labels of its two recordings: `3+` is the better one of pair 3, `3-` the worse one; spaces set marks apart.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS = frozenset({"prompt", "chosen", "rejected"})
MARK = re.compile(r"(\d{1,9})([+-])")
MAX_LABEL = 200


class PairsRefused(ValueError):
    """The pairs can't be kept; the text says why."""


def has_pairs(columns: Sequence[str]) -> bool:
    """Whether a table's columns are those of preferences."""
    return set(columns) >= COLUMNS


def to_recordings(
    numbered: Sequence[tuple[int, Mapping[str, Any]]],
) -> list[tuple[int, dict[str, Any]]]:
    """Turn pairs into a row for each recording: `file`, `text`, `label` with its marks, and `split`.

    Raises:
        PairsRefused: a recording belongs to two prompts or two splits, or to more pairs than fit a label.
    """
    rows: dict[str, tuple[int, dict[str, Any]]] = {}
    for number, record in numbered:
        for key, sign in (("chosen", "+"), ("rejected", "-")):
            given = record.get(key)
            file = str((given.get("path") if isinstance(given, Mapping) else given) or "").strip()
            told = {"text": record.get("prompt"), "split": record.get("split")}
            _, row = rows.setdefault(file, (number, {"file": file, "label": "", **told}))
            if any(row[name] != value for name, value in told.items()):
                raise PairsRefused(f"line {number} gives {file} another prompt or split than a line before")
            row["label"] = f"{row['label']} {number}{sign}".strip()
            if len(row["label"]) > MAX_LABEL:
                raise PairsRefused(f"{file} is in too many pairs")
    return list(rows.values())
