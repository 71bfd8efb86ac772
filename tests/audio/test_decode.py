"""What a recording is, and why it can't be used."""

import numpy as np
import pytest

from qlora_studio.audio.decode import Unusable, inspect
from qlora_studio.audio.fingerprint import compute, find_groups
from qlora_studio.audio.peaks import PeakMeter, to_pairs
from qlora_studio.audio.resample import load_mono
from tests.ingest import sounds

LIMIT_S = 4 * 3600.0
RATE_48 = 48_000


def write(tmp_path, content):
    path = tmp_path / "clip"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "FLOAT"),
        ("FLAC", "PCM_24"),
        ("OGG", "VORBIS"),
        ("MP3", None),
        ("AIFF", "PCM_16"),
    ],
)
def test_measures_every_format_it_promises(tmp_path, format, subtype):
    content = sounds.encoded(sounds.tone(1.0, rate=22_050), rate=22_050, format=format, subtype=subtype)
    facts = inspect(write(tmp_path, content), max_clip_s=LIMIT_S)
    assert facts.sample_rate == 22_050
    assert facts.duration_s == pytest.approx(1.0, abs=0.06)
    assert facts.peak == pytest.approx(0.5, abs=0.03)
    assert facts.loudness_db == pytest.approx(-9.03, abs=0.4)


@pytest.mark.parametrize("name", list(sounds.bad_files()))
@pytest.mark.slow
def test_each_bad_file_has_its_reason(tmp_path, name):
    content, reason = sounds.bad_files()[name]
    with pytest.raises(Unusable) as refusal:
        inspect(write(tmp_path, content), max_clip_s=LIMIT_S)
    assert str(refusal.value).startswith(reason)
    assert len(str(refusal.value)) < 300


def test_too_long_is_told_from_the_header(tmp_path):
    with pytest.raises(Unusable, match=r"Too long: 0\.0 h; the longest"):
        inspect(write(tmp_path, sounds.wav(2.0)), max_clip_s=1.0)


def test_many_channels_and_high_rates_are_fine(tmp_path):
    facts = inspect(write(tmp_path, sounds.wav(0.3, rate=192_000, channels=8)), max_clip_s=LIMIT_S)
    assert (facts.channels, facts.sample_rate, facts.is_silent) == (8, 192_000, False)


def test_silence_is_measured_not_refused(tmp_path):
    facts = inspect(write(tmp_path, sounds.wav(0.3, level=0.0)), max_clip_s=LIMIT_S)
    assert facts.is_silent
    assert facts.loudness_db is None


def test_a_streamed_wav_of_unknown_length_is_taken(tmp_path):
    content = sounds.wav(0.5)
    at = content.index(b"data") + 4
    facts = inspect(
        write(tmp_path, content[:at] + b"\xff\xff\xff\xff" + content[at + 4 :]), max_clip_s=LIMIT_S
    )
    assert facts.duration_s == pytest.approx(0.5)


@pytest.mark.parametrize("n_frames", [1, 799, 800, 801, 12_345])
def test_peaks_are_the_same_whatever_the_block_size(n_frames):
    samples = np.random.default_rng(1).uniform(-1, 1, n_frames).astype(np.float32)
    whole, pieces = PeakMeter(n_frames), PeakMeter(n_frames)
    whole.add(samples)
    for start in range(0, n_frames, 777):
        pieces.add(samples[start : start + 777])
    assert whole.to_bytes() == pieces.to_bytes()
    pairs = to_pairs(whole.to_bytes())
    assert len(pairs) == min(800, n_frames)
    assert min(low for low, _ in pairs) == pytest.approx(samples.min(), abs=0.01)
    assert max(high for _, high in pairs) == pytest.approx(samples.max(), abs=0.01)


def test_peaks_keep_a_single_click():
    samples = np.zeros(1_000_000, dtype=np.float32)
    samples[654_321] = 1.0
    meter = PeakMeter(len(samples))
    meter.add(samples)
    assert max(high for _, high in to_pairs(meter.to_bytes())) == pytest.approx(1.0, abs=0.01)


def test_load_mono_mixes_and_resamples(tmp_path):
    samples = load_mono(write(tmp_path, sounds.wav(1.0, rate=8_000, channels=2)), sample_rate=16_000)
    assert samples.dtype == np.float32
    assert len(samples) == 16_000
    assert np.abs(samples[1000:-1000]).max() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("subtype", "level"), [("PCM_16", 3.0), ("FLOAT", 3.0), ("PCM_U8", 3.0), ("ULAW", 3.0)]
)
def test_clipped_samples_are_counted_as_a_share(tmp_path, subtype, level):
    wave = np.clip(sounds.tone(1.0, level=level), -1, 1)
    expected = float((np.abs(wave) >= 1).mean())
    facts = inspect(write(tmp_path, sounds.encoded(wave, subtype=subtype)), max_clip_s=LIMIT_S)
    assert facts.clipped_ratio == pytest.approx(expected, abs=0.02)
    assert expected > 0.5


def test_a_peak_that_meets_full_scale_is_not_clipping(tmp_path):
    wave = sounds.tone(1.0, level=0.5)
    wave[5000] = 1.0
    facts = inspect(write(tmp_path, sounds.encoded(wave, subtype="FLOAT")), max_clip_s=LIMIT_S)
    assert (facts.peak, facts.clipped_ratio) == (1.0, 0.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e30])
def test_values_that_no_sound_has_are_refused(tmp_path, value):
    wave = sounds.tone(0.5)
    wave[100] = value
    with pytest.raises(Unusable, match="Bad values: the samples"):
        inspect(write(tmp_path, sounds.encoded(wave, subtype="FLOAT")), max_clip_s=LIMIT_S)


def test_floats_in_the_range_of_integers_are_taken(tmp_path):
    wave = sounds.tone(0.5) * 32767
    facts = inspect(write(tmp_path, sounds.encoded(wave, subtype="FLOAT")), max_clip_s=LIMIT_S)
    assert (facts.peak, facts.duration_s) == (1.0, 0.5)


def test_the_fingerprint_is_that_of_the_mixed_channels(tmp_path):
    noise = np.random.default_rng(0).standard_normal((RATE_48, 2)).astype(np.float32) * 0.1
    facts = inspect(write(tmp_path, sounds.encoded(noise, rate=RATE_48, subtype="FLOAT")), max_clip_s=LIMIT_S)
    assert len(facts.fingerprint) > 80
    assert find_groups([("a", facts.fingerprint), ("b", compute(noise.mean(axis=1), RATE_48))]) == [
        ["a", "b"]
    ]
