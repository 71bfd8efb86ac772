"""Sounds that tell nothing but what they sound like, and copies that are clearly broken."""

import io

import numpy as np
import soundfile
from numpy.typing import NDArray

_GAP_S, _EVERY_S = 0.08, 0.2
_CLIP_AT = 0.15  # of the loudest sample
_NOISE_DB = -9.0  # against the sound's own power


def encode(samples: NDArray[np.float32], *, sample_rate: int, rng: np.random.Generator) -> bytes:
    """Return samples, (n,), as a 16-bit WAV file.

    Triangular dither of one step makes two files of the same sound differ: who compares files learns nothing.
    """
    step = 1 / 32768
    dither = (rng.random(samples.size) - rng.random(samples.size)) * step
    whole = np.clip(samples + dither, -1, 1 - step)
    file = io.BytesIO()
    soundfile.write(file, whole, sample_rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def damage(
    samples: NDArray[np.float32], *, sample_rate: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return a copy, (n,), that anybody hears to be broken: torn, overdriven, in noise; as loud as before."""
    power = float(np.mean(samples**2))
    most = float(np.abs(samples).max(initial=0))
    if most == 0:
        return (0.05 * rng.standard_normal(samples.size)).astype(np.float32)
    torn = np.clip(samples, -_CLIP_AT * most, _CLIP_AT * most)
    place = (np.arange(samples.size) + rng.integers(sample_rate)) % round(_EVERY_S * sample_rate)
    torn = torn * (place >= round(_GAP_S * sample_rate))
    noise = rng.standard_normal(samples.size)
    torn_power = max(float(np.mean(torn**2)), 1e-12)
    mixed = torn + noise * np.sqrt(torn_power * 10 ** (_NOISE_DB / 10))
    scale = np.sqrt(power / float(np.mean(mixed**2)))
    return np.clip(mixed * scale, -1, 1).astype(np.float32)
