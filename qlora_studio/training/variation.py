"""Training clips are heard a little differently in every epoch."""

import numpy as np

from qlora_studio.audio import augment
from qlora_studio.contracts.spec import AugmentationSpec, ClipItem


class Variation:
    """Varies clips as the spec says. What a clip becomes depends on seed, epoch and clip alone.

    So a resumed run hears what an uninterrupted one would have heard.
    """

    def __init__(self, spec: AugmentationSpec, *, sample_rate: int, seed: int) -> None:
        self._spec = spec
        self._sample_rate = sample_rate
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __call__(self, clip: ClipItem, samples: np.ndarray) -> np.ndarray:
        rng = augment.rng_for(self._seed, self._epoch, clip.id)
        return augment.apply(samples, self._sample_rate, self._spec, rng)
