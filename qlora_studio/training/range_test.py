"""A learning-rate range test: which rate lets the loss fall fastest, before the long run.

The rate climbs exponentially, a step at a time, from a thousandth of the largest to the largest (Smith 2017,
arXiv:1506.01186). Where the loss falls steepest over the logarithm of the rate is a good rate to train with;
where it climbs again is too much.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from qlora_studio.contracts.enums import ExitReason
from qlora_studio.contracts.events import ResultFile
from qlora_studio.training.callbacks import Plan
from qlora_studio.training.loop import TrainingRun

DEFAULT_STEPS = 100
_SPAN = 1_000.0  # from the smallest to the largest rate
_SMOOTHING = 0.9
_DIVERGED = 3.0  # times the fall so far, above the lowest loss
_MIN_FALL = 0.02  # of the first loss: less is noise
_EVER = 10**9


@dataclass
class Curve:
    """Rates and smoothed losses (nats), step by step."""

    rates: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    _mean: float = 0.0

    def add(self, rate: float, loss: float) -> None:
        """Add a step; the loss is smoothed exponentially, without the bias of a short past."""
        self._mean = _SMOOTHING * self._mean + (1 - _SMOOTHING) * loss
        self.rates.append(rate)
        self.losses.append(self._mean / (1 - _SMOOTHING ** (len(self.rates))))

    @property
    def has_diverged(self) -> bool:
        """Whether the loss has climbed far above its lowest."""
        lowest = min(self.losses)
        fall = max(self.losses[0] - lowest, _MIN_FALL * abs(self.losses[0]))
        return self.losses[-1] > lowest + _DIVERGED * fall

    def best_rate(self) -> float | None:
        """Return the rate of the steepest fall before the lowest loss; None if the loss does not fall."""
        lowest = min(range(len(self.losses)), key=self.losses.__getitem__)
        if self.losses[0] - self.losses[lowest] < _MIN_FALL * abs(self.losses[0]):
            return None
        width = max(1, len(self.losses) // 20)
        falls = {step: (self.losses[step - width] - self.losses[step]) for step in range(width, lowest + 1)}
        steepest = max(falls, key=falls.__getitem__)
        return float(f"{self.rates[steepest - width // 2]:.1e}")


class RangeTest(TrainingRun):
    """A run that tries rates and leaves no adapter: `extra["range_test"]` of its result is what it found."""

    def run(self) -> ResultFile:
        self._prepare()
        self.curve = Curve()
        trainer = self._make_trainer()
        trainer.follow_rates(self._share_at)
        self.attempt.phase("training", "Trying learning rates")
        trainer.start(None)
        return self._told()

    def _make_plan(self) -> Plan:
        total = self.train.optimization.max_steps or DEFAULT_STEPS
        return Plan(total, super()._make_plan().steps_per_epoch, _EVER, _EVER)

    def _make_evaluator(self) -> None:
        return None

    def _share_at(self, step: int) -> float:
        """The rate of a step (from 0) as a share of the largest."""
        return _SPAN ** (min(step, self.plan.total_steps - 1) / max(1, self.plan.total_steps - 1) - 1)

    def _after_step(self, step: int, values: dict[str, float]) -> bool:
        if not math.isfinite(values["loss"]):  # too much, and that is what was asked
            return True
        rate = self.train.optimization.learning_rate * self._share_at(step - 1)
        self.curve.add(rate, values["loss"])
        self.attempt.heartbeat.step = step
        self.attempt.events.metric(step, {**values, "learning_rate": rate})
        self.reporter.report_progress(step)
        return self.attempt.stop.is_requested() or self.curve.has_diverged

    def _told(self) -> ResultFile:
        step = len(self.curve.rates)
        best = self.curve.best_rate() if step else None
        found: dict[str, Any] = {"rates": self.curve.rates, "losses": self.curve.losses, "best_rate": best}
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
