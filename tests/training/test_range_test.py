"""The learning-rate range test: the rate it names, and a whole test on a tiny model."""

import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from qlora_studio.contracts.enums import ExitReason, Task, TrainingType
from qlora_studio.contracts.events import ResultFile
from qlora_studio.training.attempt import run_attempt
from qlora_studio.training.failures import ModelNotUsable
from qlora_studio.training.range_test import Curve, RangeTest
from qlora_studio.training.validation import check_type
from tests.training import tiny


def _curve(change_at: Callable[[float], float], n_steps: int = 100) -> Curve:
    """A test whose batches differ far more than the rates do."""
    curve, rng = Curve(), random.Random(0)
    for step in range(n_steps):
        rate = 1e-4 * 1_000 ** (step / (n_steps - 1))
        base = rng.uniform(1.0, 4.0)
        curve.add(rate, base + change_at(rate) + rng.gauss(0, 0.02), base)
        if curve.has_diverged:
            break
    return curve


def _valley(rate: float) -> float:
    """Falls steepest at about 1e-3, is lowest at about 6e-3, and explodes after that."""
    return -1 / (1 + (1e-3 / rate) ** 3) + 60 * max(0.0, rate - 6e-3)


def test_the_rate_is_where_the_loss_falls_steepest() -> None:
    best = _curve(_valley).best_rate()
    assert best is not None
    assert 5e-4 < best < 2.5e-3


def test_it_ends_when_the_loss_explodes() -> None:
    curve = _curve(_valley)
    assert curve.has_diverged
    assert curve.rates[-1] < 0.09


def test_a_loss_that_does_not_fall_has_no_rate() -> None:
    assert _curve(lambda rate: 0.0).best_rate() is None
    assert _curve(lambda rate: 30 * rate).best_rate() is None


def test_a_batch_without_a_loss_is_left_out() -> None:
    curve = Curve()
    for rate, base in ((1e-4, 2.0), (2e-4, math.inf), (3e-4, 2.0)):
        curve.add(rate, 1.5, base)
    assert curve.rates == [1e-4, 3e-4]
    assert curve.changes == pytest.approx([-0.5, -0.5])
    assert Curve().best_rate() is None


@pytest.mark.parametrize("training_type", [TrainingType.PRETRAINING, TrainingType.PREFERENCE])
def test_only_adapters_have_an_untouched_model_to_compare_with(
    training_type: TrainingType, tmp_path: Path, clips_path: Path, ctc_path: Path
) -> None:
    optimization = {"scheduler": "range_test"}
    spec = tiny.make_spec(
        tmp_path, ctc_path, clips_path, training_type=training_type, optimization=optimization
    )
    spec = spec.model_copy(update={"task": Task.TEXT_TO_AUDIO})
    with pytest.raises(ModelNotUsable, match="QLoRA and LoRA"):
        check_type(spec)


@pytest.mark.slow
def test_a_whole_test_leaves_a_rate_and_no_adapter(tmp_path: Path, clips_path: Path, ctc_path: Path) -> None:
    optimization = {"scheduler": "range_test", "learning_rate": 0.1, "max_steps": 20, "mode": "exact"}
    spec = tiny.make_spec(tmp_path, ctc_path, clips_path, optimization=optimization)
    tiny.write_spec(spec)
    run_attempt(spec, lambda attempt: RangeTest(attempt, "cpu").run(), device="cpu", versions={})
    result = ResultFile.model_validate_json((spec.attempt_path / "result.json").read_text())
    assert result.reason is ExitReason.OK, result.message
    assert result.adapter_path is None
    assert not (spec.run_path / "checkpoints").exists()
    found = result.extra["range_test"]
    assert found["rates"][0] == pytest.approx(1e-4)
    assert found["rates"] == sorted(found["rates"])
    assert 1e-4 <= found["best_rate"] <= 0.1
    told = [event["values"]["learning_rate"] for event in tiny.read_events(spec, "metric")]
    assert told == found["rates"]
    assert not tiny.read_events(spec, "eval")
