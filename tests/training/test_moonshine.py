"""Moonshine: its inputs, its labels, and a whole training."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import MoonshineForConditionalGeneration

from qlora_studio.contracts.enums import ExitReason
from qlora_studio.training import families
from qlora_studio.training.feature_store import FeatureStore
from qlora_studio.training.tasks.moonshine import MoonshineTask
from tests.training import tiny
from tests.training.running import losses, run


@pytest.fixture
def task(moonshine_path: Path) -> MoonshineTask:
    return MoonshineTask(moonshine_path, families.read_config(moonshine_path))


def test_labels_end_and_do_not_begin_with_a_mark(task: MoonshineTask) -> None:
    ids = task.encode("bad")
    assert len(ids) == 4
    assert (ids[0] != 1, ids[-1]) == (True, 2)


def test_clips_cost_their_own_length(task: MoonshineTask) -> None:
    waves = [np.ones(n, dtype=np.float32) for n in (4_000, 16_000)]
    batch = task.collate([task.features(wave) for wave in waves], [task.encode("a"), task.encode("cab")])
    assert batch["input_values"].shape == (2, 16_000)
    assert batch["attention_mask"].sum(dim=1).tolist() == [4_000, 16_000]
    assert batch["labels"].shape == (2, 4)


@torch.no_grad()
def test_what_is_measured_is_the_models_own_loss(
    task: MoonshineTask, moonshine_path: Path, clips_path: Path
) -> None:
    model = MoonshineForConditionalGeneration.from_pretrained(moonshine_path).eval()
    clips = tiny.read_clips(clips_path)
    task.prepare(model, task.read_clips(clips_path))
    batch = FeatureStore(task).batch(clips[:3])
    prediction = task.predict(model, batch)
    assert prediction.loss == pytest.approx(float(model(**batch).loss), abs=1e-5)
    assert len(prediction.outputs) == 3


@pytest.mark.slow
def test_twenty_steps_lower_the_loss_and_leave_the_base_alone(
    tmp_path: Path, moonshine_path: Path, clips_path: Path
) -> None:
    optimization = {"max_steps": 20, "learning_rate": 5e-3}
    evaluation = {"every_steps": 20, "metric": "loss"}
    spec = tiny.make_spec(
        tmp_path, moonshine_path, clips_path, optimization=optimization, evaluation=evaluation
    )
    before = (moonshine_path / "model.safetensors").read_bytes()
    result = run(spec)
    assert result.reason is ExitReason.OK, result.message
    seen = losses(spec)
    assert np.mean(seen[-4:]) < np.mean(seen[:4]) - 0.3
    assert result.metrics["loss"] < result.base_metrics["loss"]  # type: ignore[operator]
    assert (moonshine_path / "model.safetensors").read_bytes() == before
