"""What happens between two steps: numbers out, evaluations, checkpoints, reasons to end."""

import time
from typing import Any

from qlora_studio.storage import checkpoints
from qlora_studio.training.attempt import Attempt
from qlora_studio.training.checkpoint_writer import CheckpointWriter
from qlora_studio.training.evaluation import Evaluator, Outcome
from qlora_studio.training.run_state import RunState
from qlora_studio.training.sample_sounds import SampleSounds
from qlora_studio.training.stopping import StopRequested
from qlora_studio.training.trainer import StudioSteps, raise_if_not_a_number

_SMOOTHING = 0.1


class Plan:
    """How long a run is and how often it is interrupted, all in optimiser steps."""

    def __init__(self, total_steps: int, steps_per_epoch: int, eval_every: int, save_every: int) -> None:
        self.total_steps = total_steps
        self.steps_per_epoch = steps_per_epoch
        self.eval_every = eval_every
        self.save_every = save_every


class StepReporter:
    """Called after every optimiser step; says whether the training should end."""

    def __init__(
        self,
        attempt: Attempt,
        plan: Plan,
        state: RunState,
        evaluator: Evaluator | None,
        *,
        metric: str,
    ) -> None:
        self._attempt = attempt
        self._plan = plan
        self._state = state
        self._evaluator = evaluator
        self._metric = metric
        self._step_s: float | None = None
        self.evaluation_s = 0.0
        self.trainer: StudioSteps | None = None
        self.checkpoints = CheckpointWriter(attempt)
        self._sounds = SampleSounds(attempt)
        self.kept: dict[int, Outcome] = {}  # of the base (0) and of the best step in this attempt

    def take_over(self, state: RunState) -> RunState:
        """Go on with the state of an earlier attempt; returns it."""
        self._state = state
        return state

    def after_step(self, step: int, values: dict[str, float]) -> bool:
        """Report, then evaluate and save when it is time.

        Raises:
            NotANumber: the loss or the gradient is not finite.
            DiskFull: a checkpoint, perhaps that of an earlier step, found no space.
        """
        attempt, plan = self._attempt, self._plan
        took_s = values.pop("step_s")
        self._state.note_step(int(values.pop("n_clips")), took_s)
        self._step_s = took_s if self._step_s is None else self._step_s + _SMOOTHING * (took_s - self._step_s)
        attempt.heartbeat.step = step
        attempt.events.metric(step, values)
        self.report_progress(step)
        raise_if_not_a_number(step, values, self._newest_checkpoint_step)
        self.checkpoints.raise_if_failed()
        if attempt.stop.is_requested():
            return True
        is_best = False
        try:
            if self._evaluator is not None and (step % plan.eval_every == 0 or step == plan.total_steps):
                is_best = self.evaluate(step)
        except StopRequested:
            return True
        if is_best or step % plan.save_every == 0 or step == plan.total_steps:
            self.save(step)
        return self._is_patience_over()

    def report_progress(self, step: int) -> None:
        """Tell how far the run is and how long it may still take."""
        plan = self._plan
        n_left = plan.total_steps - step
        n_evaluations_left = plan.total_steps // plan.eval_every - step // plan.eval_every
        eta_s = n_left * (self._step_s or 0.0) + n_evaluations_left * self.evaluation_s
        self._attempt.events.emit(
            "progress",
            step=step,
            total_steps=plan.total_steps,
            epoch=step / plan.steps_per_epoch,
            eta_s=eta_s,
        )

    def _newest_checkpoint_step(self) -> int | None:
        self.checkpoints.settle()
        steps = checkpoints.list_steps(self._attempt.checkpoints_path)
        return steps[-1][0] if steps else None

    def evaluate(self, step: int) -> bool:
        """Measure the model as it is now; returns whether it is the best so far.

        Raises:
            StopRequested: somebody doesn't want to wait for it.
        """
        assert self._evaluator is not None
        assert self.trainer is not None
        started = time.perf_counter()
        self._attempt.events.emit("phase", name="evaluation", label=f"Measuring at step {step}")
        outcome = self._evaluator.measure(self.trainer.model, full=False)
        is_best = self._state.note_evaluation(
            step, outcome.values, self._metric, outcome.report, outcome.files
        )
        self.report_evaluation(step, outcome, is_best=is_best)
        self._attempt.events.emit("phase", name="training", label="Training")
        self.evaluation_s = time.perf_counter() - started
        return is_best

    def report_evaluation(
        self, step: int, outcome: Outcome, *, is_base: bool = False, is_best: bool = False
    ) -> None:
        """Emit the `eval` event and one `sample` event for each clip of the panel."""
        if is_base or is_best:
            self.kept = {0: self.kept[0], step: outcome} if 0 in self.kept else {step: outcome}
        events = self._attempt.events
        events.emit("eval", step=step, values=outcome.values, base=is_base, is_best=is_best)
        if is_base:
            panel = self._evaluator.panel if self._evaluator else []
            self._state.base_texts = {clip.id: outcome.outputs[clip.id].text for clip in panel}
        if self._evaluator is None:
            return
        sounds = self._sounds.keep("base" if is_base else f"{step:08d}", outcome, self._evaluator)
        for sample in self._evaluator.samples(outcome, base_texts=self._state.base_texts):
            events.emit("sample", step=step, **sample, **sounds.get(sample["clip_id"], {}))

    def save(self, step: int) -> None:
        """Begin to save the checkpoint of a step.

        Raises:
            DiskFull: it, or the one before, found no space.
        """
        assert self.trainer is not None
        self.checkpoints.save(self.trainer, self._state, step)

    def _is_patience_over(self) -> bool:
        patience = self._attempt.spec.train.evaluation.early_stopping_patience
        if patience is None or self._state.evaluations_since_best < patience:
            return False
        self._attempt.events.emit(
            "phase",
            name="early_stop",
            label=f"No better {self._metric} in {patience} evaluations: ending early",
        )
        return True


def describe(values: dict[str, Any]) -> str:
    """One line of an evaluation for the log."""
    return ", ".join(f"{key} {value:.4f}" for key, value in values.items() if value is not None)
