"""What the loop asks of a task."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qlora_studio.contracts.spec import ClipItem

Features = dict[str, np.ndarray]
Batch = dict[str, Any]  # tensors, ready for model(**batch)


class Prediction(NamedTuple):
    """What a model made of one batch. `loss` is the batch's mean loss."""

    texts: list[str]
    loss: float


class SpeechTask(ABC):
    """Speech to text with one kind of model. One instance a run; holds the processor, not the model."""

    max_clip_s: float
    preset_epochs: float
    gains_from_buckets = True
    max_labels: int | None = None

    def __init__(self, model_path: Path, config: dict[str, Any]) -> None:
        self.config = config
        self.processor = self._load_processor(model_path)

    @abstractmethod
    def _load_processor(self, model_path: Path) -> Any:
        """Load feature extractor and tokenizer from the model's folder, without a network."""

    @property
    def sampling_rate(self) -> int:
        return int(self.processor.feature_extractor.sampling_rate)

    @abstractmethod
    def features(self, samples: np.ndarray) -> Features:
        """Turn samples (float32, shape (n,), at `sampling_rate`) into what the cache keeps for one clip."""

    @abstractmethod
    def fit_text(self, text: str) -> str:
        """Return the text as this model can write it: the reference of the raw error rates."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Return the label ids of a text."""

    @abstractmethod
    def collate(self, features: Sequence[Features], labels: Sequence[list[int]]) -> Batch:
        """Pad one batch; labels are padded by -100."""

    @abstractmethod
    def predict(self, model: Any, batch: Batch) -> Prediction:
        """Write down what the model hears. Called without gradients, in evaluation mode."""

    def prepare(self, model: Any, clips: Sequence[ClipItem]) -> list[str]:
        """Adjust the loaded model for training; return warnings for the user."""
        return []

    def reuse_encoder(self, model: Any) -> bool:
        """Cache what a frozen encoder says of each clip, if the model has one; returns whether."""
        return False

    def length_of(self, clip: ClipItem) -> float:
        """What the work of a clip grows with, for length buckets."""
        return clip.duration_s

    def metadata(self) -> dict[str, Any]:
        """What inference must know to hear as this run did; kept beside the adapter."""
        return {"kind": type(self).__name__, "sampling_rate": self.sampling_rate}


def pad_labels(labels: Sequence[list[int]]) -> Any:
    """Return label ids as an int64 tensor (batch, longest), padded by -100 which every loss leaves out."""
    import torch

    padded = torch.full((len(labels), max(len(ids) for ids in labels)), -100, dtype=torch.long)
    for row, ids in zip(padded, labels, strict=True):
        row[: len(ids)] = torch.tensor(ids, dtype=torch.long)
    return padded
