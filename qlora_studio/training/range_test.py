"""A learning-rate range test: which rate lets the loss fall fastest, before the long run.

The rate climbs exponentially, a step at a time, from a thousandth of the largest to the largest (Smith 2017,
arXiv:1506.01186). Where the loss falls steepest over the logarithm of the rate is a good rate to train with;
where it climbs again is too much. Batches differ by more than a step brings, so each one's loss is compared
with what the untouched model says of the same batch.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from qlora_studio.contracts.enums import ExitReason
from qlora_studio.contracts.events import ResultFile
from qlora_studio.training.callbacks import Plan
from qlora_studio.training.loop import TrainingRun
from qlora_studio.training.trainer import StudioSteps

DEFAULT_STEPS = 100
_SPAN = 1_000.0  # from the smallest to the largest rate
_SMOOTHING = 0.8
_WARM = 10  # steps before anything is said of the curve
_MIN_FALL = 0.02  # of the untouched model's loss: less is noise
_EVER = 10**9


@dataclass
class Curve:
    """Rates, and by how much the smoothed loss (nats) differs from the untouched model's, step by step."""

    rates: list[float] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)
    _mean: float = 0.0
    _base: float = 0.0

    def add(self, rate: float, loss: float, base: float) -> None:
        """Add a step; changes are smoothed exponentially, without the bias of a short past.

        Left out are batches that the untouched model has no loss for: CTC texts that fit none of their clips.
        """
        if not math.isfinite(base):
            return
        n_steps = len(self.rates) + 1
        self._mean = _SMOOTHING * self._mean + (1 - _SMOOTHING) * (loss - base)
        self._base += (base - self._base) / n_steps
        self.rates.append(rate)
        self.changes.append(self._mean / (1 - _SMOOTHING**n_steps))

    @property
    def has_diverged(self) -> bool:
        """Whether the loss has climbed above its lowest by as much as the untouched model's loss."""
        return len(self.rates) > _WARM and self.changes[-1] > min(self.changes) + max(self._base, 1.0)

    def best_rate(self) -> float | None:
        """Return the rate of the steepest fall before the lowest loss; None if the loss does not fall."""
        if not self.changes:
            return None
        lowest = min(range(len(self.changes)), key=self.changes.__getitem__)
        width = max(2, len(self.changes) // 10)
        if -self.changes[lowest] < _MIN_FALL * self._base or lowest < width:
            return None
        falls = {n: self.changes[n - width] - self.changes[n] for n in range(width, lowest + 1)}
        steepest = max(falls, key=falls.__getitem__)
        return float(f"{self.rates[steepest - width // 2]:.1e}")


class RangeTest(TrainingRun):
    """A run that tries rates and leaves no adapter: `extra["range_test"]` of its result is what it found."""

    def run(self) -> ResultFile:
        self.prepare()
        self.curve = Curve()
        self._bases: list[float] = []  # of the batches of this step
        trainer = self.make_trainer()
        trainer.follow_rates(self._share_at)
        self.attempt.phase("training", "Trying learning rates")
        trainer.start(None)
        return self._told()

    def _make_plan(self) -> Plan:
        total = self.train.optimization.max_steps or DEFAULT_STEPS
        return Plan(total, super()._make_plan().steps_per_epoch, _EVER, _EVER)

    def _make_evaluator(self) -> None:
        return None

    def make_trainer(self) -> StudioSteps:
        trainer = super().make_trainer()
        train = trainer.training_step

        def compare_first(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            self._bases.append(self._base_loss(trainer, inputs))
            return train(model, inputs, *args, **kwargs)

        trainer.training_step = compare_first
        return trainer

    @torch.no_grad()
    def _base_loss(self, trainer: StudioSteps, inputs: Any) -> float:
        """What the untouched model says of a batch."""
        self.model.eval()
        with self.model.disable_adapter():
            return float(self.task.steady_loss(self.model, trainer._prepare_inputs(inputs)))

    def _share_at(self, step: int) -> float:
        """The rate of a step (from 0) as a share of the largest."""
        return _SPAN ** (min(step, self.plan.total_steps - 1) / max(1, self.plan.total_steps - 1) - 1)

    def _after_step(self, step: int, values: dict[str, float]) -> bool:
        if not math.isfinite(values["loss"]):  # too much, and that is what was asked
            return True
        rate = self.train.optimization.learning_rate * self._share_at(step - 1)
        self.curve.add(rate, values["loss"], sum(self._bases) / len(self._bases))
        self._bases.clear()
        self.attempt.heartbeat.step = step
        self.attempt.events.metric(step, {**values, "learning_rate": rate})
        self.reporter.report_progress(step)
        return self.attempt.stop.is_requested() or self.curve.has_diverged

    def _told(self) -> ResultFile:
        step, best = self.attempt.heartbeat.step, self.curve.best_rate()
        found: dict[str, Any] = {"rates": self.curve.rates, "changes": self.curve.changes, "best_rate": best}
        if self.attempt.stop.is_requested():
            reason, message = ExitReason.USER_STOP, "Stopped while trying learning rates."
        elif best is None:
            reason, message = (
                ExitReason.OK,
                "The loss does not fall at any of these rates. Check texts and labels.",
            )
        else:
            reason, message = ExitReason.OK, f"The loss falls fastest at a learning rate of {best:g}."
        print(message, flush=True)
        return ResultFile(reason=reason, message=message, step=step, extra={"range_test": found})
