"""Votes of blind pairs, and the table of how often who won against whom."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np


class Choice(StrEnum):
    """What a rater may answer. A skipped pair is no vote."""

    LEFT = "left"
    RIGHT = "right"
    TIE = "tie"


COLUMNS = (Choice.LEFT, Choice.RIGHT, Choice.TIE)  # the order of a table's last axis


@dataclass(frozen=True, slots=True)
class Vote:
    """One answer of one rater.

    Attributes:
        pair: names the two sounds. A repeat has the same name, whichever side they are on.
        left: the system whose sound was on the left.
        right: the system whose sound was on the right; never the one on the left, unless it is a catch pair.
        is_catch: the answer was known before; such a vote ranks nothing.
        known: the better system of a catch pair; None if both its sounds are the same and a tie is right.
    """

    rater: str
    pair: str
    left: str
    right: str
    choice: Choice
    is_catch: bool = False
    known: str | None = None

    @property
    def preferred(self) -> str | None:
        """The system that was preferred; None for a tie."""
        if self.choice is Choice.TIE:
            return None
        return self.left if self.choice is Choice.LEFT else self.right


@dataclass(frozen=True)
class Tally:
    """How often each answer was given.

    Attributes:
        systems: the names, in the order of the table.
        counts: (n, n, 3) whole numbers: system on the left, system on the right, answer as in `COLUMNS`.
    """

    systems: tuple[str, ...]
    counts: np.ndarray

    @property
    def n_votes(self) -> int:
        """All votes counted."""
        return int(self.counts.sum())

    @property
    def asked(self) -> np.ndarray:
        """(n, n): votes with the row's system on the left and the column's on the right."""
        return self.counts.sum(axis=2)


def count_votes(votes: Iterable[Vote], *, systems: Sequence[str] = ()) -> Tally:
    """Count the votes that rank. Those of catch pairs don't.

    Args:
        systems: those to be listed even if nobody has voted about them yet; others are added as they appear.
    """
    return count_rows(((v.left, v.right, v.choice, 1) for v in votes if not v.is_catch), systems=systems)


def count_rows(rows: Iterable[tuple[str, str, Choice, int]], *, systems: Sequence[str] = ()) -> Tally:
    """Add up votes that are counted already, as a database does: left, right, answer, how many.

    Raises:
        ValueError: a system was set against itself.
    """
    places = {name: index for index, name in enumerate(dict.fromkeys(systems))}
    column_of = {choice: index for index, choice in enumerate(COLUMNS)}
    cells: dict[tuple[int, int, int], int] = {}
    for left, right, choice, n in rows:
        if left == right:
            raise ValueError(f"“{left}” was set against itself.")
        row, column = places.setdefault(left, len(places)), places.setdefault(right, len(places))
        cell = (row, column, column_of[choice])
        cells[cell] = cells.get(cell, 0) + n
    counts = np.zeros((len(places), len(places), len(COLUMNS)), dtype=np.int64)
    for cell, n in cells.items():
        counts[cell] = n
    return Tally(tuple(places), counts)
