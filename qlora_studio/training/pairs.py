"""Pairs to prefer by: read, checked, and put into their splits."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qlora_studio.contracts.enums import Split
from qlora_studio.contracts.spec import ClipItem, PairItem
from qlora_studio.training.clips import MIN_CLIP_S, ClipSets
from qlora_studio.training.failures import BadData


@dataclass(frozen=True)
class PairSets:
    """What a run learns to prefer and what it is measured on. `dropped` maps a reason to a count."""

    train: list[PairItem]
    validation: list[PairItem]
    dropped: dict[str, int]

    def clips(self) -> ClipSets:
        """The chosen sounds, as clips of the run."""
        return ClipSets(
            [chosen_clip(pair) for pair in self.train],
            [chosen_clip(pair) for pair in self.validation],
            self.dropped,
        )


def read_pairs(path: Path, *, min_s: float = MIN_CLIP_S) -> PairSets:
    """Read pairs and leave out what cannot be used, counting why.

    Args:
        path: JSON Lines of `PairItem`.
        min_s: shortest sound that can be preferred or not, in seconds.

    Raises:
        BadData: the file cannot be read or nothing is left to train on.
    """
    try:
        with path.open(encoding="utf-8") as file:
            pairs = [PairItem.model_validate_json(line) for line in file if line.strip()]
    except (OSError, ValueError) as error:
        raise BadData("The job's list of pairs cannot be read. Launch the job again.") from error
    dropped: Counter[str] = Counter()
    kept: list[PairItem] = []
    for pair in pairs:
        reason = _reason_to_drop(pair, min_s)
        if reason is None:
            kept.append(pair)
        else:
            dropped[reason] += 1
    train = [pair for pair in kept if pair.split is Split.TRAIN]
    if not train:
        why = "; ".join(f"{count} {reason}" for reason, count in dropped.items()) or "the split is empty"
        raise BadData(f"There is no pair to train on: {why}. Check the dataset's splits and pairs.")
    return PairSets(train, [pair for pair in kept if pair.split is Split.VALIDATION], dict(dropped))


def _reason_to_drop(pair: PairItem, min_s: float) -> str | None:
    if not pair.prompt.strip():
        return "without a prompt"
    if min(pair.chosen_s, pair.rejected_s) < min_s:
        return f"with a sound shorter than {min_s:g} s"
    if not Path(pair.chosen).is_file() or not Path(pair.rejected).is_file():
        return "missing on disk"
    if pair.chosen == pair.rejected:
        return "of one and the same sound"
    return None


def chosen_clip(pair: PairItem) -> ClipItem:
    """The sound that was preferred."""
    return ClipItem(
        id=pair.id, path=pair.chosen, duration_s=pair.chosen_s, text=pair.prompt, split=pair.split
    )


def rejected_clip(pair: PairItem) -> ClipItem:
    """The sound that was not."""
    return ClipItem(
        id=f"{pair.id}/rejected",
        path=pair.rejected,
        duration_s=pair.rejected_s,
        text=pair.prompt,
        split=pair.split,
    )


def both(pairs: Sequence[PairItem]) -> list[ClipItem]:
    """All chosen sounds, then all rejected ones: the order of a batch."""
    return [chosen_clip(pair) for pair in pairs] + [rejected_clip(pair) for pair in pairs]
