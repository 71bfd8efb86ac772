"""Which clips are held out: the same clips for the same seed, and never the same words on both sides."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from qlora_studio.contracts.enums import Split, Task
from qlora_studio.ingest.preferences import MARK

DEFAULT_RATIOS: dict[Split, float] = {Split.TRAIN: 0.8, Split.VALIDATION: 0.2}
_HELD_OUT = (Split.VALIDATION, Split.TEST)
_NEAR_ENOUGH = 0.01  # of all clips
_MANY_TAKES = 5  # of one prompt: enough that one of them is a fifth
_TRIES = 32  # orders that are tried when large groups, or groups of several labels, don't fit


@dataclass(frozen=True, slots=True)
class SplitItem:
    """What splitting needs of a clip. Clips with one `text`, the same bytes or one `sound` stay together.

    `sound` names a group of recordings that sound the same in different bytes. So do clips of one of `pairs`.
    """

    id: str
    sha256: str
    text: str | None = None
    label: str | None = None
    speaker: str | None = None
    sound: str | None = None
    pairs: tuple[str, ...] = ()


@dataclass(slots=True)
class _Group:
    """Clips that must not be parted; `labels` says how many of each label there are."""

    key: str
    items: list[SplitItem] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)


def assign(
    items: Sequence[SplitItem],
    *,
    ratios: Mapping[Split, float],
    seed: int,
    stratify: bool | None = None,
    by_speaker: bool = False,
) -> dict[str, Split]:
    """Give each clip its split.

    Clips with the same words, bytes or sound go to one split, and so do clips of one speaker if asked for.
    Where speakers read the same words, so that both would tie everything together, the speaker counts. At
    least one clip is held out whenever there are two that can be told apart.

    Args:
        items: the clips; their order doesn't matter.
        ratios: share of each split; they are scaled to 1.
        seed: another seed gives another choice.
        stratify: split each label by itself; None does so where clips have no words.
        by_speaker: keep the clips of a speaker on one side.
    """
    total = sum(ratios.values())
    shares = {split: ratios.get(split, 0) / total for split in _HELD_OUT}
    result: dict[str, Split] = {}
    for groups in _ties(items, seed, stratify, by_speaker=by_speaker):
        result = _deal(groups, shares, seed)
        wanted = len(items) * sum(shares.values())
        if sum(split is not Split.TRAIN for split in result.values()) >= wanted / 2:
            break
    if shares[Split.VALIDATION] > 0 and Split.VALIDATION not in result.values():
        _hold_one_out(items, result, seed)
    return result


def untie_prompts(items: Sequence[SplitItem], *, task: Task) -> list[SplitItem]:
    """Let takes of one prompt be parted, where a text is what to make and not what is said.

    Whoever rates takes of a few prompts wants more like the best of these; with whole prompts held out, the
    step that is kept would be the one that does best on prompts that were not trained on. So a prompt with
    many takes has its share on both sides, as if it were their label. Of preferences both sounds of a pair
    stay on one side, and so do all takes that pairs link. Clips that have other labels stay as they are.
    """
    if task is not Task.TEXT_TO_AUDIO:
        return list(items)
    marks = [(item.label or "").split() for item in items]
    if not all(MARK.fullmatch(mark) for some in marks for mark in some):
        return list(items)
    words = [words_of(item.text) for item in items]
    n_takes = Counter(words)
    return [
        replace(item, text=None, label=said, pairs=tuple(mark[:-1] for mark in some))
        if said and n_takes[said] >= _MANY_TAKES
        else item
        for item, said, some in zip(items, words, marks, strict=True)
    ]


def tied(items: Sequence[SplitItem]) -> list[list[SplitItem]]:
    """Return the clips in groups that belong on one side."""
    return [group.items for group in _groups(items, 0, False, by_speaker=False, by_words=True)]


def words_of(text: str | None) -> str:
    """The words alone, to compare texts: case, punctuation and spaces don't count."""
    return " ".join("".join(c if c.isalnum() else " " for c in (text or "").casefold()).split())


def _ties(
    items: Sequence[SplitItem], seed: int, stratify: bool | None, *, by_speaker: bool
) -> Iterator[list[_Group]]:
    """Ways to tie clips together, the strictest first."""
    yield _groups(items, seed, stratify, by_speaker=by_speaker, by_words=True)
    if by_speaker:
        yield _groups(items, seed, stratify, by_speaker=True, by_words=False)


def _groups(
    items: Sequence[SplitItem], seed: int, stratify: bool | None, *, by_speaker: bool, by_words: bool
) -> list[_Group]:
    """The clips in groups that share a key, directly or through others, in the order of the seed."""
    parents: dict[str, str] = {}

    def root(key: str) -> str:
        parents.setdefault(key, key)
        while parents[key] != key:
            parents[key] = key = parents[parents[key]]
        return key

    keys = [_keys(item, by_speaker=by_speaker, by_words=by_words) for item in items]
    for tied in keys:
        roots = sorted({root(key) for key in tied})
        for other in roots[1:]:
            parents[other] = roots[0]
    groups: dict[str, _Group] = {}
    for item, tied in zip(items, keys, strict=True):
        key = root(tied[0])  # the smallest of its group, in whatever order they came
        group = groups.setdefault(key, _Group(key))
        group.items.append(item)
        by_label = stratify or (stratify is None and item.text is None)
        label = (item.label or "") if by_label else ""
        group.labels[label] = group.labels.get(label, 0) + 1
    return sorted(groups.values(), key=lambda group: _order(group.key, seed))


def _keys(item: SplitItem, *, by_speaker: bool, by_words: bool) -> list[str]:
    words = words_of(item.text) if by_words else ""
    keys = [f"text:{words}"] if words else []
    keys.append(f"bytes:{item.sha256 or item.id}")
    if item.sound:
        keys.append(f"sound:{item.sound}")
    keys += [f"pair:{number}" for number in item.pairs]
    if by_speaker and item.speaker:
        keys.append(f"speaker:{item.speaker}")
    return keys


def _deal(groups: Sequence[_Group], shares: Mapping[Split, float], seed: int) -> dict[str, Split]:
    """Deal groups out in their order; where that misses what was wanted, in the best of some other orders."""
    dealt = _deal_in_order(groups, shares)
    n_items = sum(len(group.items) for group in groups)
    if _miss(groups, dealt, shares) <= _NEAR_ENOUGH * n_items:
        return dealt
    orders = (sorted(groups, key=lambda g: _order(f"{turn}:{g.key}", seed)) for turn in range(1, _TRIES))
    tries = [dealt, *(_deal_whole(order, shares) for order in orders)]
    return min(tries, key=lambda each: _miss(groups, each, shares))


def _deal_in_order(groups: Sequence[_Group], shares: Mapping[Split, float]) -> dict[str, Split]:
    """Fill the held-out splits label by label with the first groups that fit; the rest is trained on."""
    left = {
        split: {label: round(n * shares[split]) for label, n in _sizes(groups).items()} for split in _HELD_OUT
    }
    result: dict[str, Split] = {}
    for group in groups:
        fitting = (s for s in _HELD_OUT if all(n <= left[s][label] for label, n in group.labels.items()))
        split = next(fitting, Split.TRAIN)
        if split in left:
            for label, n in group.labels.items():
                left[split][label] -= n
        for item in group.items:
            result[item.id] = split
    return result


def _deal_whole(groups: Sequence[_Group], shares: Mapping[Split, float]) -> dict[str, Split]:
    """Fill the held-out splits by size alone, for groups of several labels or of many clips."""
    n_items = sum(len(group.items) for group in groups)
    left = {split: round(n_items * shares[split]) for split in _HELD_OUT}
    result: dict[str, Split] = {}
    for group in groups:
        split = next((s for s in _HELD_OUT if 0 < len(group.items) <= left[s]), Split.TRAIN)
        if split in left:
            left[split] -= len(group.items)
        result.update(dict.fromkeys((item.id for item in group.items), split))
    return result


def _miss(groups: Sequence[_Group], dealt: Mapping[str, Split], shares: Mapping[Split, float]) -> float:
    """How far the splits are from what was wanted of each label, in clips."""
    sizes = _sizes(groups)
    held = {split: _sizes(g for g in groups if dealt[g.items[0].id] is split) for split in _HELD_OUT}
    return sum(abs(held[s].get(label, 0) - n * shares[s]) for s in _HELD_OUT for label, n in sizes.items())


def _sizes(groups: Iterable[_Group]) -> dict[str, int]:
    """Clips of each label."""
    sizes: dict[str, int] = {}
    for group in groups:
        for label, n in group.labels.items():
            sizes[label] = sizes.get(label, 0) + n
    return sizes


def _hold_one_out(items: Sequence[SplitItem], result: dict[str, Split], seed: int) -> None:
    groups = _groups(items, seed, False, by_speaker=False, by_words=True)
    if len(groups) > 1:
        smallest = min(groups, key=lambda group: len(group.items))
        result.update(dict.fromkeys((item.id for item in smallest.items), Split.VALIDATION))


def _order(key: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()
