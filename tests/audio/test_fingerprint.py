"""The same recording is known again however it is coded; other recordings are not taken for it."""

import io

import numpy as np
import pytest
import soundfile as sf
import soxr

from qlora_studio.audio import fingerprint
from qlora_studio.examples.catalog import example_dataset_path
from tests.ingest import sounds

RATE = 16_000
TWICE_IN_THE_SET = [
    ["auth-thankyou", "privacy-thankyou"],
    ["queue-seconds", "seconds"],
]  # correlation 0.99999


@pytest.fixture(scope="module")
def voices() -> dict[str, np.ndarray]:
    """Every eighth clip of the example, mono at 16 kHz, by name."""
    paths = sorted((example_dataset_path() / "clips").glob("*.flac"))[::8]
    return {path.stem: sf.read(path, dtype="float32")[0] for path in paths}


def coded(samples: np.ndarray, *, rate: int = RATE, format: str, subtype: str | None = None) -> bytes:
    """The fingerprint after a trip through a lossy format."""
    buffer = io.BytesIO()
    with sf.SoundFile(buffer, "w", rate, 1, format=format, subtype=subtype) as sound:
        for start in range(0, len(samples), 4096):  # libsndfile can't take long pieces of Vorbis at once
            sound.write(samples[start : start + 4096])
    buffer.seek(0)
    back, own_rate = sf.read(buffer, dtype="float32")
    return fingerprint.compute(back, own_rate)


def at(samples: np.ndarray, rate: int) -> np.ndarray:
    return soxr.resample(samples, RATE, rate)


def cut(samples: np.ndarray) -> np.ndarray:
    """Without a tenth at the start and a twelfth at the end, off every grid."""
    return samples[len(samples) // 10 + 77 : -len(samples) // 12]


CHANGES = {
    "Vorbis": lambda s: coded(s, format="OGG", subtype="VORBIS"),
    "MP3": lambda s: coded(s, format="MP3"),
    "telephone": lambda s: coded(at(s, 8_000), rate=8_000, format="WAV", subtype="ULAW"),
    "44.1 kHz": lambda s: fingerprint.compute(at(s, 44_100), 44_100),
    "softer": lambda s: fingerprint.compute(s * 0.1, RATE),
    "clipped": lambda s: fingerprint.compute(np.clip(s * 3, -1, 1), RATE),
    "cut": lambda s: fingerprint.compute(cut(s), RATE),
    "all at once": lambda s: coded(at(cut(s) * 0.4, 8_000), rate=8_000, format="OGG", subtype="VORBIS"),
}


@pytest.mark.parametrize("change", list(CHANGES))
@pytest.mark.slow
def test_copies_are_found_and_strangers_are_not(voices, change):
    items = [(name, fingerprint.compute(samples, RATE)) for name, samples in voices.items()]
    items += [(f"{name} again", CHANGES[change](samples)) for name, samples in voices.items()]
    groups = fingerprint.find_groups(items)
    assert all(again == f"{name} again" for name, again in groups), "a stranger is in a group"
    assert len(groups) >= 0.94 * len(voices)


@pytest.mark.slow
def test_the_example_holds_two_recordings_twice_and_no_other_look_alikes():
    paths = sorted((example_dataset_path() / "clips").glob("*.flac"))
    items = [(path.stem, fingerprint.compute(sf.read(path, dtype="float32")[0], RATE)) for path in paths]
    assert all(content for _, content in items)
    assert fingerprint.find_groups(items) == TWICE_IN_THE_SET


def test_a_hundred_copies_are_one_group_in_the_order_given(voices):
    samples = next(s for s in voices.values() if len(s) > 4 * RATE)
    rng = np.random.default_rng(0)
    noisy = [samples + 0.001 * rng.standard_normal(len(samples)).astype(np.float32) for _ in range(99)]
    items = [(f"{n}", fingerprint.compute(s, RATE)) for n, s in enumerate([*noisy, noisy[0]])]
    assert fingerprint.find_groups(items) == [[f"{n}" for n in range(100)]]


def test_a_clip_inside_a_much_longer_one_is_another(voices):
    short, long = sorted(voices.values(), key=len)[20], np.concatenate(list(voices.values())[:12])
    whole = np.concatenate([long, short])
    items = [("short", fingerprint.compute(short, RATE)), ("long", fingerprint.compute(whole, RATE))]
    assert all(content for _, content in items)
    assert fingerprint.find_groups(items) == []


@pytest.mark.parametrize(
    ("samples", "rate"),
    [
        (np.zeros(3 * RATE), RATE),
        (np.zeros(0), RATE),
        (sounds.tone(5.0)[:, 0][2000:-2000] * 0 + 0.5, RATE),  # a constant
        (np.random.default_rng(0).standard_normal(RATE // 4) * 0.1, RATE),  # a quarter of a second
        (np.random.default_rng(0).standard_normal(9_000) * 0.1, 3_000),  # too slow a rate
    ],
)
def test_what_cannot_be_told_apart_has_no_fingerprint_and_no_group(samples, rate):
    assert fingerprint.compute(samples.astype(np.float32), rate) == b""
    assert fingerprint.find_groups([("a", b""), ("b", b"")]) == []


def test_nothing_and_one_are_no_groups(voices):
    assert fingerprint.find_groups([]) == []
    assert fingerprint.find_groups([("a", fingerprint.compute(next(iter(voices.values())), RATE))]) == []


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_the_fingerprint_hardly_depends_on_the_size_of_the_pieces(voices, rate):
    samples = at(next(s for s in voices.values() if len(s) > 4 * RATE), rate).astype(np.float32)
    meter = fingerprint.FingerprintMeter(rate)
    for start in range(0, len(samples), 10_007):
        meter.add(samples[start : start + 10_007])
    items = [("pieces", meter.to_bytes()), ("whole", fingerprint.compute(samples, rate))]
    assert fingerprint.find_groups(items) == [["pieces", "whole"]]


def test_a_long_recording_costs_no_more_than_two_minutes_of_it():
    noise = np.random.default_rng(0).standard_normal(300 * 8_000).astype(np.float32) * 0.1
    content = fingerprint.compute(noise, 8_000)
    assert len(content) == pytest.approx(4 * fingerprint.MAX_S * fingerprint.RATE / 141, rel=0.01)


def test_many_clips_are_compared_in_seconds_not_all_with_all(monkeypatch):
    rng = np.random.default_rng(0)
    items = [(f"{n}", rng.integers(1, 2**32, 60, dtype=np.uint32).tobytes()) for n in range(5_000)]
    items += [(f"{name} again", content[20:]) for name, content in items[:50]]
    compared = []
    real = fingerprint._Library.is_same
    monkeypatch.setattr(fingerprint._Library, "is_same", lambda *args: (compared.append(1), real(*args))[1])
    groups = fingerprint.find_groups(items)
    assert groups == [[f"{n}", f"{n} again"] for n in range(50)]
    assert len(compared) < 5_000
