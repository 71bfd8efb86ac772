"""What the loop asks of a task."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import numpy as np

from qlora_studio.audio.turns import Turn
from qlora_studio.contracts.spec import ClipItem
from qlora_studio.training.clips import ClipSets

Features = dict[str, np.ndarray]
Batch = dict[str, Any]  # tensors, ready for model(**batch)
Values = dict[str, float | None]


class Output(NamedTuple):
    """What a model made of one clip: a text; a class and how likely each is (0 to 1); speakers; or a sound.

    Of speakers `text` is lines of RTTM, `segments` their turns, and `activity` how sure the model is that
    each one speaks in each frame: float32 (frames, speakers), 0 to 1. `sound` is float32, shape (n,), at the
    task's rate; `figures` are what was measured of it.
    """

    text: str
    probabilities: dict[str, float] | None = None
    segments: list[Turn] | None = None
    activity: np.ndarray | None = None
    sound: np.ndarray | None = None
    figures: Mapping[str, float | None] = MappingProxyType({})


class Prediction(NamedTuple):
    """What a model made of one batch. `loss` is the batch's mean loss."""

    outputs: list[Output]
    loss: float


class AudioTask(ABC):
    """What is learnt from a clip with one kind of model. One instance a run, without the model.

    The target of a clip is what the model should make of it, as a string: a text, a label or
    lines of RTTM.
    """

    max_clip_s: float
    preset_epochs: float
    gains_from_buckets = True
    samples_worst_first = False
    makes_sound = False
    must_listen = True  # whether a better result means that a clip and its target belong together
    can_swap_targets = True  # whether a clip can be given another clip's target
    has_own_loss = False  # what the model returns as its loss is not what is learnt from
    card_tag: ClassVar[str]
    card_note: ClassVar[str]

    def __init__(self, model_path: Path, config: dict[str, Any]) -> None:
        self.config = config
        self.processor = self._load_processor(model_path)

    @abstractmethod
    def _load_processor(self, model_path: Path) -> Any:
        """Load what prepares sound (and text) from the model's folder, without a network."""

    @property
    @abstractmethod
    def feature_extractor(self) -> Any:
        """The part of the processor that prepares sound."""

    @property
    def sampling_rate(self) -> int:
        return int(self.feature_extractor.sampling_rate)

    # What goes in

    @abstractmethod
    def read_clips(self, path: Path) -> ClipSets:
        """Read `clips.jsonl` and leave out what this task cannot use.

        Raises:
            BadData: the file cannot be read or there is too little to train on.
        """

    @abstractmethod
    def target(self, clip: ClipItem) -> str:
        """Return what the model should make of a clip."""

    def fit_target(self, target: str) -> str:
        """Return a target as the model can give it."""
        return target

    @abstractmethod
    def features(self, samples: np.ndarray) -> Features:
        """Turn samples (float32, shape (n,), at `sampling_rate`) into what the cache keeps for one clip."""

    @abstractmethod
    def encode(self, target: str) -> list[int]:
        """Return the label ids of a target."""

    def decode(self, ids: Sequence[int]) -> str | None:
        """Read a target back from its label ids, None where that is not possible."""
        return None

    def labels(self, clip: ClipItem) -> list[int]:
        """Return the label ids of a clip."""
        return self.encode(self.target(clip))

    @abstractmethod
    def collate(self, features: Sequence[Features], labels: Sequence[list[int]]) -> Batch:
        """Make one batch out of what `features` and `encode` gave for each clip."""

    def collate_for_training(self, features: Sequence[Features], labels: Sequence[list[int]]) -> Batch:
        """The same for a batch to train on, where that may look different."""
        return self.collate(features, labels)

    def parts(self, clip: ClipItem) -> list[ClipItem]:
        """The pieces in which a held-out clip goes through the model, in order; `join` puts them together."""
        return [clip]

    # What comes out

    def join(self, clip: ClipItem, outputs: Sequence[Output]) -> Output:
        """Make one output of a clip out of those of its `parts`."""
        (output,) = outputs
        return output

    @abstractmethod
    def predict(self, model: Any, batch: Batch) -> Prediction:
        """Say what the model hears. Called without gradients, in evaluation mode."""

    def loss(self, model: Any, batch: Batch) -> Any:
        """Return the loss to learn from, a tensor. Called in training mode only."""
        return model(**batch).loss

    def steady_loss(self, model: Any, batch: Batch) -> Any:
        """Return the loss of a batch, a tensor, the same whenever it is asked: for comparing."""
        found = self.loss(model, batch)
        return model(**batch).loss if found is None else found

    def pieces(self, batch: Batch) -> list[Batch]:
        """Cut a batch to train on where it would take much more memory than others."""
        return [batch]

    def weight_of(self, batch: Batch) -> float:
        """How much the loss of a part of a batch counts: what it is a mean over, by default clips."""
        return len(batch["labels"])

    def sounds(
        self,
        model: Any,
        targets: Sequence[str],
        references: Sequence[np.ndarray],
        *,
        on_step: Callable[[int, int], None] | None = None,
    ) -> list[Output]:
        """Make a sound of each target, where the task makes sounds. Slow, so it is asked for a few clips.

        Args:
            references: recordings of the targets, float32, shape (n,), at `sampling_rate`.
            on_step: called after each step with steps done and in all; what it raises ends the work.
        """
        raise NotImplementedError

    def see_targets(self, targets: Sequence[str]) -> None:  # noqa: B027  # most tasks need no such look
        """Look at all held-out targets once, before anything is measured, so that all is measured alike."""

    @abstractmethod
    def metrics(self, targets: Sequence[str], outputs: Sequence[Output]) -> Values:
        """Return the quality over a set of clips, by metric name."""

    @abstractmethod
    def error(self, target: str, output: Output) -> float | None:
        """Return how wrong one output is, 0 for right, or None where there is nothing to compare with."""

    def is_broken(self, target: str, output: Output) -> bool:
        """Whether an output is none at all: empty, or repeating itself without end."""
        return False

    def report(self, targets: Sequence[str], outputs: Sequence[Output]) -> dict[str, Any]:
        """What is kept of a measurement beyond numbers, as JSON values."""
        return {}

    def files(self, targets: Sequence[str], outputs: Sequence[Output]) -> dict[str, str]:
        """What is kept of a measurement as files: their names and contents."""
        return {}

    def sample(self, output: Output) -> dict[str, Any]:
        """What a `sample` event tells beyond the output's text."""
        return {}

    # The model

    def prepare(self, model: Any, clips: ClipSets) -> list[tuple[str, str]]:
        """Adjust the loaded model for training; return warnings for the user as (code, sentence)."""
        return []

    def speed_up(self, model: Any) -> bool:
        """Do what makes training in fast mode quicker; returns whether features are others from now on."""
        return False

    def expected_first_loss(self) -> float | None:
        """Return the loss (nats) that a model without any knowledge starts with, or None where unknown."""
        return None

    def chance_loss(self) -> float | None:
        """Return what the first loss of a trained model stays below, or None where there is no such bound.

        It is the loss (nats) of finding everything equally likely.
        """
        return None

    def length_of(self, clip: ClipItem) -> float:
        """What the work of a clip grows with, for length buckets."""
        return clip.duration_s

    def loading_arguments(self) -> str:
        """Arguments the base model needs to be loaded for the adapter, as Python, for the model card."""
        return ""

    # After training

    def wants_other_head(self, metadata: dict[str, Any]) -> bool:
        """Whether `adopt` would put another head on the model: adapters on it have to go first."""
        return False

    def adopt(self, model: Any, metadata: dict[str, Any]) -> None:  # noqa: B027  # most tasks need nothing
        """Hear as the run did that wrote `metadata`; with none, as the base model does by itself.

        Args:
            metadata: what `metadata()` returned, and `adapter_path`, the folder it was kept in.
        """

    def save_beside(self, folder: Path) -> None:  # noqa: B027  # most adapters need nothing
        """Write what inference needs besides `metadata` into the adapter's folder."""

    def metadata(self) -> dict[str, Any]:
        """What inference must know to hear as this run did; kept beside the adapter."""
        return {"kind": type(self).__name__, "sampling_rate": self.sampling_rate}


def without_adapter_wrapper(model: Any) -> Any:
    """The model itself, whether or not an adapter is on it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
