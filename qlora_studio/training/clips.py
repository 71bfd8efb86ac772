"""The run's clips: read, checked, and put into their splits."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qlora_studio.contracts.enums import Split
from qlora_studio.contracts.spec import ClipItem
from qlora_studio.training.failures import BadData


@dataclass(frozen=True)
class ClipSets:
    """What a run trains on and what it is measured on. `dropped` maps a reason to a count."""

    train: list[ClipItem]
    validation: list[ClipItem]
    dropped: dict[str, int]


def read_clips(
    path: Path, *, max_s: float, min_s: float = 0.1, is_text_too_long: Callable[[str], bool] = lambda _: False
) -> ClipSets:
    """Read `clips.jsonl` and leave out what cannot be used, counting why.

    Args:
        path: JSON Lines of `ClipItem`.
        max_s: longest clip the model takes, in seconds.
        min_s: shortest clip that can carry speech, in seconds.
        is_text_too_long: whether the model cannot write as much as a text.

    Raises:
        BadData: the file cannot be read or nothing is left to train on.
    """
    dropped: dict[str, int] = {}
    kept: list[ClipItem] = []
    for clip in _parse(path):
        reason = _reason_to_drop(clip, min_s=min_s, max_s=max_s)
        if reason is None and is_text_too_long(clip.text or ""):
            reason = "with more text than the model can write"
        if reason is None:
            kept.append(clip)
        else:
            dropped[reason] = dropped.get(reason, 0) + 1
    train = [clip for clip in kept if clip.split is Split.TRAIN]
    if not train:
        why = "; ".join(f"{count} {reason}" for reason, count in dropped.items()) or "the split is empty"
        raise BadData(f"There is no clip to train on: {why}. Check the dataset's splits and texts.")
    return ClipSets(train, [clip for clip in kept if clip.split is Split.VALIDATION], dropped)


def _parse(path: Path) -> list[ClipItem]:
    try:
        with path.open(encoding="utf-8") as file:
            return [ClipItem.model_validate_json(line) for line in file if line.strip()]
    except (OSError, ValueError) as error:
        raise BadData("The job's list of clips cannot be read. Launch the job again.") from error


def _reason_to_drop(clip: ClipItem, *, min_s: float, max_s: float) -> str | None:
    if not (clip.text or "").strip():
        return "without text"
    if clip.duration_s < min_s:
        return f"shorter than {min_s:g} s"
    if clip.duration_s > max_s:
        return f"longer than {max_s:g} s"
    if not Path(clip.path).is_file():
        return "missing on disk"
    return None
