"""Recordings as a model wants them: mono float32 at its own rate."""

from pathlib import Path

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray


def load_mono(path: Path, *, sample_rate: int) -> NDArray[np.float32]:
    """Decode a file and return its samples, shape (n,), mixed to mono at `sample_rate` Hz.

    Raises:
        soundfile.SoundFileError: it can't be decoded (clips of a ready dataset always can).
    """
    samples, rate = sf.read(path, dtype="float32", always_2d=True)
    mono = samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0]
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate, quality="HQ")
    return np.ascontiguousarray(mono, dtype=np.float32)
