"""Pairs of recordings of which one was preferred, out of the marks in the recordings' labels."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from qlora_studio.contracts.enums import Split
from qlora_studio.contracts.spec import ClipItem, PairItem
from qlora_studio.ingest.preferences import MARK

_ID = "pair_{}"
PAIR_ID = re.compile(_ID.format(r"\d{1,9}"))


@dataclass
class _Half:
    """What is known of a pair so far."""

    better: ClipItem | None = None
    worse: ClipItem | None = None
    is_double: bool = False


@dataclass(frozen=True)
class Pairs:
    """Whole pairs, and how many are not: a half is missing, left out, there twice, or of another prompt.

    `n_parted` have their halves in two splits: learned from, what is held out would be known.
    """

    whole: list[PairItem] = field(default_factory=list)
    n_broken: int = 0
    n_parted: int = 0

    def count(self, split: Split) -> int:
        """How many pairs a split has."""
        return sum(pair.split is split for pair in self.whole)


def pair_up(clips: Iterable[ClipItem]) -> Pairs:
    """Put clips together whose labels mark them as the better (`3+`) and the worse (`3-`) one of a pair."""
    halves: dict[int, _Half] = {}
    for clip in clips:
        for mark in (clip.label or "").split():
            seen = MARK.fullmatch(mark)
            if seen is None:
                continue
            half = halves.setdefault(int(seen[1]), _Half())
            side = "better" if seen[2] == "+" else "worse"
            half.is_double = half.is_double or getattr(half, side) is not None
            setattr(half, side, clip)
    found = [
        (number, half.better, half.worse)
        for number, half in sorted(halves.items())
        if half.better is not None
        and half.worse is not None
        and half.better.text == half.worse.text
        and not half.is_double
    ]
    whole = [_pair(number, better, worse) for number, better, worse in found if better.split is worse.split]
    return Pairs(whole, n_broken=len(halves) - len(found), n_parted=len(found) - len(whole))


def better_of(label: str) -> list[str]:
    """Ids of the pairs whose better clip has this label."""
    marks = (MARK.fullmatch(mark) for mark in label.split())
    return [_ID.format(found[1]) for found in marks if found is not None and found[2] == "+"]


def _pair(number: int, better: ClipItem, worse: ClipItem) -> PairItem:
    return PairItem(
        id=_ID.format(number),
        prompt=" ".join((better.text or "").split()),
        chosen=better.path,
        rejected=worse.path,
        chosen_s=better.duration_s,
        rejected_s=worse.duration_s,
        split=better.split,
    )
