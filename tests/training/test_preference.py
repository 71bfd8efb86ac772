"""Preference tuning on tiny models: preferences with a known truth, the reference left alone, whole runs."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import BitsAndBytesConfig, MusicgenForConditionalGeneration

from qlora_studio.contracts.enums import ExitReason, Task
from qlora_studio.contracts.events import ResultFile
from qlora_studio.contracts.spec import WorkerSpec
from qlora_studio.training import models, pairs, quantize
from qlora_studio.training.attempt import Attempt, run_attempt
from qlora_studio.training.failures import BadData, ModelNotUsable
from qlora_studio.training.preference import PreferenceRun, for_trl
from qlora_studio.training.validation import check_type, validate
from tests.training import melodies, tiny
from tests.training.running import adapter_bytes, losses, stop_at

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning", "ignore::DeprecationWarning"
)


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return melodies.make_musicgen(tmp_path_factory.mktemp("musicgen"))


@pytest.fixture(scope="module")
def pairs_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return melodies.write_pairs(tmp_path_factory.mktemp("pairs"))


def _run(spec: WorkerSpec, on_attempt: Any = lambda _: None) -> tuple[PreferenceRun, ResultFile]:
    tiny.write_spec(spec)
    kept: list[PreferenceRun] = []

    def body(attempt: Attempt) -> Any:
        on_attempt(attempt)
        kept.append(PreferenceRun(attempt, "cpu"))
        return kept[0].run()

    run_attempt(spec, body, device="cpu", versions={})
    return kept[0], ResultFile.model_validate_json((spec.attempt_path / "result.json").read_text())


@pytest.mark.slow
def test_a_run_learns_what_is_preferred_and_leaves_the_reference_alone(
    tmp_path: Path, model_path: Path, pairs_path: Path
) -> None:
    settings: dict[str, Any] = {
        "optimization": {"max_steps": 20, "learning_rate": 1e-2, "warmup_ratio": 0.0},
        "evaluation": {"every_steps": 10, "n_samples": 1, "probe": True},
    }
    spec = melodies.make_preference_spec(tmp_path, model_path, pairs_path, **settings)
    finished, result = _run(spec)
    assert result.reason is ExitReason.OK
    assert result.base_metrics["loss"] == pytest.approx(math.log(2))
    assert (result.base_metrics["reward_margin"], result.base_metrics["reward_accuracy"]) == (0.0, 0.5)
    assert result.metrics["reward_accuracy"] == 1.0
    assert result.metrics["reward_margin"] > 0.5  # type: ignore[operator]
    assert result.metrics["loss"] < 0.5  # type: ignore[operator]
    assert losses(spec)[0] == pytest.approx(math.log(2), abs=1e-4)
    metrics = [event["values"] for event in tiny.read_events(spec, "metric")]
    assert metrics[0]["train_reward_margin"] == pytest.approx(0.0, abs=1e-4)
    assert metrics[-1]["train_reward_margin"] > 1.0
    assert metrics[-1]["train_reward_accuracy"] == 1.0
    measured = tiny.read_events(spec, "eval")
    both = {*metrics[-1]} & {*measured[-1]["values"]}
    assert both == {"loss"}, "a curve is of training or of held-out pairs; the loss gets `eval_`"
    assert {sample["sound"] for sample in tiny.read_events(spec, "sample")} >= {"samples/base/0.flac"}

    assert result.extra["certificate"]["verdict"] == "improved"
    assert not [w for w in tiny.read_events(spec, "warning") if w["code"] == "probe"]
    names = set(load_file(spec.run_path / "adapter" / "adapter_model.safetensors"))
    assert names
    assert not [name for name in names if ".ref." in name]
    assert sorted(path.name for path in (spec.run_path / "adapter").iterdir() if path.is_dir()) == []
    about = json.loads((spec.run_path / "adapter" / "qlora_studio.json").read_text())
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        llm_int8_skip_modules=about["quantization"]["llm_int8_skip_modules"],
    )
    fresh = MusicgenForConditionalGeneration.from_pretrained(
        model_path, dtype=torch.float32, quantization_config=config, device_map={"": "cpu"}
    )
    base = finished.model.get_base_model().state_dict()
    frozen = {name.replace(".base_layer", ""): tensor for name, tensor in base.items()}
    assert all(torch.equal(tensor, frozen[name]) for name, tensor in fresh.state_dict().items())
    fresh.config.decoder.decoder_start_token_id = fresh.config.decoder.bos_token_id
    quantize.keep_weights_unpacked(fresh)
    batch = finished.store.batch(pairs.both(finished.pairs.validation))
    finished.model.eval()
    with torch.no_grad():
        reference = fresh.eval()(**batch).logits
        with finished.model.disable_adapter():
            assert torch.equal(finished.model(**batch).logits, reference)
        expected = finished.model(**batch).logits
        reloaded = PeftModel.from_pretrained(fresh, spec.run_path / "adapter").eval()
        assert torch.equal(reloaded(**batch).logits, expected)
    assert not torch.equal(expected, reference)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["hinge", "robust", "apo_zero"])
def test_other_losses_raise_the_margin_too(
    loss: str, tmp_path: Path, model_path: Path, pairs_path: Path
) -> None:
    smoothing = {"label_smoothing": 0.1} if loss == "robust" else {}
    spec = melodies.make_preference_spec(
        tmp_path,
        model_path,
        pairs_path,
        preference={"loss": loss, **smoothing},
        optimization={"max_steps": 8, "learning_rate": 1e-2, "warmup_ratio": 0.0},
        evaluation={"n_samples": 0, "every_steps": 8},
    )
    _, result = _run(spec)
    assert result.metrics["reward_margin"] > 0.1  # type: ignore[operator]


@pytest.mark.slow
def test_a_stopped_run_resumed_ends_with_the_same_adapter(
    tmp_path: Path, model_path: Path, pairs_path: Path
) -> None:
    settings: dict[str, Any] = {"optimization": {"max_steps": 6}, "evaluation": {"n_samples": 0}}
    whole = melodies.make_preference_spec(tmp_path / "whole", model_path, pairs_path, **settings)
    assert _run(whole)[1].reason is ExitReason.OK
    first = melodies.make_preference_spec(tmp_path / "halves", model_path, pairs_path, **settings)
    assert _run(first, stop_at(4))[1].reason is ExitReason.USER_STOP
    second = melodies.make_preference_spec(
        tmp_path / "halves", model_path, pairs_path, attempt=2, resume=True, **settings
    )
    assert _run(second)[1].reason is ExitReason.OK
    assert adapter_bytes(whole) == adapter_bytes(second)


def test_the_likelihood_of_a_sound_is_that_of_its_codes(
    tmp_path: Path, model_path: Path, pairs_path: Path
) -> None:
    """Summed over steps and codebooks it is the model's loss, turned around."""
    from qlora_studio.training import families

    spec = melodies.make_preference_spec(tmp_path, model_path, pairs_path)
    config = families.read_config(model_path)
    family = families.family_of(config, spec.task)
    task: Any = models.make_task(spec, family, config)
    base = models.load_base(spec, family, "cpu").eval()
    found = pairs.read_pairs(pairs_path)
    task.prepare(base, found.clips())
    from qlora_studio.training.feature_store import FeatureStore

    batch = FeatureStore(task).batch(pairs.both(found.train[:1]))
    with torch.no_grad():
        told = task.log_likelihood(base, batch)
        alone = FeatureStore(task).batch([pairs.rejected_clip(found.train[0])])
        loss = base(**alone).loss
    n_codes = int((alone["labels"] != -100).sum())
    assert float(told[1].sum()) == pytest.approx(-float(loss) * n_codes, rel=1e-4)
    steps = task.count_steps(batch)
    assert [int((row != 0).sum()) for row in told] == steps.tolist()
    for_them = for_trl(batch, steps)
    assert for_them["completion_mask"].sum(dim=1).tolist() == steps.tolist()
    assert for_them["completion_mask"].shape[1] == told.shape[1] + 1


def test_pairs_that_cannot_be_used_are_left_out_and_counted(tmp_path: Path, pairs_path: Path) -> None:
    good = pairs.read_pairs(pairs_path).train
    wrong = [
        good[0].model_copy(update={"prompt": " "}),
        good[1].model_copy(update={"rejected": "/nowhere.wav"}),
        good[2].model_copy(update={"rejected": good[2].chosen}),
        good[3].model_copy(update={"chosen_s": 0.01}),
    ]
    listing = tmp_path / "clips.jsonl"
    listing.write_text("\n".join(pair.model_dump_json() for pair in [*wrong, good[4]]))
    found = pairs.read_pairs(listing)
    assert [pair.id for pair in found.train] == [good[4].id]
    assert found.dropped == {
        "without a prompt": 1,
        "missing on disk": 1,
        "of one and the same sound": 1,
        "with a sound shorter than 0.1 s": 1,
    }
    listing.write_text("\n".join(pair.model_dump_json() for pair in wrong))
    with pytest.raises(BadData, match="no pair to train on: 1 without a prompt"):
        pairs.read_pairs(listing)


def test_only_models_that_make_sound_learn_from_preferences(
    tmp_path: Path, model_path: Path, pairs_path: Path
) -> None:
    spec = melodies.make_preference_spec(tmp_path, model_path, pairs_path)
    for task in (Task.SPEECH_TO_TEXT, Task.AUDIO_CLASSIFICATION):
        with pytest.raises(ModelNotUsable, match="text-to-audio"):
            check_type(spec.model_copy(update={"task": task}))
    report = validate(spec)
    assert report == {
        "ok": True,
        "errors": [],
        "warnings": [],
        "family": "musicgen",
        "n_train": 8,
        "n_validation": 8,
    }
