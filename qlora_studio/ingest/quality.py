"""What may be wrong with a dataset's clips: one function for each check, over rows, with limits to adjust.

Nothing here reads files or the database. A check of a single clip looks at clips in use; a check of a group
(duplicates, leaks) names all clips that belong together, so that all but the first can be left out.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from qlora_studio.contracts.enums import ClipStatus, Split, Task
from qlora_studio.contracts.spec import Strict
from qlora_studio.ingest.splits import words_of

_MIN_SPREAD = 0.1  # of the logarithm of the pace: people don't speak more evenly
MIN_PACED = 20  # clips with words, from which "as fast as the others" means something
Fingerprints = Iterable[tuple[str, bytes]]
Similar = Callable[[Fingerprints], list[list[str]]]


def _limit(title: str, unit: str, **bounds: float) -> Any:
    return Field(title=title, json_schema_extra={"unit": unit}, **bounds)


class Checks(Strict):
    """Limits of the quality report; each can be set for each dataset."""

    silent_below_db: Annotated[float, _limit("Silent below", "dB", ge=-100, le=-10)] = -60
    clipped_above: Annotated[float, _limit("Clipped above", "share of samples", ge=0, le=1)] = 0.001
    min_duration_s: Annotated[float, _limit("Too short below", "s", ge=0, le=60)] = 0.3
    max_duration_s: Annotated[float, _limit("Too long above", "s", ge=0.1, le=14_400)] = 30.0
    pace_deviations: Annotated[float, _limit("Odd beyond", "robust standard deviations", ge=2, le=50)] = 5.0
    rare_class_ratio: Annotated[
        float, _limit("Rare from", "times fewer clips than the largest class", ge=1, le=10_000)
    ] = 10.0

    @model_validator(mode="after")
    def _some_length_is_right(self) -> "Checks":
        if self.min_duration_s >= self.max_duration_s:
            raise ValueError("The shortest length must be below the longest.")
        return self


class CheckedClip(NamedTuple):
    """What the checks look at."""

    id: str
    sha256: str
    duration_s: float
    loudness_db: float | None
    clipped_ratio: float
    text: str | None
    label: str | None
    speaker: str | None
    split: Split
    status: ClipStatus
    reason: str | None
    fingerprint: bytes | None


class Finding(NamedTuple):
    """One clip, what is said of it, and the group it belongs to, if any."""

    clip_id: str
    check: str
    detail: str
    group: str | None = None


@dataclass(frozen=True)
class Pace:
    """How fast words come, in characters per second: the usual, and where odd begins."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Check:
    """One check. `action` is what a person can do about it with one click.

    With `keeps_first`, leaving its clips out leaves the first of each group in.
    """

    key: str
    title: str
    meaning: str
    limits: tuple[str, ...] = ()
    tasks: tuple[Task, ...] = tuple(Task)
    action: Literal["exclude", "split", "none"] = "exclude"
    keeps_first: bool = False


_SPOKEN = (Task.SPEECH_TO_TEXT, Task.TEXT_TO_AUDIO)
_CLASSES = (Task.AUDIO_CLASSIFICATION,)
_FIRST = "Leaving them out keeps the first."
_FLATTERS = "so results look better than they are."
CHECKS: tuple[Check, ...] = (
    Check("undecodable", "Could not be used", "It couldn't be read as sound and is left out.", action="none"),
    Check("silent", "Silent", "Hardly anything can be heard.", ("silent_below_db",)),
    Check("clipped", "Clipped", "Samples at full scale: it was recorded too loud.", ("clipped_above",)),
    Check("too_short", "Too short", "Hardly long enough to say something.", ("min_duration_s",)),
    Check("too_long", "Too long", "Longer than most models listen to at once.", ("max_duration_s",)),
    Check("missing_text", "No text", "Nothing to learn from: the words are missing.", tasks=_SPOKEN),
    Check("missing_label", "No label", "Nothing to learn from: the class is missing.", tasks=_CLASSES),
    Check(
        "duplicate_text", "Same words", f"Several clips say the same. {_FIRST}", (), _SPOKEN, keeps_first=True
    ),
    Check("duplicate_audio", "Same recording", f"The same bytes again. {_FIRST}", keeps_first=True),
    Check("near_duplicate", "Same sound", f"The same sound in other bytes. {_FIRST}", keeps_first=True),
    Check(
        "odd_pace",
        "Odd pace",
        "Far more or fewer characters per second than the others: maybe another clip's words.",
        ("pace_deviations",),
        _SPOKEN,
    ),
    Check(
        "rare_class",
        "Rare class",
        "A class with few clips is hardly learned. Add recordings of it.",
        ("rare_class_ratio",),
        _CLASSES,
        "none",
    ),
    Check(
        "speaker_in_splits",
        "Speaker in two splits",
        f"A held-out speaker is also trained on, {_FLATTERS}",
        action="split",
    ),
    Check(
        "audio_in_splits", "Recording in two splits", f"A held-out recording is also trained on, {_FLATTERS}"
    ),
)
BY_KEY = {check.key: check for check in CHECKS}


def find_all(
    clips: Sequence[CheckedClip], *, task: Task, limits: Checks, find_similar: Similar
) -> Iterator[Finding]:
    """Yield what the checks of this task find, in the order of the clips within each check.

    Args:
        clips: all clips of a dataset, in order.
        find_similar: groups ids by how their fingerprints sound.
    """
    used = [clip for clip in clips if clip.status is ClipStatus.OK]
    similar = similar_groups(clips, find_similar)
    yield from _unusable(clips)
    yield from _single(used, limits)
    if task in _SPOKEN:
        yield from (Finding(c.id, "missing_text", "") for c in used if not (c.text or "").strip())
        yield from _together("duplicate_text", used, lambda c: words_of(c.text))
        yield from _odd_pace(clips, limits)
    if task in _CLASSES:
        yield from (Finding(c.id, "missing_label", "") for c in used if not c.label)
        yield from _rare_classes(used, limits)
    yield from _together("duplicate_audio", used, lambda c: c.sha256)
    different = _with_different_bytes(used, similar)
    yield from _together("near_duplicate", used, lambda c: different.get(c.sha256))
    yield from _leaks(
        "speaker_in_splits", used, lambda c: c.speaker, lambda c, s: f"{c.speaker} is in {s} too"
    )
    heard = {sha256: f"similar:{group}" for sha256, group in similar.items()}
    yield from _leaks(
        "audio_in_splits", used, lambda c: heard.get(c.sha256, c.sha256), lambda _, s: f"Also in {s}"
    )


def pace_from(paces: NDArray[np.float64], limits: Checks) -> Pace | None:
    """The usual pace and where odd begins; None when there are too few clips with words to tell.

    Robust: median and median absolute deviation, of the logarithm (Iglewicz and Hoaglin 1993, "How to detect
    and handle outliers"), so that the odd ones hardly move the limits.

    Args:
        paces: characters per second of each clip, shape (n,), above 0.
    """
    if len(paces) < MIN_PACED:
        return None
    logs = np.log(paces)
    median = float(np.median(logs))
    spread = max(1.4826 * float(np.median(np.abs(logs - median))), _MIN_SPREAD)
    reach = min(limits.pace_deviations * spread, 20.0)
    return Pace(*(float(np.exp(at)) for at in (median, median - reach, median + reach)))


def _odd_pace(clips: Iterable[CheckedClip], limits: Checks) -> Iterator[Finding]:
    """Clips that are left out count for what is usual, so that leaving one out makes no other one odd."""
    paces = [
        (clip, len(clip.text.strip()) / clip.duration_s)
        for clip in clips
        if clip.status is not ClipStatus.REJECTED and clip.duration_s > 0 and clip.text and clip.text.strip()
    ]
    usual = pace_from(np.array([pace for _, pace in paces]), limits)
    if usual is None:
        return
    for clip, pace in paces:
        if clip.status is ClipStatus.OK and not usual.low <= pace <= usual.high:
            yield Finding(clip.id, "odd_pace", f"{pace:.1f} characters per second; usual {usual.median:.1f}")


def _unusable(clips: Iterable[CheckedClip]) -> Iterator[Finding]:
    for clip in clips:
        if clip.status is ClipStatus.REJECTED:
            reason = clip.reason or ""
            kinds = {"No text": "missing_text", "No label": "missing_label"}
            yield Finding(
                clip.id, kinds.get(reason.partition(":")[0].rstrip("."), "undecodable"), reason[:300]
            )


def _single(used: Iterable[CheckedClip], limits: Checks) -> Iterator[Finding]:
    for clip in used:
        if clip.loudness_db is None or clip.loudness_db < limits.silent_below_db:
            heard = "no sound at all" if clip.loudness_db is None else f"{clip.loudness_db:.0f} dB"
            yield Finding(clip.id, "silent", heard)
        if clip.clipped_ratio > limits.clipped_above:
            yield Finding(clip.id, "clipped", f"{100 * clip.clipped_ratio:.2g} % of the samples")
        if clip.duration_s < limits.min_duration_s:
            yield Finding(clip.id, "too_short", f"{clip.duration_s:.2f} s")
        elif clip.duration_s > limits.max_duration_s:
            yield Finding(clip.id, "too_long", f"{clip.duration_s:.1f} s")


def _rare_classes(used: Sequence[CheckedClip], limits: Checks) -> Iterator[Finding]:
    sizes = Counter(clip.label for clip in used if clip.label)
    largest = max(sizes.values(), default=0)
    for clip in used:
        if clip.label and sizes[clip.label] * limits.rare_class_ratio <= largest:
            detail = f"{sizes[clip.label]:,} clips; the largest class has {largest:,}"
            yield Finding(clip.id, "rare_class", detail, _name(clip.label))


def _together(
    check: str, used: Iterable[CheckedClip], key_of: Callable[[CheckedClip], Hashable]
) -> Iterator[Finding]:
    groups: dict[Hashable, list[str]] = defaultdict(list)
    for clip in used:
        if key := key_of(clip):
            groups[key].append(clip.id)
    for key, ids in groups.items():
        if len(ids) > 1:
            name, detail = _name(key), f"{len(ids):,} of them"
            yield from (Finding(clip_id, check, detail, name) for clip_id in ids)


def _leaks(
    check: str,
    used: Sequence[CheckedClip],
    key_of: Callable[[CheckedClip], str | None],
    say: Callable[[CheckedClip, str], str],
) -> Iterator[Finding]:
    """The clips outside the first split (train, validation, test) that their group is in."""
    rank = {split: at for at, split in enumerate(Split)}
    first: dict[str, Split] = {}
    for clip in used:
        if key := key_of(clip):
            first[key] = min(first.get(key, clip.split), clip.split, key=rank.__getitem__)
    for clip in used:
        key = key_of(clip)
        if key and clip.split is not first[key]:
            yield Finding(clip.id, check, say(clip, first[key].value)[:300], _name(key))


def similar_groups(clips: Iterable[CheckedClip], find_similar: Similar) -> dict[str, int]:
    """Group number by SHA-256, of recordings that sound the same in different bytes, left out or not."""
    prints = {c.sha256: c.fingerprint for c in clips if c.fingerprint is not None and c.sha256}
    groups = find_similar(prints.items()) if prints else []
    several = (group for group in groups if len(group) > 1)
    return {sha256: number for number, group in enumerate(several, 1) for sha256 in group}


def _with_different_bytes(used: Iterable[CheckedClip], similar: dict[str, int]) -> dict[str, int]:
    """Those of the groups that still hold different recordings among the clips in use."""
    sizes = Counter(similar[sha256] for sha256 in {clip.sha256 for clip in used} if sha256 in similar)
    return {sha256: group for sha256, group in similar.items() if sizes[group] > 1}


def _name(key: Any) -> str:
    return hashlib.sha256(str(key).encode()).hexdigest()[:16]
