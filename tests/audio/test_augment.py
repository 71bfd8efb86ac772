"""Varied clips: what each part does, that it is repeatable, and that nothing else is touched."""

import numpy as np
import pytest
from pydantic import ValidationError

from qlora_studio.audio import augment
from qlora_studio.contracts.spec import (
    AugmentationSpec,
    FrequencyMaskSpec,
    GainSpec,
    NoiseSpec,
    TimeMaskSpec,
)

RATE = 16_000
ALL = AugmentationSpec(
    noise=NoiseSpec(probability=1),
    gain=GainSpec(probability=1),
    time_masks=TimeMaskSpec(probability=1),
    frequency_masks=FrequencyMaskSpec(probability=1),
)


def noise(seconds: float = 2.0, level: float = 0.1) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.standard_normal(int(seconds * RATE)) * level).astype(np.float32)


def varied(samples: np.ndarray, *, seed: int = 0, **parts) -> np.ndarray:
    return augment.apply(samples, RATE, AugmentationSpec(**parts), augment.rng_for(seed, 0, "clip"))


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def test_nothing_is_on_by_default():
    assert not AugmentationSpec().is_on
    assert not AugmentationSpec(noise=NoiseSpec(probability=0)).is_on
    assert ALL.is_on
    samples = noise()
    assert augment.apply(samples, RATE, AugmentationSpec(), augment.rng_for(0, 0, "a")) is samples


def test_the_same_seed_epoch_and_clip_sound_the_same_and_others_do_not():
    samples = noise()
    before = samples.copy()
    heard = {
        key: augment.apply(samples, RATE, ALL, augment.rng_for(*key)).tobytes()
        for key in ((0, 0, "a"), (1, 0, "a"), (0, 1, "a"), (0, 0, "b"))
    }
    assert len(set(heard.values())) == 4
    again = augment.apply(samples, RATE, ALL, augment.rng_for(0, 0, "a"))
    assert again.tobytes() == heard[0, 0, "a"]
    assert (again.dtype, again.shape) == (np.float32, samples.shape)
    assert np.array_equal(samples, before), "the clip itself is left alone"


@pytest.mark.parametrize("snr_db", [0, 10, 30])
def test_noise_has_the_level_that_was_asked_for(snr_db):
    samples = noise()
    heard = varied(samples, noise=NoiseSpec(probability=1, min_snr_db=snr_db, max_snr_db=snr_db))
    assert 20 * np.log10(rms(samples) / rms(heard - samples)) == pytest.approx(snr_db, abs=0.5)


def test_gain_changes_the_level_and_never_leaves_full_scale():
    samples = noise()
    softer = varied(samples, gain=GainSpec(probability=1, min_db=-12, max_db=-12))
    assert 20 * np.log10(rms(softer) / rms(samples)) == pytest.approx(-12, abs=0.01)
    loud = varied(samples, gain=GainSpec(probability=1, min_db=20, max_db=20))
    assert np.abs(loud).max() == 1


def test_gaps_are_silent_short_and_leave_the_rest_alone():
    samples = noise()
    for seed in range(20):
        heard = varied(samples, seed=seed, time_masks=TimeMaskSpec(probability=1, count=2, max_s=0.2))
        changed = heard != samples
        assert changed.mean() <= (2 * 0.2 + 4 * 0.005) / 2
    assert (heard[changed] == 0).mean() > 0.8
    tiny = varied(samples[:RATE], time_masks=TimeMaskSpec(probability=1, count=10, max_s=5))
    assert (tiny == samples[:RATE]).any()


def test_a_band_is_taken_out_and_the_others_stay():
    samples = noise(4.0)
    power = [np.abs(np.fft.rfft(samples)) ** 2]
    for seed in range(30):
        spec = FrequencyMaskSpec(probability=1, count=1, max_share=0.2)
        power.append(np.abs(np.fft.rfft(varied(samples, seed=seed, frequency_masks=spec))) ** 2)
    width = 200
    rows = [np.add.reduceat(p, np.arange(0, len(p) - width, width)) for p in power]
    lost = [(row < 0.05 * rows[0]).mean() for row in rows[1:]]
    kept = [(row > 0.9 * rows[0]).mean() for row in rows[1:]]
    assert max(lost) > 0.05
    assert min(kept) > 0.4


def test_parts_happen_as_often_as_asked():
    samples = noise(0.1)
    spec = AugmentationSpec(gain=GainSpec(probability=0.3, min_db=-6, max_db=-6))
    changed = sum(
        augment.apply(samples, RATE, spec, augment.rng_for(seed, 0, "a")) is not samples
        for seed in range(400)
    )
    assert 80 <= changed <= 160


@pytest.mark.parametrize(
    "samples", [np.zeros(0, np.float32), np.zeros(1, np.float32), np.zeros(999, np.float32)]
)
def test_silent_and_tiny_clips_stay_what_they_are(samples):
    heard = augment.apply(samples, RATE, ALL, augment.rng_for(0, 0, "a"))
    assert heard.shape == samples.shape
    assert not np.isnan(heard).any()


@pytest.mark.parametrize(
    "given",
    [
        {"noise": {"min_snr_db": 20, "max_snr_db": 10}},
        {"gain": {"min_db": 5, "max_db": -5}},
        {"gain": {"probability": 2}},
        {"time_masks": {"count": 0}},
        {"time_masks": {"max_s": float("nan")}},
        {"frequency_masks": {"max_share": 0.9}},
        {"echo": {}},
    ],
)
def test_nonsense_is_refused(given):
    with pytest.raises(ValidationError):
        AugmentationSpec.model_validate(given)
