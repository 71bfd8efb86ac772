"""The effect certificate on real small runs: each verdict has to be earned."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from qlora_studio.contracts.certificate import Certificate
from qlora_studio.contracts.enums import ExitReason, Verdict
from qlora_studio.contracts.spec import WorkerSpec
from qlora_studio.training import loop, run_checks
from qlora_studio.training.attempt import Attempt, run_attempt
from qlora_studio.training.weight_moves import weight_moves
from tests.training import tiny, tones
from tests.training.running import run, stop_at

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:`is_gradient_checkpointing`:FutureWarning", "ignore:Support for mismatched key_padding_mask"
    ),
]


@pytest.fixture(scope="module")
def tones_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tones.write_tones(tmp_path_factory.mktemp("tones"), n_train=24, n_validation=24)


@pytest.fixture(scope="module")
def wavlm_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tones.MAKERS["wavlm"](tmp_path_factory.mktemp("wavlm"))


def _spec(root: Path, model: Path, clips: Path, **optimization: Any) -> WorkerSpec:
    settings = {"max_steps": 24, "batch_size": 8, **optimization}
    return tones.make_spec(root, model, clips, optimization=settings, evaluation={"every_steps": 12})


@pytest.fixture(scope="module")
def good_run(
    tmp_path_factory: pytest.TempPathFactory, wavlm_path: Path, tones_path: Path
) -> loop.TrainingRun:
    """A finished run that has learnt to tell the tones apart, with its model."""
    spec = _spec(tmp_path_factory.mktemp("good"), wavlm_path, tones_path)
    tiny.write_spec(spec)
    kept: list[loop.TrainingRun] = []

    def body(attempt: Attempt) -> Any:
        kept.append(loop.TrainingRun(attempt, "cpu"))
        return kept[0].run()

    assert run_attempt(spec, body, device="cpu", versions={}) == 0
    return kept[0]


def _stored(spec: WorkerSpec) -> Certificate:
    """The certificate beside the adapter, which has to be the same as in the result."""
    stored = json.loads((spec.run_path / "adapter" / "qlora_studio.json").read_text())["certificate"]
    result = json.loads((spec.attempt_path / "result.json").read_text())
    assert stored == result["extra"]["certificate"]
    return Certificate.model_validate(stored)


def _certify_changed(finished: loop.TrainingRun, change: Callable[[str, torch.Tensor], None]) -> Certificate:
    """The certificate of a finished run's adapter after `change` on each trained tensor; puts them back."""
    trained = {name: p for name, p in finished.model.named_parameters() if p.requires_grad}
    kept = {name: p.detach().clone() for name, p in trained.items()}
    try:
        with torch.no_grad():
            for name, parameter in trained.items():
                change(name, parameter)
        assert finished.evaluator is not None
        after = finished.evaluator.measure(finished.model, full=True)
        before = finished.reporter.kept[0]
        return run_checks.make_certifier(finished).certify(finished.model, before, after, metric="accuracy")
    finally:
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(kept[name])


def test_a_good_run_has_improved(good_run: loop.TrainingRun) -> None:
    found = _stored(good_run.spec)
    assert found.verdict is Verdict.IMPROVED
    assert found.sentence.startswith("Accuracy 12.5 % to 91.7 %")
    assert found.error is not None
    assert (found.error.n_worse, found.error.is_better) == (0, True)
    assert found.error.low < found.error.difference < found.error.high < 0
    assert found.pairing is not None
    assert found.pairing.is_heard
    assert found.outputs is not None
    assert found.outputs.changed > 0.5  # type: ignore[operator]
    assert found.weights.n_unmoved == 0
    names = [layer.name for layer in found.weights.layers]
    assert "classifier" in names
    assert any("feed_forward" in name for name in names)


def test_trained_weights_are_as_they_were_after_it(good_run: loop.TrainingRun) -> None:
    trained = {name for name, p in good_run.model.named_parameters() if p.requires_grad}
    assert any("lora_A" in name for name in trained)
    assert any("modules_to_save" in name for name in trained)
    assert not any("base_layer" in name or "original_module" in name for name in trained)


def test_layers_move_by_what_the_matrices_say(good_run: loop.TrainingRun) -> None:
    from bitsandbytes.functional import dequantize_4bit

    found = {layer.name: layer.change for layer in weight_moves(good_run.model).layers}
    name = "wavlm.encoder.layers.1.feed_forward.output_dense"
    layer = good_run.model.base_model.model.get_submodule(name)
    packed = layer.get_base_layer().weight
    base = dequantize_4bit(packed.data, packed.quant_state)
    moved = layer.get_delta_weight("default").detach()
    assert found[name] == pytest.approx(float(moved.norm() / base.norm()), rel=1e-4)


def test_an_adapter_of_zeros_has_no_effect(good_run: loop.TrainingRun) -> None:
    original = dict(good_run.model.named_parameters())

    def undo(name: str, tensor: torch.Tensor) -> None:
        if "modules_to_save" in name:
            tensor.copy_(original[name.replace("modules_to_save.default", "original_module")])
        elif "lora_B" in name:
            tensor.zero_()

    found = _certify_changed(good_run, undo)
    assert found.verdict is Verdict.NO_EFFECT
    assert "not moved" in found.sentence
    assert found.outputs is not None
    assert (found.outputs.changed, found.outputs.change) == (0.0, 0.0)


def test_a_diverged_adapter_is_broken(good_run: loop.TrainingRun) -> None:
    found = _certify_changed(good_run, lambda _, tensor: tensor.mul_(-60))
    assert found.verdict is Verdict.BROKEN
    assert "learning rate" in found.sentence


def test_values_that_are_no_numbers_are_broken(good_run: loop.TrainingRun) -> None:
    found = _certify_changed(good_run, lambda name, t: t.fill_(float("nan")) if "layers.1" in name else t)
    assert found.verdict is Verdict.BROKEN
    assert found.weights.n_not_finite > 0
    assert "null" in found.model_dump_json()  # JSON has no NaN


def test_shuffled_labels_are_no_improvement(tmp_path: Path, wavlm_path: Path, tones_path: Path) -> None:
    clips = tiny.read_clips(tones_path)
    labels = [clip.label for clip in clips]
    random.Random(1).shuffle(labels)
    shuffled = [clip.model_copy(update={"label": label}) for clip, label in zip(clips, labels, strict=True)]
    spec = _spec(tmp_path / "run", wavlm_path, tones.write_listing(tmp_path / "clips.jsonl", shuffled))
    run(spec)
    found = _stored(spec)
    assert found.verdict in (Verdict.NO_EFFECT, Verdict.WORSE)
    assert found.pairing is not None
    assert not found.pairing.is_heard
    assert "belongs to its recording" in found.sentence


def test_a_learning_rate_of_next_to_nothing_has_no_effect(
    tmp_path: Path, wavlm_path: Path, tones_path: Path
) -> None:
    spec = _spec(tmp_path, wavlm_path, tones_path, learning_rate=1e-12, max_steps=3)
    run(spec)
    assert _stored(spec).verdict is Verdict.NO_EFFECT


def test_a_stopped_run_is_not_measured(tmp_path: Path, wavlm_path: Path, tones_path: Path) -> None:
    spec = _spec(tmp_path, wavlm_path, tones_path)
    assert run(spec, on_attempt=stop_at(3)).reason is ExitReason.USER_STOP
    found = _stored(spec)
    assert found.verdict is Verdict.UNMEASURED
    assert found.weights.largest
