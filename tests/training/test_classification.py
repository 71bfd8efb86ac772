"""Audio classification on tiny models: every family in 4 bits, from clips to an adapter that reloads."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from qlora_studio.contracts.enums import ExitReason, Task
from qlora_studio.contracts.spec import EvaluationSpec, WorkerSpec
from qlora_studio.training import families, metrics, models, quantize
from qlora_studio.training.failures import BadData
from qlora_studio.training.feature_store import FeatureStore
from qlora_studio.training.run_state import RunState, check_metric
from qlora_studio.training.tasks.base import Output
from qlora_studio.training.validation import validate
from tests.training import tiny, tones
from tests.training.running import (
    adapter_bytes,
    losses,
    prepared,
    reload_in_plain_peft,
    run,
    run_and_keep,
    stop_at,
)

# The library deprecates a name that it uses itself; the worker ignores that in its log.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning", "ignore:Support for mismatched key_padding_mask"
)
FAMILIES = tuple(tones.MAKERS)
LONG_RUN = {"optimization": {"max_steps": 20}, "evaluation": {"every_steps": 10, "n_samples": 3}}


@pytest.fixture(scope="module")
def tones_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tones.write_tones(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def model_paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in tones.MAKERS.items()}


def _reload(spec: WorkerSpec, family: str) -> Any:
    about = json.loads((spec.run_path / "adapter" / "qlora_studio.json").read_text())
    return reload_in_plain_peft(
        spec, families.CLASSIFIERS[family].model_class, n_labels=len(about["inference"]["classes"])
    )


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_learns_leaves_its_base_alone_and_reloads_in_plain_peft(
    family: str, tmp_path: Path, tones_path: Path, model_paths: dict[str, Path]
) -> None:
    spec = tones.make_spec(tmp_path, model_paths[family], tones_path, **LONG_RUN)
    finished = run_and_keep(spec)
    seen, values = losses(spec), finished.state.last_values
    assert len(seen) == 20
    assert sum(seen[-5:]) < 0.8 * sum(seen[:5])
    assert values["accuracy"] > 0.5  # chance is a third
    assert values["loss"] < finished.state.base_values["loss"]

    fresh = prepared(spec)[1].state_dict()
    base = finished.model.get_base_model().state_dict()
    frozen = {name.replace(".base_layer", ""): tensor for name, tensor in base.items()}
    unchanged = [n for n in fresh if n in frozen and not n.startswith(("classifier", "projector"))]
    assert len(unchanged) > 30
    assert all(torch.equal(fresh[name], frozen[name]) for name in unchanged)

    packed = quantize.quantised_layers(finished.model)
    assert packed
    assert not [name for name in packed if "classifier" in name or "projector" in name]
    task, _ = prepared(spec)  # hears clips as plain transformers does, whatever made the run fast
    batch = FeatureStore(task).batch(finished.clips.validation[:4])
    finished.model.eval()
    with torch.no_grad():
        expected, found = finished.model(**batch).logits, _reload(spec, family)(**batch).logits
    assert torch.equal(expected, found)


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_head_is_new_when_another_kind_of_model_is_the_base(
    family: str, model_paths: dict[str, Path]
) -> None:
    known = families.CLASSIFIERS[family]
    model_class = getattr(transformers, known.model_class)
    _, info = model_class.from_pretrained(model_paths[family], output_loading_info=True)
    assert all(name.split(".")[0] in known.heads for name in info["missing_keys"])


@pytest.mark.parametrize("family", FAMILIES)
def test_4_bit_layers_hold_the_weights_of_the_file(
    family: str, tmp_path: Path, tones_path: Path, model_paths: dict[str, Path]
) -> None:
    from bitsandbytes.functional import dequantize_4bit

    """Also where a file has other names for them, as AST's has."""
    _, base = prepared(tones.make_spec(tmp_path, model_paths[family], tones_path))
    model_class = getattr(transformers, families.CLASSIFIERS[family].model_class)
    stock = model_class.from_pretrained(model_paths[family])
    for name, layer in quantize.quantised_layers(base).items():
        packed, original = layer.weight, stock.get_submodule(name).weight
        rounded = dequantize_4bit(packed.data, packed.quant_state)
        assert (rounded - original).norm() < 0.15 * original.norm(), name


@pytest.mark.slow
def test_the_first_losses_are_the_golden_ones(
    tmp_path: Path, tones_path: Path, model_paths: dict[str, Path]
) -> None:
    spec = tones.make_spec(
        tmp_path, model_paths["wav2vec2"], tones_path, optimization={"max_steps": 4, "mode": "exact"}
    )
    run(spec)
    assert losses(spec) == pytest.approx(GOLDEN_WAV2VEC2, abs=2e-3)


GOLDEN_WAV2VEC2 = [1.0887, 1.0928, 1.1343, 1.0349]


@pytest.mark.slow
def test_events_and_result_tell_classes_confusions_and_the_worst_samples(
    tmp_path: Path, tones_path: Path, model_paths: dict[str, Path]
) -> None:
    spec = tones.make_spec(tmp_path, model_paths["audio-spectrogram-transformer"], tones_path, **LONG_RUN)
    result = run(spec)
    assert result.reason is ExitReason.OK
    assert set(result.metrics) == {"accuracy", "macro_f1", "loss"}
    assert result.base_metrics["loss"] == pytest.approx(math.log(3), abs=0.1)
    assert result.extra["classes"] == ["high", "low", "middle"]
    matrix = result.extra["confusion_matrix"]
    assert [sum(row) for row in matrix] == [3, 3, 3]
    assert sum(matrix[i][i] for i in range(3)) / 9 == pytest.approx(result.metrics["accuracy"])
    about = json.loads((Path(result.adapter_path or "") / "qlora_studio.json").read_text())
    assert about["confusion_matrix"] == matrix
    assert about["inference"]["classes"] == about["classes"] == result.extra["classes"]
    assert about["inference"]["max_clip_s"] == 0.64
    card = (Path(result.adapter_path or "") / "README.md").read_text()
    assert "audio-classification" in card
    assert "num_labels=3, ignore_mismatched_sizes=True" in card

    last = [event for event in tiny.read_events(spec, "sample") if event["step"] == 20]
    errors = [event["error"] for event in last]
    assert errors == sorted(errors, reverse=True)
    for event in last:
        assert event["now"] == event["top"][0]["label"]
        assert sum(item["probability"] for item in event["top"]) == pytest.approx(1.0, abs=1e-4)
        shares = {item["label"]: item["probability"] for item in event["top"]}
        assert event["error"] == pytest.approx(1 - shares[event["reference"]])
        assert event["base"] in shares


def test_wavlm_adapts_its_feed_forward_layers_only(
    tmp_path: Path, tones_path: Path, model_paths: dict[str, Path]
) -> None:
    spec = tones.make_spec(tmp_path, model_paths["wavlm"], tones_path)
    _, base = prepared(spec)
    model = models.make_trainable(base, spec, families.CLASSIFIERS["wavlm"])
    touched = [*quantize.quantised_layers(model), *(n for n, _ in model.named_parameters() if "lora_" in n)]
    assert touched
    assert not [name for name in touched if set(name.split(".")) & {"q_proj", "k_proj", "v_proj", "out_proj"}]


def test_conformer_batch_norms_stay_on_their_stored_statistics(
    tmp_path: Path, tones_path: Path, model_paths: dict[str, Path]
) -> None:
    spec = tones.make_spec(tmp_path, model_paths["wav2vec2-conformer"], tones_path)
    task, base = prepared(spec)
    model = models.make_trainable(base, spec, families.CLASSIFIERS["wav2vec2-conformer"])
    norms = [m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert norms
    before = [norm.running_mean.clone() for norm in norms]
    model.train()
    model(**FeatureStore(task).batch(task.read_clips(tones_path).train[:2]))
    assert all(torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, before, strict=True))


def test_a_head_with_the_same_classes_is_kept(tmp_path: Path, model_paths: dict[str, Path]) -> None:
    labels = ("siren", "rain", "horn", "bell")
    clips_path = tones.write_tones(tmp_path / "clips", n_train=8, n_validation=4, labels=labels)
    path = model_paths["audio-spectrogram-transformer"]
    task, base = prepared(tones.make_spec(tmp_path, path, clips_path))
    stock = transformers.ASTForAudioClassification.from_pretrained(path)
    assert torch.equal(base.classifier.dense.weight, stock.classifier.dense.weight)
    assert task.classes == ["bell", "horn", "rain", "siren"]
    assert task.expected_first_loss() is None
    assert task.loading_arguments() == ""


def test_a_new_head_starts_at_the_logarithm_of_the_number_of_classes(
    tmp_path: Path, tones_path: Path, model_paths: dict[str, Path]
) -> None:
    task, base = prepared(tones.make_spec(tmp_path, model_paths["hubert"], tones_path))
    assert task.expected_first_loss() == pytest.approx(math.log(3))
    assert base.config.id2label == {0: "high", 1: "low", 2: "middle"}
    assert base.config.label2id == {"high": 0, "low": 1, "middle": 2}
    with torch.no_grad():
        loss = base.eval()(**FeatureStore(task).batch(task.read_clips(tones_path).validation)).loss
    assert float(loss) == pytest.approx(math.log(3), abs=0.1)


@pytest.mark.slow
def test_an_unknown_label_is_left_out_and_counted(
    tmp_path: Path, tones_path: Path, model_paths: dict[str, Path]
) -> None:
    clips = tiny.read_clips(tones_path)
    clips[-1].label, clips[0].label, clips[1].label = "whistle", None, f" {clips[1].label} "
    listing = tones.write_listing(tmp_path / "clips.jsonl", clips)
    spec = tones.make_spec(tmp_path / "run", model_paths["wav2vec2"], listing, optimization={"max_steps": 1})
    report = validate(spec)
    assert (report["ok"], report["n_train"], report["n_validation"]) == (True, 17, 8)
    result = run(spec)
    assert (result.extra["n_train"], result.extra["n_validation"]) == (17, 8)
    said = [event["message"] for event in tiny.read_events(spec, "warning")]
    assert "1 clips are left out: with a label that no training clip has." in said
    assert "1 clips are left out: without a label." in said
    assert len(result.extra["classes"]) == 3


def test_one_class_is_refused_with_a_sentence(tmp_path: Path, model_paths: dict[str, Path]) -> None:
    listing = tones.write_tones(tmp_path / "clips", n_train=4, n_validation=2, labels=("low",))
    spec = tones.make_spec(tmp_path / "run", model_paths["wav2vec2"], listing)
    sentence = 'All clips to train on have the label "low". Classification needs at least two labels.'
    assert validate(spec)["errors"] == [sentence]
    result = run(spec)
    assert (result.reason, result.message) == (ExitReason.BAD_DATA, sentence)


@pytest.mark.slow
def test_a_long_clip_is_heard_from_its_beginning(
    tmp_path: Path, tones_path: Path, model_paths: dict[str, Path]
) -> None:
    clips = tiny.read_clips(tones_path)
    clips[0].duration_s = 2.5
    listing = tones.write_listing(tmp_path / "clips.jsonl", clips)
    spec = tones.make_spec(
        tmp_path, model_paths["whisper"], listing, optimization={"max_steps": 1}, evaluation={"n_samples": 0}
    )
    assert run(spec).extra["n_train"] == 18
    codes = {event["code"]: event["message"] for event in tiny.read_events(spec, "warning")}
    assert codes == {"clips_cut": "1 clips are longer than 2 s; only their beginning is used."}
    task, _ = prepared(spec)
    sound = torch.randn(5 * tiny.RATE, generator=torch.Generator().manual_seed(0)).numpy()
    whole, start = task.features(sound), task.features(sound[: 2 * tiny.RATE])
    assert (whole["mel"] == start["mel"]).all()


def test_the_best_step_follows_the_direction_of_the_metric() -> None:
    state = RunState()
    for step, accuracy in enumerate((0.4, 0.9, 0.6, None), start=1):
        state.note_evaluation(step, {"accuracy": accuracy, "loss": 1.0 / step}, "accuracy")
    assert (state.best_step, state.evaluations_since_best) == (2, 2)
    assert state.note_evaluation(5, {"accuracy": 0.9, "loss": 0.01}, "accuracy")  # a tie goes to the loss
    by_loss = RunState()
    for step, loss in enumerate((0.4, 0.9, 0.3), start=1):
        by_loss.note_evaluation(step, {"accuracy": 1 - loss, "loss": loss}, "loss")
    assert by_loss.best_step == 3


@pytest.mark.slow
def test_early_stopping_keeps_the_weights_with_the_highest_macro_f1(
    tmp_path: Path, tones_path: Path, model_paths: dict[str, Path]
) -> None:
    spec = tones.make_spec(
        tmp_path,
        model_paths["wav2vec2"],
        tones_path,
        optimization={"max_steps": 40, "learning_rate": 0.3, "scheduler": "constant"},  # far too high
        evaluation={
            "every_steps": 1, "metric": "macro_f1", "early_stopping_patience": 3, "n_samples": 0
        },
    )  # fmt: skip
    result = run(spec)
    evaluations = [e for e in tiny.read_events(spec, "eval") if not e["base"]]
    best = max(e["values"]["macro_f1"] for e in evaluations)
    assert result.metrics["macro_f1"] == best
    assert result.step == (result.best_step or 0) + 3
    kept = next(e for e in evaluations if e["step"] == result.best_step)
    assert result.metrics == kept["values"]
    rows = result.extra["confusion_matrix"]
    assert sum(rows[i][i] for i in range(3)) / 9 == pytest.approx(result.metrics["accuracy"])


def test_the_metric_that_decides() -> None:
    task = Task.AUDIO_CLASSIFICATION
    assert check_metric(EvaluationSpec(), task) == "accuracy"
    assert check_metric(EvaluationSpec(metric="macro_f1"), task) == "macro_f1"
    with pytest.raises(BadData, match="Audio classification does not measure cer"):
        check_metric(EvaluationSpec(metric="cer"), task)


def test_rates_and_confusions_of_classes() -> None:
    targets, outputs = ["a", "a", "a", "b"], ["a", "a", "b", "b"]
    values = metrics.class_rates(targets, outputs)
    assert values == {"accuracy": 0.75, "macro_f1": pytest.approx((0.8 + 2 / 3) / 2)}
    assert metrics.class_rates([], []) == {"accuracy": None, "macro_f1": None}
    assert metrics.confusion_matrix(targets, outputs, ["a", "b", "c"]) == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_the_top_of_a_sample_is_at_most_three_classes(
    tmp_path: Path, tones_path: Path, model_paths: dict[str, Path]
) -> None:
    task, _ = prepared(tones.make_spec(tmp_path, model_paths["hubert"], tones_path))
    output = Output("a", {"b": 0.2, "a": 0.5, "d": 0.1, "c": 0.2})
    assert [item["label"] for item in task.sample(output)["top"]] == ["a", "b", "c"]
    assert task.error("a", output) == 0.5


@pytest.mark.slow
def test_a_stopped_run_goes_on_as_if_never_stopped(
    tmp_path: Path, tones_path: Path, model_paths: dict[str, Path]
) -> None:
    settings: dict[str, Any] = {
        "qlora": {"dropout": 0.1},
        "optimization": {"max_steps": 8},
        "evaluation": {"every_steps": 4, "save_every_steps": 2, "n_samples": 1},
    }
    path = model_paths["wav2vec2-bert"]
    whole = tones.make_spec(tmp_path / "whole", path, tones_path, **settings)
    run(whole)
    halted = tones.make_spec(tmp_path / "halted", path, tones_path, **settings)
    run(halted, on_attempt=stop_at(5))
    resumed = tones.make_spec(tmp_path / "halted", path, tones_path, attempt=2, resume=True, **settings)
    result = run(resumed)
    assert losses(halted) + losses(resumed) == losses(whole)
    assert adapter_bytes(resumed) == adapter_bytes(whole)
    assert result.extra["confusion_matrix"]
