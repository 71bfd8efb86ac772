"""The picture of a recording shows its tones where they are, whatever its length and rate."""

import io

import numpy as np
import pytest
from PIL import Image

from qlora_studio.audio import spectrogram
from tests.ingest import sounds


def drawn(tmp_path, samples, rate) -> np.ndarray:
    """Palette indices, the lowest tones in the last row."""
    path = tmp_path / "clip.flac"
    path.write_bytes(sounds.encoded(samples, rate=rate, format="FLAC"))
    image = Image.open(io.BytesIO(spectrogram.draw(path)))
    assert (image.format, image.mode) == ("PNG", "P")
    return np.array(image)


def test_a_high_tone_is_above_a_low_one_and_silence_is_dark(tmp_path):
    low, high = sounds.tone(1.0, pitch=300), sounds.tone(1.0, pitch=5000)
    pixels = drawn(tmp_path, np.concatenate([low, np.zeros_like(low), high]), 16_000)
    assert pixels.shape == (128, 301)
    rows = pixels.argmax(axis=0)
    assert np.ptp(rows[20:80]) <= 1
    assert rows[250] < rows[50] - 30
    assert pixels[:, 130:170].max() == 0
    assert pixels.max() == 255


@pytest.mark.parametrize(("seconds", "rate"), [(0.05, 8_000), (3.0, 44_100), (700.0, 8_000), (0.1, 1_000)])
def test_any_length_and_rate_gives_a_picture_of_bounded_size(tmp_path, seconds, rate):
    pixels = drawn(tmp_path, sounds.tone(seconds, rate=rate, pitch=200), rate)
    assert 8 <= pixels.shape[0] <= spectrogram.N_MELS
    assert 4 <= pixels.shape[1] <= spectrogram.MAX_COLUMNS
    assert pixels.max() == 255


def test_a_click_in_a_long_recording_is_not_lost(tmp_path):
    samples = sounds.tone(300.0, rate=8_000, level=0.001)
    samples[8_000 * 123] = 1.0
    pixels = drawn(tmp_path, samples, 8_000).astype(int)
    loudness = pixels.sum(axis=0)
    assert loudness.argmax() / len(loudness) == pytest.approx(123 / 300, abs=0.005)


def test_silence_is_an_even_dark_picture(tmp_path):
    assert drawn(tmp_path, np.zeros((8_000, 1), np.float32), 8_000).max() == 0
