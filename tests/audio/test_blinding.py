"""Files of a listening test: none tells more than its sound, and a broken copy is one."""

import io

import numpy as np
import soundfile

from qlora_studio.audio import blinding

RATE = 16_000
TONE = (0.4 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)


def decoded(content: bytes) -> np.ndarray:
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32")
    assert rate == RATE
    return samples


def test_two_files_of_one_sound_are_as_long_and_not_the_same() -> None:
    rng = np.random.default_rng(0)
    one, other = (blinding.encode(TONE, sample_rate=RATE, rng=rng) for _ in range(2))
    assert one != other
    assert len(one) == len(other)
    assert np.abs(decoded(one) - TONE).max() < 2 / 32768


def test_a_broken_copy_is_as_loud_and_far_from_the_sound() -> None:
    rng = np.random.default_rng(0)
    broken = blinding.damage(TONE, sample_rate=RATE, rng=rng)
    assert broken.shape == TONE.shape
    assert abs(np.mean(broken**2) / np.mean(TONE**2) - 1) < 0.05
    assert np.corrcoef(broken, TONE)[0, 1] < 0.8
    loud = blinding.damage(np.ones(RATE, np.float32), sample_rate=RATE, rng=rng)
    assert np.abs(loud).max() <= 1
    assert np.abs(blinding.damage(np.zeros(RATE, np.float32), sample_rate=RATE, rng=rng)).max() > 0
