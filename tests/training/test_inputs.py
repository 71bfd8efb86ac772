"""What goes in: clips, texts, batches, features; and the error rates that come out."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from qlora_studio.audio.resample import load_mono
from qlora_studio.contracts.enums import Split
from qlora_studio.contracts.spec import ClipItem, EvaluationSpec
from qlora_studio.training import families, metrics
from qlora_studio.training.batches import LengthBuckets
from qlora_studio.training.clips import read_clips
from qlora_studio.training.evaluation import finite_values, spread
from qlora_studio.training.failures import BadData
from qlora_studio.training.feature_store import FeatureStore
from qlora_studio.training.run_state import RunState, check_metric
from qlora_studio.training.tasks.ctc import CtcTask
from qlora_studio.training.tasks.moonshine import MoonshineTask
from qlora_studio.training.tasks.whisper import WhisperTask
from qlora_studio.training.validation import LONGEST_CLIP_S, validate
from tests.training import tiny


def _clip(name: str, path: Path, **changes: object) -> ClipItem:
    fields = {"id": name, "path": str(path), "duration_s": 1.0, "text": "bad", "split": Split.TRAIN}
    return ClipItem(**{**fields, **changes})  # type: ignore[arg-type]


def _write(path: Path, clips: list[ClipItem]) -> Path:
    path.write_text("\n".join(clip.model_dump_json() for clip in clips))
    return path


def test_unusable_clips_are_left_out_and_counted(tmp_path: Path) -> None:
    sound = tmp_path / "a.wav"
    sound.touch()
    clips = [
        _clip("good", sound),
        _clip("held_out", sound, split=Split.VALIDATION),
        _clip("test", sound, split=Split.TEST),
        _clip("no_text", sound, text="  "),
        _clip("short", sound, duration_s=0.01),
        _clip("long", sound, duration_s=31.0),
        _clip("gone", tmp_path / "b.wav"),
        _clip("wordy", sound, text="x" * 100),
    ]
    sets = read_clips(
        _write(tmp_path / "c.jsonl", clips), max_s=30, is_text_too_long=lambda text: len(text) > 50
    )
    assert [clip.id for clip in sets.train] == ["good"]
    assert [clip.id for clip in sets.validation] == ["held_out"]
    assert sets.dropped == {
        "without text": 1,
        "shorter than 0.1 s": 1,
        "longer than 30 s": 1,
        "missing on disk": 1,
        "with more text than the model can write": 1,
    }


@pytest.mark.parametrize("name", families.FAMILIES)
def test_a_job_is_checked_for_every_family_that_writes(name: str, tmp_path: Path) -> None:
    sound = tmp_path / "a.wav"
    sound.touch()
    (tmp_path / "config.json").write_text(json.dumps({"model_type": name}))
    (tmp_path / "model.safetensors").touch()
    clips = [_clip("good", sound), _clip("held_out", sound, split=Split.VALIDATION)]
    clips.append(_clip("long", sound, duration_s=41.0))
    report = validate(tiny.make_spec(tmp_path, tmp_path, _write(tmp_path / "c.jsonl", clips)))
    assert report["ok"], report["errors"]
    assert len(report["warnings"]) == 1  # of the long one


def test_what_is_checked_before_a_job_is_what_the_tasks_take() -> None:
    taken = {"whisper": WhisperTask, "moonshine": MoonshineTask, "ctc": CtcTask}
    assert {kind: task.max_clip_s for kind, task in taken.items()} == LONGEST_CLIP_S


def test_nothing_to_train_on_is_bad_data(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="1 without text"):
        read_clips(_write(tmp_path / "c.jsonl", [_clip("a", tmp_path, text=None)]), max_s=30)
    (tmp_path / "broken.jsonl").write_text("{")
    with pytest.raises(BadData, match="cannot be read"):
        read_clips(tmp_path / "broken.jsonl", max_s=30)


def test_what_is_not_a_number_is_no_value() -> None:
    assert finite_values({"loss": float("nan"), "wer": 0.5, "cer": None, "clap": float("inf")}) == {
        "loss": None, "wer": 0.5, "cer": None, "clap": None
    }  # fmt: skip


def test_an_undecodable_clip_is_named(tmp_path: Path, ctc_path: Path) -> None:
    task = CtcTask(ctc_path, families.read_config(ctc_path))
    broken = tmp_path / "broken.wav"
    broken.write_text("not a sound")
    with pytest.raises(BadData, match="clip_7"):
        FeatureStore(task).features(_clip("clip_7", broken))


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_sound_is_mixed_and_resampled(tmp_path: Path, rate: int) -> None:
    t = np.arange(rate) / rate
    left = 0.5 * np.sin(2 * np.pi * 440 * t)
    soundfile.write(tmp_path / "a.wav", np.stack([left, np.zeros_like(left)], axis=1), rate)
    mono = load_mono(tmp_path / "a.wav", sample_rate=16_000)
    assert mono.dtype == np.float32
    assert mono.shape == (16_000,)
    assert np.abs(mono).max() == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("content", ["empty", "nan"])
def test_sound_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    samples = np.zeros(0, np.float32) if content == "empty" else np.array([0.0, np.nan], np.float32)
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(ValueError, match="no sound" if content == "empty" else "not numbers"):
        load_mono(tmp_path / "a.wav", sample_rate=16_000)


def test_texts_are_fitted_to_the_alphabet(ctc_path: Path) -> None:
    task = CtcTask(ctc_path, families.read_config(ctc_path))
    assert task.fit_text("  Bad, CAFE!\n") == "bad cafe"
    labels = task.encode("Bad, CAFE!")
    assert task.processor.tokenizer.decode(labels, group_tokens=False) == "bad cafe"
    assert task._alphabet_warnings([_clip("a", ctc_path, text="Bad, zoo")]) == [
        "The model cannot write these, so they are left out of the texts: , o z"
    ]


def test_double_letters_survive_decoding(ctc_path: Path) -> None:
    import torch

    task = CtcTask(ctc_path, families.read_config(ctc_path))
    vocabulary = task.processor.tokenizer.get_vocab()
    letters = ["b", "<pad>", "b", "a", "a", "|", "d", "<unk>"]
    ids = torch.tensor([[vocabulary[letter] for letter in letters]])
    assert task._tokenizer.batch_decode(ids)[0].startswith("bba d")


def test_whisper_features_are_those_of_the_stock_extractor(whisper_path: Path) -> None:
    import torch

    task = WhisperTask(whisper_path, families.read_config(whisper_path))
    rng = np.random.default_rng(0)
    waves = [rng.standard_normal(n).astype(np.float32) * 0.1 for n in (1_600, 40_000)]
    stock = task.processor.feature_extractor(waves, sampling_rate=16_000, return_tensors="pt").input_features
    features = [task.features(wave) for wave in waves]
    assert features[0]["mel"].shape[1] < 60  # kept without the silence that fills the window
    batch = task.collate(features, [task.encode("bad"), task.encode("a cafe")])
    assert torch.equal(batch["input_features"], stock)
    assert batch["labels"].shape == (2, 8)
    assert (batch["labels"] == -100).sum() == 3
    assert batch["labels"][0, 0] != task._start_id


def test_buckets_hold_every_clip_once_and_similar_lengths() -> None:
    lengths = [float(length) for length in np.random.default_rng(0).gamma(2, 2, size=203)]
    buckets = LengthBuckets(lengths, 8, seed=1)
    batches = list(buckets)
    assert sorted(index for batch in batches for index in batch) == list(range(203))
    assert len(batches) == len(buckets)
    assert list(buckets) == batches
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    assert padded < 1.2 * sum(lengths)
    buckets.set_epoch(1)
    assert list(buckets) != batches


def test_error_rates_raw_and_normalised() -> None:
    normalise = metrics.make_normaliser(["please enter the number of your party"])
    values = metrics.error_rates(["Please enter two numbers."], ["please enter 2 numbers"], normalise)
    assert values["wer"] == pytest.approx(3 / 4)
    assert values["wer_normalised"] == 0
    assert metrics.error_rates([""], ["x"], normalise)["wer"] is None


def test_the_normaliser_follows_the_language() -> None:
    assert metrics.looks_english(["please hold while the call is put through to the desk"])
    assert not metrics.looks_english(["veuillez patienter un instant s'il vous plaît"])


def test_the_panel_is_spread_and_always_the_same(tmp_path: Path) -> None:
    clips = [_clip(f"c{i}", tmp_path, duration_s=float(i)) for i in range(1, 11)]
    assert [clip.duration_s for clip in spread(clips, 3)] == [2.0, 6.0, 9.0]
    assert spread(clips[::-1], 3) == spread(clips, 3)
    assert spread(clips, 0) == []


def test_ties_go_to_fewer_wrong_letters_then_lower_loss() -> None:
    state = RunState()
    assert state.note_evaluation(1, {"wer": 1.0, "cer": 0.9, "loss": 3.0}, "wer")
    assert state.note_evaluation(2, {"wer": 1.0, "cer": 0.8, "loss": 4.0}, "wer")
    assert not state.note_evaluation(3, {"wer": 1.0, "cer": 0.8, "loss": 4.5}, "wer")
    assert not state.note_evaluation(4, {"wer": None, "cer": 0.0, "loss": 0.0}, "wer")
    assert (state.best_step, state.evaluations_since_best) == (2, 2)
    assert RunState.from_json(state.to_json()) == state


def test_a_metric_of_another_task_is_refused() -> None:
    with pytest.raises(BadData, match="wer, cer, loss"):
        check_metric(EvaluationSpec(metric="der"))
