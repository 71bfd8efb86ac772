"""Recordings as a model wants them: one channel, 32-bit floats, the model's own rate."""

from pathlib import Path

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray


def load_mono(
    path: Path, *, sample_rate: int, start_s: float = 0.0, max_s: float | None = None
) -> NDArray[np.float32]:
    """Decode a file, mix its channels and resample it.

    Args:
        path: anything libsndfile reads.
        sample_rate: wanted samples per second.
        start_s: leave out what comes before so many seconds.
        max_s: read so many seconds at most.

    Returns:
        Samples of shape (n,), full scale is 1.

    Raises:
        OSError: not there or not readable.
        ValueError: not audio, empty, or with values that are not numbers.
    """
    try:
        with sf.SoundFile(path) as sound:
            rate = sound.samplerate
            n_frames = -1 if max_s is None else int(max_s * rate)
            if start_s:
                sound.seek(min(round(start_s * rate), sound.frames))
            samples = sound.read(n_frames, dtype="float32", always_2d=True)
    except sf.LibsndfileError as error:
        raise ValueError("not a readable sound file") from error
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
    if mono.size == 0:
        raise ValueError("no sound in the file")
    if not np.isfinite(mono).all():
        raise ValueError("the file has samples that are not numbers")
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate)
    return np.ascontiguousarray(mono, dtype=np.float32)
