"""Samples as a model wants them: one channel, 32-bit floats, the model's own rate."""

from pathlib import Path

import numpy as np
import soundfile
import soxr


def load_mono(path: Path, rate: int) -> np.ndarray:
    """Decode a file, mix its channels and resample it.

    Args:
        path: anything libsndfile reads.
        rate: wanted samples per second.

    Returns:
        float32 array of shape (samples,), full scale is 1.

    Raises:
        OSError: not there or not readable.
        ValueError: not audio, empty, or with values that are not numbers.
    """
    try:
        samples, own_rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError("not a readable sound file") from error
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
    if mono.size == 0:
        raise ValueError("no sound in the file")
    if not np.isfinite(mono).all():
        raise ValueError("the file has samples that are not numbers")
    if own_rate != rate:
        mono = soxr.resample(mono, own_rate, rate)
    return np.ascontiguousarray(mono, dtype=np.float32)
