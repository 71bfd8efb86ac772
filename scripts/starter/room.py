"""What happens to a voice on its way: rooms, microphones, telephones, noise."""

import numpy as np
import soxr

RATE_HZ = 16_000


def _echo(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A small room: noise that dies away within 0.05 to 0.3 s, quieter than the voice itself."""
    n = int(RATE_HZ * rng.uniform(0.05, 0.3))
    tail = rng.standard_normal(n) * np.exp(-np.arange(n) / n * 6.9)
    impulse = np.concatenate([[1.0], tail * rng.uniform(0.02, 0.12)])
    size = len(audio) + len(impulse) - 1
    return np.fft.irfft(np.fft.rfft(audio, size) * np.fft.rfft(impulse, size), size)[: len(audio)]


def _microphone(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A gently uneven frequency response: up to 6 dB either way at six points of the spectrum."""
    spectrum = np.fft.rfft(audio)
    points = rng.uniform(-6, 6, 6)
    gain_db = np.interp(np.linspace(0, 5, len(spectrum)), np.arange(6), points)
    return np.fft.irfft(spectrum * 10 ** (gain_db / 20), len(audio))


def _telephone(audio: np.ndarray) -> np.ndarray:
    """Through 8 kHz and back."""
    return soxr.resample(soxr.resample(audio, RATE_HZ, 8_000, "HQ"), 8_000, RATE_HZ, "HQ")


def _noise(n: int, level_db: float, rng: np.random.Generator) -> np.ndarray:
    """Noise between white and pink, `level_db` against full scale."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    spectrum /= np.maximum(np.arange(len(spectrum)), 1) ** rng.uniform(0, 0.5)
    noise = np.fft.irfft(spectrum, n)
    return noise / max(float(noise.std()), 1e-9) * 10 ** (level_db / 20)


def through_the_line(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One random way from the mouth to the file; three in four go through a telephone.

    Args:
        audio: (samples,) at 16 kHz, peak below 1.
        rng: Of all random choices.

    Returns:
        (longer,) float32, up to 0.35 s of pause at either end, peak 0.05 to 0.95.
    """
    pauses = rng.uniform(0.02, 0.35, 2) * RATE_HZ
    audio = np.pad(audio.astype(np.float64), (int(pauses[0]), int(pauses[1])))
    if rng.random() < 0.35:
        audio = _echo(audio, rng)
    if rng.random() < 0.7:
        audio = _microphone(audio, rng)
    audio = audio / max(float(np.abs(audio).max()), 1e-9) * rng.choice([0.3, 0.6, 0.9])
    if rng.random() < 0.7:
        audio = audio + _noise(len(audio), rng.uniform(-75, -32), rng)
    if rng.random() < 0.75:
        audio = _telephone(audio)
    return np.clip(audio * rng.uniform(0.7, 1.05), -0.99, 0.99).astype(np.float32)
