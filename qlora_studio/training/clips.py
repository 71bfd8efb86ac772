"""The run's clips: read, checked, and put into their splits."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qlora_studio.audio import turns
from qlora_studio.contracts.enums import Split
from qlora_studio.contracts.spec import ClipItem
from qlora_studio.training.failures import BadData

MIN_CLIP_S = 0.1
MAX_SPEAKERS = 6


@dataclass(frozen=True)
class ClipSets:
    """What a run trains on and what it is measured on. `dropped` maps a reason to a count."""

    train: list[ClipItem]
    validation: list[ClipItem]
    dropped: dict[str, int]


def read_clips(
    path: Path,
    *,
    max_s: float,
    min_s: float = MIN_CLIP_S,
    is_text_too_long: Callable[[str], bool] = lambda _: False,
) -> ClipSets:
    """Read clips with texts and leave out what cannot be used, counting why.

    Args:
        path: JSON Lines of `ClipItem`.
        max_s: longest clip the model takes, in seconds.
        min_s: shortest clip that can carry speech, in seconds.
        is_text_too_long: whether the model cannot write as much as a text.

    Raises:
        BadData: the file cannot be read or nothing is left to train on.
    """

    def reason_to_drop(clip: ClipItem) -> str | None:
        if not (clip.text or "").strip():
            return "without text"
        reason = _sound_reason(clip, min_s=min_s, max_s=max_s)
        if reason is None and is_text_too_long(clip.text or ""):
            return "with more text than the model can write"
        return reason

    return _sort_out(_parse(path), reason_to_drop, what="texts")


def read_labelled_clips(path: Path, *, min_s: float = MIN_CLIP_S) -> ClipSets:
    """Read clips with labels and leave out what cannot be used, counting why. Long clips stay.

    Args:
        path: JSON Lines of `ClipItem`.
        min_s: shortest clip that can carry a sound, in seconds.

    Raises:
        BadData: the file cannot be read, nothing is left to train on, or there is only one class.
    """

    def reason_to_drop(clip: ClipItem) -> str | None:
        if not label_of(clip):
            return "without a label"
        return _sound_reason(clip, min_s=min_s, max_s=float("inf"))

    sets = _sort_out(_parse(path), reason_to_drop, what="labels")
    classes = classes_of(sets.train)
    if len(classes) < 2:
        raise BadData(
            f'All clips to train on have the label "{classes[0]}". Classification needs at least two labels.'
        )
    known = [clip for clip in sets.validation if label_of(clip) in classes]
    n_unknown = len(sets.validation) - len(known)
    unknown = {"with a label that no training clip has": n_unknown} if n_unknown else {}
    return ClipSets(sets.train, known, {**sets.dropped, **unknown})


def read_prompted_clips(path: Path, *, min_s: float = MIN_CLIP_S) -> ClipSets:
    """Read clips with the text they were, or could have been, made from. Long clips stay.

    Args:
        path: JSON Lines of `ClipItem`.
        min_s: shortest clip that can carry a sound, in seconds.

    Raises:
        BadData: the file cannot be read or nothing is left to train on.
    """

    def reason_to_drop(clip: ClipItem) -> str | None:
        if not (clip.text or "").strip():
            return "without text"
        return _sound_reason(clip, min_s=min_s, max_s=float("inf"))

    return _sort_out(_parse(path), reason_to_drop, what="texts")


def read_diarized_clips(path: Path, *, min_s: float = MIN_CLIP_S) -> ClipSets:
    """Read recordings with segments (lines of RTTM) and leave out what cannot be used, counting why.

    Long recordings stay. Segments beyond a recording's end are cut off.

    Args:
        path: JSON Lines of `ClipItem`.
        min_s: shortest recording that can carry speech, in seconds.

    Raises:
        BadData: the file cannot be read or nothing is left to train on.
    """

    def reason_to_drop(clip: ClipItem) -> str | None:
        if not clip.text:
            return "without segments"
        return _sound_reason(clip, min_s=min_s, max_s=float("inf"))

    return _sort_out([_within(clip) for clip in _parse(path)], reason_to_drop, what="segments")


def _within(clip: ClipItem) -> ClipItem:
    """A recording with those segments that it has sound for; none if its text is no RTTM."""
    text = clip.text or ""
    said = turns.cut(turns.from_rttm(text), 0.0, clip.duration_s)
    return clip.model_copy(update={"text": turns.to_rttm(turns.file_id_of(text) or clip.id, said)})


def n_speakers_of(clip: ClipItem) -> int:
    """How many people speak in a recording, by its segments."""
    return len(turns.speakers_of(turns.from_rttm(clip.text or "")))


def label_of(clip: ClipItem) -> str:
    """Return a clip's label without spaces around it, empty if there is none."""
    return (clip.label or "").strip()


def classes_of(clips: list[ClipItem]) -> list[str]:
    """Return the labels of some clips, each once, sorted."""
    return sorted({label_of(clip) for clip in clips})


def _sort_out(
    clips: list[ClipItem], reason_to_drop: Callable[[ClipItem], str | None], *, what: str
) -> ClipSets:
    """Put clips into their splits, without those that there is a reason to drop."""
    dropped: Counter[str] = Counter()
    kept: list[ClipItem] = []
    for clip in clips:
        reason = reason_to_drop(clip)
        if reason is None:
            kept.append(clip)
        else:
            dropped[reason] += 1
    train = [clip for clip in kept if clip.split is Split.TRAIN]
    if not train:
        why = "; ".join(f"{count} {reason}" for reason, count in dropped.items()) or "the split is empty"
        raise BadData(f"There is no clip to train on: {why}. Check the dataset's splits and {what}.")
    validation = [clip for clip in kept if clip.split is Split.VALIDATION]
    return ClipSets(train, validation, dict(dropped))


def _parse(path: Path) -> list[ClipItem]:
    try:
        with path.open(encoding="utf-8") as file:
            return [ClipItem.model_validate_json(line) for line in file if line.strip()]
    except (OSError, ValueError) as error:
        raise BadData("The job's list of clips cannot be read. Launch the job again.") from error


def _sound_reason(clip: ClipItem, *, min_s: float, max_s: float) -> str | None:
    if clip.duration_s < min_s:
        return f"shorter than {min_s:g} s"
    if clip.duration_s > max_s:
        return f"longer than {max_s:g} s"
    if not Path(clip.path).is_file():
        return "missing on disk"
    return None
