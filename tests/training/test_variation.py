"""Runs on varied clips: training hears them, evaluation doesn't, and a resumed run hears the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qlora_studio.audio.resample import load_mono
from qlora_studio.contracts.enums import ExitReason
from qlora_studio.contracts.spec import (
    AugmentationSpec,
    FrequencyMaskSpec,
    GainSpec,
    NoiseSpec,
    TimeMaskSpec,
    WorkerSpec,
)
from qlora_studio.training.feature_store import FeatureStore
from qlora_studio.training.tasks.ctc import CtcTask
from qlora_studio.training.tasks.whisper import WhisperTask
from tests.training import tiny
from tests.training.running import adapter_bytes, losses, run, stop_at

VARIED = AugmentationSpec(
    noise=NoiseSpec(probability=0.8, min_snr_db=5, max_snr_db=15),
    gain=GainSpec(probability=0.8),
    time_masks=TimeMaskSpec(probability=0.8),
    frequency_masks=FrequencyMaskSpec(probability=0.8),
)


def make_spec(
    root: Path, base: Path, clips: Path, augmentation: AugmentationSpec | None, **settings: Any
) -> WorkerSpec:
    spec = tiny.make_spec(root, base, clips, **settings)
    train = spec.train.model_copy(update={"augmentation": augmentation})
    return spec.model_copy(update={"train": train})


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[bytes]]:
    """The samples of each clip as they came to be turned into features, in order, by the clip's own sound."""
    found: dict[str, list[bytes]] = {}
    last: list[str] = []
    varied_features, features = FeatureStore.varied_features, FeatureStore.features

    def note(method: Any) -> Any:
        def noted(self: FeatureStore, clip: Any, *args: Any) -> Any:
            last[:] = [clip.id]
            return method(self, clip, *args)

        return noted

    monkeypatch.setattr(FeatureStore, "varied_features", note(varied_features))
    monkeypatch.setattr(FeatureStore, "features", note(features))
    for task in (CtcTask, WhisperTask):
        original = task.features

        def listened(self: Any, samples: np.ndarray, original: Any = original) -> Any:
            found.setdefault(last[0], []).append(samples.tobytes())
            return original(self, samples)

        monkeypatch.setattr(task, "features", listened)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("family", "mode"), [("ctc", "fast"), ("ctc", "exact"), ("whisper", "fast")])
def test_training_hears_varied_clips_and_evaluation_the_originals(
    family: str,
    mode: str,
    tmp_path: Path,
    clips_path: Path,
    ctc_path: Path,
    whisper_path: Path,
    heard: dict[str, list[bytes]],
) -> None:
    base = ctc_path if family == "ctc" else whisper_path
    settings = {"optimization": {"max_steps": 6, "mode": mode}, "evaluation": {"every_steps": 3}}
    result = run(make_spec(tmp_path, base, clips_path, VARIED, **settings))
    assert result.reason is ExitReason.OK
    for clip in tiny.read_clips(clips_path):
        original = load_mono(Path(clip.path), sample_rate=tiny.RATE).tobytes()
        if clip.split == "validation":
            assert set(heard[clip.id]) == {original}, clip.id
        else:
            assert len(set(heard[clip.id])) == len(heard[clip.id]) >= 2, "each epoch is another"
    trained = [sound for c in tiny.read_clips(clips_path) if c.split == "train" for sound in heard[c.id]]
    originals = {
        load_mono(Path(c.path), sample_rate=tiny.RATE).tobytes() for c in tiny.read_clips(clips_path)
    }
    assert sum(sound in originals for sound in trained) < len(trained) / 3


@pytest.mark.slow
def test_the_same_seed_gives_the_same_losses_and_another_seed_does_not(
    tmp_path: Path, clips_path: Path, ctc_path: Path
) -> None:
    runs = {
        "a": (0, VARIED),
        "b": (0, VARIED),
        "c": (1, VARIED),
        "off": (0, AugmentationSpec()),
        "none": (0, None),
    }
    seen = {}
    for name, (seed, augmentation) in runs.items():
        settings = {"optimization": {"max_steps": 4, "seed": seed}, "evaluation": {"every_steps": 20}}
        spec = make_spec(tmp_path / name, ctc_path, clips_path, augmentation, **settings)
        run(spec)
        seen[name] = losses(spec)
    assert seen["a"] == seen["b"]
    assert seen["off"] == seen["none"]
    assert seen["a"] != seen["none"]
    assert seen["a"] != seen["c"]


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "stop_step"), [("fast", 4), ("exact", 6)])  # three steps an epoch
def test_a_resumed_run_hears_what_it_would_have_heard(
    mode: str, stop_step: int, tmp_path: Path, clips_path: Path, ctc_path: Path
) -> None:
    settings: dict[str, Any] = {
        "optimization": {"max_steps": 8, "mode": mode},
        "evaluation": {"every_steps": 20, "save_every_steps": 2, "n_samples": 1},
    }
    whole = make_spec(tmp_path / "whole", ctc_path, clips_path, VARIED, **settings)
    run(whole)
    halted = make_spec(tmp_path / "halted", ctc_path, clips_path, VARIED, **settings)
    run(halted, on_attempt=stop_at(stop_step))
    resumed = make_spec(tmp_path / "halted", ctc_path, clips_path, VARIED, attempt=2, resume=True, **settings)
    run(resumed)
    assert losses(halted) + losses(resumed) == losses(whole)
    assert adapter_bytes(resumed) == adapter_bytes(whole)
