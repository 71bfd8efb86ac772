"""Decoded clips, computed once and kept in memory as far as it goes."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import psutil

from qlora_studio.audio.resample import load_mono
from qlora_studio.contracts.spec import ClipItem
from qlora_studio.training.failures import BadData
from qlora_studio.training.tasks.base import AudioTask, Batch, Features

_MEMORY_SHARE = 0.2
_MEMORY_CAP_BYTES = 4 * 2**30

Vary = Callable[[ClipItem, np.ndarray], np.ndarray]


class FeatureStore:
    """Features and labels by clip, cached up to a share of the memory that is free at the start."""

    def __init__(self, task: AudioTask, *, budget_bytes: int | None = None, n_sharing: int = 1) -> None:
        """Make an empty store.

        Args:
            budget_bytes: what it may hold at most; by default what is free decides.
            n_sharing: processes of the job on this machine, each with a store of its own.
        """
        free = int(psutil.virtual_memory().available * _MEMORY_SHARE)
        self._task = task
        usual = min(free, _MEMORY_CAP_BYTES) // n_sharing
        self._budget_bytes = usual if budget_bytes is None else budget_bytes
        self._features: dict[str, Features] = {}
        self._samples: dict[str, np.ndarray] = {}
        self._labels: dict[str, list[int]] = {}

    def features(self, clip: ClipItem) -> Features:
        """Return a clip's features.

        Raises:
            BadData: the clip cannot be decoded; the sentence names it.
        """
        cached = self._features.get(clip.id)
        if cached is not None:
            return cached
        features = self._task.features(self._decode(clip))
        if self._has_room(sum(array.nbytes for array in features.values())):
            self._features[clip.id] = features
        return features

    def varied_features(self, clip: ClipItem, vary: Vary) -> Features:
        """Return the features of a clip that is varied first: computed each time, only its sound is kept.

        Raises:
            BadData: the clip cannot be decoded; the sentence names it.
        """
        return self._task.features(vary(clip, self.sound(clip)))

    def sound(self, clip: ClipItem) -> np.ndarray:
        """Return a clip's samples (float32, shape (n,), at the task's rate), kept for the next time.

        Raises:
            BadData: the clip cannot be decoded; the sentence names it.
        """
        samples = self._samples.get(clip.id)
        if samples is None:
            samples = self._decode(clip)
            if self._has_room(samples.nbytes):
                self._samples[clip.id] = samples
        return samples

    def check(self, clip: ClipItem) -> None:
        """Decode a clip and keep nothing of it.

        Raises:
            BadData: the clip cannot be decoded; the sentence names it.
        """
        self._decode(clip)

    def clear(self) -> None:
        """Forget all features: the task makes others from now on."""
        self._features.clear()

    def labels(self, clip: ClipItem) -> list[int]:
        """Return a clip's label ids."""
        if clip.id not in self._labels:
            self._labels[clip.id] = self._task.labels(clip)
        return self._labels[clip.id]

    def batch(self, clips: Sequence[ClipItem]) -> Batch:
        """Return the padded batch of some clips, on the CPU."""
        features = [self.features(clip) for clip in clips]
        return self._task.collate(features, [self.labels(clip) for clip in clips])

    def training_batch(self, clips: Sequence[ClipItem], *, vary: Vary | None = None) -> Batch:
        """The same to train on; with `vary` of the clips' varied sound."""
        features = [self.varied_features(clip, vary) if vary else self.features(clip) for clip in clips]
        return self._task.collate_for_training(features, [self.labels(clip) for clip in clips])

    def cross(self, sound: ClipItem, words: ClipItem) -> Batch:
        """Return a batch of one: the sound of one clip with the target of another (or its own)."""
        return self._task.collate([self.features(sound)], [self.labels(words)])

    def _decode(self, clip: ClipItem) -> np.ndarray:
        try:
            return load_mono(
                Path(clip.path),
                sample_rate=self._task.sampling_rate,
                start_s=clip.start_s,
                max_s=clip.duration_s if clip.is_part else None,
            )
        except (OSError, ValueError) as error:
            raise BadData(f"Clip {clip.id} cannot be read ({error}). Exclude it and try again.") from error

    def _has_room(self, n_bytes: int) -> bool:
        """Take so much of the budget, if it is left."""
        if n_bytes > self._budget_bytes:
            return False
        self._budget_bytes -= n_bytes
        return True
