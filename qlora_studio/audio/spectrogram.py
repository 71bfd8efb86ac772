"""A mel spectrogram as a picture: low tones below, loud is bright, readable on light and dark pages."""

import io
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from qlora_studio.audio.resample import load_mono

MAX_S = 600.0  # of a longer recording, the beginning is drawn
N_MELS = 128
MAX_COLUMNS = 1200
RANGE_DB = 80.0
_MAX_RATE = 22_050
_HOP_S = 0.01
_WINDOW_S = 0.032
_MAGMA = ["000004", "1c1044", "4f127b", "812581", "b5367a", "e55064", "fb8761", "fec287", "fcfdbf"]


def draw(path: Path) -> bytes:
    """Return a PNG of a recording's first `MAX_S` seconds: `N_MELS` rows, at most `MAX_COLUMNS` columns.

    Raises:
        OSError: not there or not readable.
        ValueError: not audio, or empty.
    """
    rate = min(sf.info(path).samplerate, _MAX_RATE)
    levels = _levels(load_mono(path, sample_rate=rate, max_s=MAX_S), rate)
    return _png(np.round((levels / RANGE_DB + 1) * 255).astype(np.uint8)[::-1])


def warm_up() -> None:
    """Load what drawing needs; that takes seconds the first time, and writes caches."""
    _png(np.zeros((N_MELS, 8), dtype=np.uint8))
    _levels(np.ones(1600, dtype=np.float32), 16_000)


def _levels(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Decibels under the loudest spot, shape (mels, columns), from -`RANGE_DB` to 0."""
    import librosa

    hop = max(1, round(_HOP_S * rate), len(samples) // (8 * MAX_COLUMNS))
    window = max(64, round(_WINDOW_S * rate), hop)
    power = librosa.feature.melspectrogram(
        y=samples, sr=rate, n_fft=window, hop_length=hop, n_mels=min(N_MELS, window // 4)
    )
    each = -(-power.shape[1] // MAX_COLUMNS)  # loudest of neighbours, so that a click stays visible
    columns = np.maximum.reduceat(power, np.arange(0, power.shape[1], each), axis=1)
    if not columns.max() > 0:
        return np.full(columns.shape, -RANGE_DB, dtype=np.float32)
    return librosa.power_to_db(columns, ref=np.max, top_db=RANGE_DB)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    anchors = np.array([[int(color[i : i + 2], 16) for i in (0, 2, 4)] for color in _MAGMA])
    at = np.linspace(0, len(anchors) - 1, 256)
    palette = np.stack([np.interp(at, range(len(anchors)), anchors[:, i]) for i in range(3)], axis=1)
    image = Image.fromarray(np.ascontiguousarray(pixels), mode="P")
    image.putpalette(palette.round().astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
