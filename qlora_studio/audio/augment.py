"""Vary a clip's sound for training: louder or softer, in noise, with gaps in time or frequency.

All of it happens to the waveform, so that what is heard in a preview is what a model is trained on, whatever
it is fed with. Masks after SpecAugment (Park et al. 2019, arXiv:1904.08779), without its warping.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from qlora_studio.contracts.spec import AugmentationSpec, FrequencyMaskSpec, TimeMaskSpec

Samples = NDArray[np.float32]

_FADE_S = 0.005  # at a gap's ends, so that it doesn't click
_MAX_GAP_SHARE = 0.2  # of the clip: a word may be lost, not the sentence


def rng_for(seed: int, epoch: int, clip_id: str) -> np.random.Generator:
    """The random state of one clip in one epoch: the same on every machine, whatever came before it."""
    digest = hashlib.sha256(f"{seed}/{epoch}/{clip_id}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype="<u4"))


def apply(samples: Samples, rate: int, spec: AugmentationSpec, rng: np.random.Generator) -> Samples:
    """Return varied samples, float32 of the same shape (n,), between -1 and 1 if anything was changed.

    Args:
        samples: mono, full scale is 1; left as they are.
        rate: samples per second.
        spec: what may be done; each part happens with its own probability.
        rng: where chance comes from, see `rng_for`.
    """
    varied = samples
    if spec.gain is not None and rng.random() < spec.gain.probability:
        varied = varied * np.float32(10 ** (rng.uniform(spec.gain.min_db, spec.gain.max_db) / 20))
    if spec.noise is not None and rng.random() < spec.noise.probability:
        varied = _with_noise(varied, rng.uniform(spec.noise.min_snr_db, spec.noise.max_snr_db), rng)
    if spec.frequency_masks is not None and rng.random() < spec.frequency_masks.probability:
        varied = _without_bands(varied, rate, spec.frequency_masks, rng)
    if spec.time_masks is not None and rng.random() < spec.time_masks.probability:
        varied = _with_gaps(varied, rate, spec.time_masks, rng)
    return samples if varied is samples else np.clip(varied, -1, 1).astype(np.float32)


def _with_noise(samples: Samples, snr_db: float, rng: np.random.Generator) -> Samples:
    level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0
    noise = rng.standard_normal(len(samples), dtype=np.float32)
    return (samples + noise * np.float32(level * 10 ** (-snr_db / 20))).astype(np.float32, copy=False)


def _without_bands(samples: Samples, rate: int, spec: FrequencyMaskSpec, rng: np.random.Generator) -> Samples:
    import scipy.fft

    n_bins = scipy.fft.next_fast_len(len(samples) + rate // 10, real=True)  # room for a filter's echo
    spectrum = np.asarray(scipy.fft.rfft(samples, n_bins))
    mels = _mel(np.fft.rfftfreq(n_bins, 1 / rate)) / _mel(np.array(rate / 2))
    for _ in range(spec.count):
        width = rng.uniform(0, spec.max_share)
        low = rng.uniform(0, 1 - width)
        distance = np.maximum(low - mels, mels - low - width)  # under 0 within the band
        spectrum *= np.clip(distance / (width / 4 + 1e-9), 0, 1)  # soft edges ring less
    return np.asarray(scipy.fft.irfft(spectrum, n_bins))[: len(samples)].astype(np.float32)


def _with_gaps(samples: Samples, rate: int, spec: TimeMaskSpec, rng: np.random.Generator) -> Samples:
    longest = min(int(spec.max_s * rate), int(len(samples) * _MAX_GAP_SHARE))
    gain = np.ones(len(samples), dtype=np.float32)
    at = np.arange(len(samples), dtype=np.float32)
    for _ in range(spec.count):
        length = rng.integers(0, longest + 1)
        start = rng.integers(0, len(samples) - length + 1)
        distance = np.maximum(start - at, at - start - length + 1)
        gain = np.minimum(gain, np.clip(distance / (_FADE_S * rate), 0, 1)) if length else gain
    return samples * gain


def _mel(frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    return 2595 * np.log10(1 + frequency / 700)
