"""Whole runs on tiny models with the real 4-bit base, the real trainer and the real files."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import (
    BitsAndBytesConfig,
    MoonshineForConditionalGeneration,
    Wav2Vec2BertForCTC,
    WhisperForConditionalGeneration,
)

from qlora_studio.contracts.enums import ExitReason, TrainingType
from qlora_studio.storage import checkpoints
from qlora_studio.training import evaluation, families, models, quantize, state_files
from qlora_studio.training.evaluation import Evaluator
from qlora_studio.training.feature_store import FeatureStore
from qlora_studio.training.tasks.ctc import CtcTask
from tests.training import tiny
from tests.training.running import (
    adapter_bytes,
    adapter_tensors,
    list_files,
    losses,
    poison_loss,
    run,
    stop_at,
    stop_in,
)


def _reload(model_class: Any, base_path: Path, adapter_path: Path) -> Any:
    """The adapter on a fresh NF4 base, the way the model card says."""
    about = json.loads((adapter_path / "qlora_studio.json").read_text())["quantization"]
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
        llm_int8_skip_modules=about["llm_int8_skip_modules"],
    )
    base = model_class.from_pretrained(
        base_path, dtype=torch.float32, quantization_config=config, device_map={"": "cpu"}
    )
    quantize.keep_weights_unpacked(base)
    return PeftModel.from_pretrained(base, adapter_path).eval()


def _measure(spec: Any, model: Any) -> dict[str, float | None]:
    config = families.read_config(spec.model_path)
    family = families.family_of(config, spec.task)
    task = models.make_task(spec, family, config)
    sets = task.read_clips(spec.clips_path)
    task.prepare(getattr(model, "get_base_model", lambda: model)(), sets)
    return (
        Evaluator(task, FeatureStore(task), sets.validation, batch_size=4, check=lambda: None)
        .measure(model, full=True)
        .values
    )


MODEL_CLASSES = {
    "ctc": Wav2Vec2BertForCTC,
    "whisper": WhisperForConditionalGeneration,
    "moonshine": MoonshineForConditionalGeneration,
}
EACH = ["ctc", *(pytest.param(family, marks=pytest.mark.slow) for family in ("whisper", "moonshine"))]


@pytest.fixture
def base_paths(ctc_path: Path, whisper_path: Path, moonshine_path: Path) -> dict[str, Path]:
    return {"ctc": ctc_path, "whisper": whisper_path, "moonshine": moonshine_path}


@pytest.mark.parametrize("family", EACH)
def test_adapter_learns_and_loads_in_plain_peft(
    family: str, tmp_path: Path, clips_path: Path, base_paths: dict[str, Path]
) -> None:
    base_path = base_paths[family]
    spec = tiny.make_spec(tmp_path, base_path, clips_path)
    result = run(spec)
    assert (result.reason, result.step) == (ExitReason.OK, 6)
    seen = losses(spec)
    assert len(seen) == 6
    assert seen[-1] < seen[0]
    assert all(event["values"]["samples_per_s"] > 0 for event in tiny.read_events(spec, "metric"))
    assert result.metrics["loss"] < result.base_metrics["loss"]  # type: ignore[operator]

    adapter_path = Path(result.adapter_path or "")
    reloaded = _reload(MODEL_CLASSES[family], base_path, adapter_path)
    assert quantize.quantised_layers(reloaded)
    assert _measure(spec, reloaded) == result.metrics
    assert list_files(adapter_path) == {
        "README.md", "adapter_config.json", "adapter_model.safetensors", "qlora_studio.json"
    }  # fmt: skip
    config = json.loads((adapter_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "mod_tiny"
    assert "/" not in (adapter_path / "README.md").read_text().split("```")[0].replace("pytorch/", "")


@pytest.mark.parametrize("family", EACH)
def test_the_first_losses_are_the_golden_ones(
    family: str, tmp_path: Path, clips_path: Path, base_paths: dict[str, Path]
) -> None:
    exact = {"max_steps": 4, "mode": "exact"}
    spec = tiny.make_spec(tmp_path, base_paths[family], clips_path, optimization=exact)
    run(spec)
    assert losses(spec) == pytest.approx(GOLDEN[family], abs=2e-3)


GOLDEN = {
    "ctc": [8.2858, 8.3409, 7.9955, 7.6812],
    "whisper": [5.5541, 5.5458, 5.5130, 5.4821],
    "moonshine": [5.5064, 5.6144, 5.4212, 5.3758],
}


@pytest.mark.slow
def test_stop_keeps_a_usable_adapter_and_resume_ends_as_if_never_stopped(
    tmp_path: Path, clips_path: Path, ctc_path: Path
) -> None:
    settings: dict[str, Any] = {
        "qlora": {"dropout": 0.1},  # so that the random state matters
        "optimization": {"max_steps": 8, "gradient_accumulation": 2},
        "evaluation": {"every_steps": 3, "save_every_steps": 2, "n_samples": 1},
    }
    whole = tiny.make_spec(tmp_path / "whole", ctc_path, clips_path, **settings)
    run(whole)

    halted = tiny.make_spec(tmp_path / "halted", ctc_path, clips_path, **settings)
    result = run(halted, on_attempt=stop_at(5))
    assert (result.reason, result.step) == (ExitReason.USER_STOP, 5)
    assert adapter_tensors(halted)
    assert tiny.read_events(halted)[-1]["reason"] == "user_stop"

    resumed = tiny.make_spec(tmp_path / "halted", ctc_path, clips_path, attempt=2, resume=True, **settings)
    result = run(resumed)
    assert (result.reason, result.step) == (ExitReason.OK, 8)
    assert [event["step"] for event in tiny.read_events(resumed, "metric")] == [6, 7, 8]
    assert losses(halted) + losses(resumed) == losses(whole)
    assert adapter_bytes(resumed) == adapter_bytes(whole)


@pytest.mark.slow
def test_a_stop_at_the_last_step_keeps_it_and_resume_measures_it(
    tmp_path: Path, clips_path: Path, ctc_path: Path
) -> None:
    settings: dict[str, Any] = {
        "optimization": {"max_steps": 2},
        "evaluation": {"every_steps": 9, "n_samples": 0},
    }
    halted = tiny.make_spec(tmp_path, ctc_path, clips_path, **settings)
    result = run(halted, on_attempt=stop_at(2))
    assert (result.reason, result.step) == (ExitReason.USER_STOP, 2)
    assert "Stopped at step 2 of 2" in result.message
    kept = adapter_bytes(halted)

    resumed = tiny.make_spec(tmp_path, ctc_path, clips_path, attempt=2, resume=True, **settings)
    result = run(resumed)
    assert (result.reason, result.step, result.best_step) == (ExitReason.OK, 2, 2)
    assert result.metrics["loss"]
    assert adapter_bytes(resumed) == kept


@pytest.mark.parametrize("mode", ["save", pytest.param("kill", marks=pytest.mark.slow)])
def test_a_stop_in_the_final_measurement_keeps_the_adapter_unless_told_otherwise(
    mode: str, tmp_path: Path, clips_path: Path, ctc_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "INTERIM_CAP", 2)
    settings: dict[str, Any] = {"optimization": {"max_steps": 1}, "evaluation": {"n_samples": 0}}
    spec = tiny.make_spec(tmp_path, ctc_path, clips_path, **settings)
    result = run(spec, on_attempt=stop_in("final", mode))
    assert (result.reason, result.step) == (ExitReason.USER_STOP, 1)
    assert (result.adapter_path is not None) == (mode == "save")
    assert (spec.run_path / "adapter").exists() == (mode == "save")
    assert result.metrics["loss"]  # on the clips of the last evaluation


def test_a_resumed_run_that_is_stopped_at_once_says_what_there_is(
    tmp_path: Path, clips_path: Path, ctc_path: Path
) -> None:
    (tmp_path / "checkpoints" / "step-00000004").mkdir(parents=True)
    spec = tiny.make_spec(tmp_path, ctc_path, clips_path, attempt=2, resume=True)
    spec.attempt_path.mkdir()
    (spec.attempt_path / "stop.json").write_text('{"mode": "save"}')
    result = run(spec)
    assert (result.reason, result.step) == (ExitReason.USER_STOP, 4)
    assert "step 4 is kept" in result.message


@pytest.mark.fault(
    "F17", "a loss that is no number, in a real run", "ends at once, names step and checkpoint"
)
def test_not_a_number_ends_the_run_at_once(
    tmp_path: Path, clips_path: Path, ctc_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison_loss(monkeypatch, at=5)
    spec = tiny.make_spec(tmp_path, ctc_path, clips_path, evaluation={"save_every_steps": 2})
    result = run(spec)
    assert result.reason is ExitReason.NAN_LOSS
    assert "step 5" in result.message
    assert "step 4 is good" in result.message
    assert tiny.read_events(spec, "metric")[-1]["values"]["loss"] is None
    newest = checkpoints.find_newest(tmp_path / "checkpoints")
    assert newest is not None
    assert newest.step == 4


@pytest.mark.slow
def test_a_held_out_loss_that_is_no_number_is_left_empty(
    tmp_path: Path, clips_path: Path, ctc_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = CtcTask.predict
    monkeypatch.setattr(CtcTask, "predict", lambda *args: real(*args)._replace(loss=float("nan")))
    spec = tiny.make_spec(tmp_path, ctc_path, clips_path, optimization={"max_steps": 2})
    result = run(spec)
    assert result.reason is ExitReason.OK, result.message
    assert result.metrics["loss"] is None
    assert result.metrics["cer"] is not None
    assert checkpoints.find_newest(tmp_path / "checkpoints") is not None


@pytest.mark.slow
def test_pretraining_from_a_config_saves_a_whole_model(tmp_path: Path, clips_path: Path) -> None:
    base_path = tiny.make_wav2vec2_bert(tmp_path / "config", with_weights=False)
    spec = tiny.make_spec(
        tmp_path / "run",
        base_path,
        clips_path,
        training_type=TrainingType.PRETRAINING,
        optimization={"max_steps": 12, "learning_rate": 3e-3},
    )
    result = run(spec)
    assert result.reason is ExitReason.OK
    assert result.adapter_path is None
    assert not result.base_metrics
    seen = losses(spec)
    assert seen[-1] < 0.9 * seen[0]
    model = Wav2Vec2BertForCTC.from_pretrained(result.extra["model_path"], dtype=torch.float32)
    assert (
        _measure(spec.model_copy(update={"model_path": Path(result.extra["model_path"])}), model)
        == result.metrics
    )


@pytest.mark.slow
@pytest.mark.parametrize("bits", [16, 32])
def test_lora_without_quantisation(bits: int, tmp_path: Path, clips_path: Path, ctc_path: Path) -> None:
    spec = tiny.make_spec(
        tmp_path, ctc_path, clips_path, training_type=TrainingType.LORA, qlora={"bits": bits}
    )
    result = run(spec)
    assert result.reason is ExitReason.OK
    assert losses(spec)[-1] < losses(spec)[0]


@pytest.mark.slow
@pytest.mark.parametrize("target_modules", ["auto", "decoder"])
def test_whisper_in_half_precision_finds_its_language_and_reuses_a_frozen_encoder(
    target_modules: str, tmp_path: Path, clips_path: Path
) -> None:
    spec = tiny.make_spec(
        tmp_path / "run",
        tiny.make_whisper(tmp_path / "model", is_multilingual=True),
        clips_path,
        training_type=TrainingType.LORA,
        qlora={"bits": 16, "target_modules": target_modules},
        optimization={"max_steps": 4},
        evaluation={"every_steps": 4, "probe": True},
    )
    result = run(spec)
    assert result.reason is ExitReason.OK, result.message
    assert losses(spec)[-1] < losses(spec)[0]
    about = json.loads((spec.run_path / "adapter" / "qlora_studio.json").read_text())
    assert (about["bits"], about["inference"]["language"]) == (16, "en")


@pytest.mark.slow
def test_no_validation_clips_is_said_and_trains(tmp_path: Path, ctc_path: Path) -> None:
    listing = tiny.write_clips(tmp_path / "clips", n_train=4, n_validation=0)
    spec = tiny.make_spec(tmp_path / "run", ctc_path, listing, optimization={"max_steps": 2})
    result = run(spec)
    assert result.reason is ExitReason.OK
    assert result.metrics == {}
    assert [event["code"] for event in tiny.read_events(spec, "warning")] == ["no_validation"]


@pytest.mark.fault(
    "F8", "disk full at a real run's checkpoint", "the older one is kept; the megabytes are said"
)
@pytest.mark.slow
def test_a_full_disk_at_a_checkpoint_keeps_the_older_one(
    tmp_path: Path, clips_path: Path, ctc_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_write, calls = state_files.write, []

    def write(copied: Any, path: Path) -> None:
        calls.append(path.name)
        if calls.count(state_files.OPTIMIZER) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        real_write(copied, path)

    monkeypatch.setattr(state_files, "write", write)
    spec = tiny.make_spec(
        tmp_path, ctc_path, clips_path, evaluation={"every_steps": 6, "save_every_steps": 2}
    )
    result = run(spec)
    assert result.reason is ExitReason.DISK_FULL
    assert result.step in (4, 5, 6)  # it is noticed once the writing has failed, and before it counts
    assert "MB" in result.message
    assert [event["code"] for event in tiny.read_events(spec, "warning")] == ["disk_full"]
    newest = checkpoints.find_newest(tmp_path / "checkpoints")
    assert newest is not None
    assert newest.step == 2


def test_a_stop_before_the_first_step_says_that_nothing_is_kept(
    tmp_path: Path, clips_path: Path, ctc_path: Path
) -> None:
    spec = tiny.make_spec(tmp_path, ctc_path, clips_path)
    spec.attempt_path.mkdir()
    (spec.attempt_path / "stop.json").write_text('{"mode": "save"}')
    result = run(spec)
    assert (result.reason, result.step, result.adapter_path) == (ExitReason.USER_STOP, 0, None)
    assert "no adapter" in result.message


@pytest.mark.slow
def test_early_stopping_keeps_the_best_weights(tmp_path: Path, clips_path: Path, ctc_path: Path) -> None:
    spec = tiny.make_spec(
        tmp_path,
        ctc_path,
        clips_path,
        optimization={"max_steps": 30, "learning_rate": 0.3, "scheduler": "constant"},  # far too high
        evaluation={"every_steps": 1, "metric": "loss", "early_stopping_patience": 2, "n_samples": 0},
    )
    result = run(spec)
    assert result.reason is ExitReason.OK
    evaluations = [e for e in tiny.read_events(spec, "eval") if not e["base"]]
    best = min(evaluations, key=lambda event: event["values"]["loss"])
    assert result.best_step == best["step"]
    assert result.step == best["step"] + 2
    assert result.metrics == best["values"]
