"""Which clips are held out: the same clips for the same seed, and never the same words on both sides."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from qlora_studio.contracts.enums import Split

DEFAULT_RATIOS: dict[Split, float] = {Split.TRAIN: 0.8, Split.VALIDATION: 0.2}


@dataclass(frozen=True, slots=True)
class SplitItem:
    """What splitting needs of a clip. Clips with one `text` or the same bytes stay together."""

    id: str
    sha256: str
    text: str | None = None
    label: str | None = None


def assign(items: Sequence[SplitItem], *, ratios: dict[Split, float], seed: int) -> dict[str, Split]:
    """Give each clip its split.

    Clips with the same text (or bytes, where there is no text) go to one split. With labels, each label is
    split by itself. At least one clip is held out whenever there are two that can be told apart.

    Args:
        items: the clips; their order doesn't matter.
        ratios: share of each split; they are scaled to 1.
        seed: another seed gives another choice.
    """
    total = sum(ratios.values())
    shares = {split: ratio / total for split, ratio in ratios.items()}
    strata: dict[str, list[SplitItem]] = defaultdict(list)
    for item in items:
        strata[(item.label or "") if item.text is None else ""].append(item)
    result: dict[str, Split] = {}
    for label in sorted(strata):
        result.update(_assign_stratum(strata[label], shares, seed))
    if shares.get(Split.VALIDATION, 0) > 0 and Split.VALIDATION not in result.values():
        _hold_one_out(items, result, seed)
    return result


def _assign_stratum(items: Sequence[SplitItem], shares: dict[Split, float], seed: int) -> dict[str, Split]:
    groups = _groups(items, seed)
    wanted = {s: round(len(items) * shares.get(s, 0)) for s in (Split.VALIDATION, Split.TEST)}
    result: dict[str, Split] = {}
    for group in groups:
        split = next((s for s, left in wanted.items() if len(group) <= left), Split.TRAIN)
        if split in wanted:
            wanted[split] -= len(group)
        result.update(dict.fromkeys((item.id for item in group), split))
    return result


def _hold_one_out(items: Sequence[SplitItem], result: dict[str, Split], seed: int) -> None:
    groups = _groups(items, seed)
    if len(groups) > 1:
        smallest = min(groups, key=len)
        result.update(dict.fromkeys((item.id for item in smallest), Split.VALIDATION))


def _groups(items: Sequence[SplitItem], seed: int) -> list[list[SplitItem]]:
    groups: dict[str, list[SplitItem]] = defaultdict(list)
    for item in items:
        groups[_group_key(item)].append(item)
    return [groups[key] for key in sorted(groups, key=lambda key: _order(key, seed))]


def _group_key(item: SplitItem) -> str:
    words = " ".join("".join(c if c.isalnum() else " " for c in (item.text or "").casefold()).split())
    return f"text:{words}" if words else f"bytes:{item.sha256 or item.id}"


def _order(key: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()
