"""Training an adapter on: from its weights, with its rank, compared with the plain base."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qlora_studio.contracts.enums import ExitReason
from qlora_studio.contracts.spec import WorkerSpec
from qlora_studio.training import start
from qlora_studio.training.failures import ModelNotUsable
from tests.training import tiny
from tests.training.running import adapter_bytes, losses, run, stop_at


def _from(spec: WorkerSpec, path: Path) -> WorkerSpec:
    train = spec.train.model_copy(update={"start_adapter_id": "ada_before"})
    return spec.model_copy(update={"start_path": path, "train": train})


def _write(folder: Path, config: Any, about: Any = None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / start.CONFIG).write_text(json.dumps(config))
    if about is not None:
        (folder / start.ABOUT).write_text(json.dumps(about))
    return folder


def test_rank_and_alpha_are_the_adapters_own_and_that_is_said(tmp_path: Path) -> None:
    spec = tiny.make_spec(tmp_path, tmp_path, tmp_path, qlora={"rank": 4, "alpha": 8})
    assert start.adopt(spec) == (spec, "")
    other, said = start.adopt(_from(spec, _write(tmp_path / "a", {"r": 16, "lora_alpha": 32})))
    assert (other.train.qlora.rank, other.train.qlora.alpha) == (16, 32)
    assert "Rank 16" in said
    assert start.adopt(_from(spec, _write(tmp_path / "a", {"r": 4, "lora_alpha": 8})))[1] == ""
    for config in ({}, [], {"r": "many", "lora_alpha": 1}):
        with pytest.raises(ModelNotUsable, match="start"):
            start.adopt(_from(spec, _write(tmp_path / "a", config)))


@pytest.mark.parametrize(
    ("learnt", "wanted", "why"),
    [
        ({"classes": ["a", "b"]}, {"classes": ["a", "c"]}, "other classes"),
        ({"n_speakers": 2}, {"n_speakers": 3}, "number of speakers"),
        ({"classes": ["a", "b"]}, {"classes": ["a", "b"]}, ""),
        ({}, {"classes": ["a"]}, ""),  # made elsewhere: its sizes decide
        ({"language": "en"}, {}, ""),
    ],
)
def test_a_head_for_something_else_is_refused(learnt: Any, wanted: Any, why: str, tmp_path: Path) -> None:
    folder = _write(tmp_path / "a", {"r": 1}, {"inference": learnt})
    task: Any = SimpleNamespace(metadata=lambda: wanted)
    if not why:
        start.refuse_other_targets(folder, task)
        return
    with pytest.raises(ModelNotUsable, match=why):
        start.refuse_other_targets(folder, task)


@pytest.mark.slow
def test_an_adapter_is_trained_on_and_compared_with_the_plain_base(
    tmp_path: Path, clips_path: Path, ctc_path: Path
) -> None:
    first = tiny.make_spec(tmp_path / "first", ctc_path, clips_path, optimization={"max_steps": 8})
    before = run(first)
    settings: dict[str, Any] = {
        "qlora": {"rank": 2},
        "optimization": {"max_steps": 4},
        "evaluation": {"every_steps": 2, "probe": True},
    }
    source = first.run_path / "adapter"
    second = _from(tiny.make_spec(tmp_path / "second", ctc_path, clips_path, **settings), source)
    result = run(second)
    assert result.reason is ExitReason.OK, result.message
    assert result.base_metrics == before.base_metrics
    assert losses(second)[0] < 0.9 * losses(first)[0], "it goes on from what was learnt"
    assert result.metrics["loss"] < before.metrics["loss"]  # type: ignore[operator]
    assert "start_adapter" in [event["code"] for event in tiny.read_events(second, "warning")]
    about = json.loads((second.run_path / "adapter" / "qlora_studio.json").read_text())
    assert about["started_from"]["adapter_id"] == "ada_before"
    assert len(about["started_from"]["sha256"]) == 64
    config = json.loads((second.run_path / "adapter" / "adapter_config.json").read_text())
    assert config["r"] == 4

    halted = _from(tiny.make_spec(tmp_path / "halted", ctc_path, clips_path, **settings), source)
    run(halted, on_attempt=stop_at(2))
    resumed = tiny.make_spec(tmp_path / "halted", ctc_path, clips_path, attempt=2, resume=True, **settings)
    assert run(_from(resumed, source)).reason is ExitReason.OK
    assert losses(halted) + losses(_from(resumed, source)) == losses(second)
    assert adapter_bytes(resumed) == adapter_bytes(second)


@pytest.mark.slow
def test_an_adapter_of_another_model_is_refused(
    tmp_path: Path, clips_path: Path, ctc_path: Path, moonshine_path: Path
) -> None:
    first = tiny.make_spec(tmp_path / "first", moonshine_path, clips_path, optimization={"max_steps": 1})
    assert run(first).reason is ExitReason.OK
    second = tiny.make_spec(tmp_path / "second", ctc_path, clips_path)
    result = run(_from(second, first.run_path / "adapter"))
    assert result.reason is ExitReason.MODEL_LOAD
    assert "starts from" in result.message
