"""What a run finds out about itself: whether it can learn, before; what its adapter does, afterwards."""

import traceback
from typing import TYPE_CHECKING

from qlora_studio.training.certificate import Certifier
from qlora_studio.training.evaluation import Outcome
from qlora_studio.training.failures import BadData, ModelNotUsable
from qlora_studio.training.probe import Prober
from qlora_studio.training.stopping import StopRequested

if TYPE_CHECKING:
    from qlora_studio.training.loop import TrainingRun


def probe(run: "TrainingRun") -> None:
    """Try whether the job can learn at all, before time is spent on it.

    Raises:
        BadData: it cannot; or `ModelNotUsable`, where no gradient reaches anything.
    """
    optimization = run.train.optimization
    run.attempt.phase("probe", "Trying whether one batch can be learnt")
    prober = Prober(
        run.task,
        run.store,
        run.clips.train,
        batch_size=optimization.batch_size,
        is_checkpointed=optimization.gradient_checkpointing,
        reach=optimization.learning_rate * run.plan.total_steps,
        check=run.attempt.stop.raise_if_requested,
    )
    report = prober.probe(run.model, base_loss=run.comparable_base_loss())
    run.state.probe = report.model_dump(mode="json")
    run.attempt.events.emit("probe", **run.state.probe)
    print(f"sanity probe: {report.status}. {report.sentence}", flush=True)
    if report.status == "failed":
        is_unreached = report.gradient is not None and not report.gradient.n_reached
        raise (ModelNotUsable if is_unreached else BadData)(report.sentence)
    if report.status == "doubtful":
        run.attempt.warn("probe", report.sentence)


def certify(run: "TrainingRun", used_step: int, *, is_stopped: bool) -> None:
    """Say what the adapter does to its base model. A run that was stopped has no time to measure it."""
    if run.is_pretraining:
        return
    before = after = None
    try:
        if run.evaluator is not None and not is_stopped:
            n_clips = len(run.evaluator.clips)
            label = f"Comparing the adapter with its base on {n_clips} held-out clips"
            run.attempt.phase("certificate", label)
            after = _outcome_of(run, used_step)
            with run.model.disable_adapter():
                before = _outcome_of(run, 0)
        run.certificate = run.make_certifier().certify(run.model, before, after, metric=run.metric)
    except StopRequested:
        run.certificate = run.make_certifier().certify(run.model, None, None, metric=run.metric)
    except Exception as error:  # hours of training are not lost for a report on them
        traceback.print_exc()
        run.attempt.warn("certificate", f"The effect certificate failed ({type(error).__name__}).")
        return
    print(f"certificate: {run.certificate.verdict}. {run.certificate.sentence}", flush=True)


def _outcome_of(run: "TrainingRun", step: int) -> Outcome:
    """What came out of all held-out clips at a step, measured with the model as it is if not kept."""
    assert run.evaluator is not None
    kept = run.reporter.kept.get(step)
    if kept is not None and len(kept.outputs) == len(run.evaluator.clips):
        return kept
    return run.evaluator.measure(run.model, full=True)


def make_certifier(run: "TrainingRun") -> Certifier:
    """Return what compares the run's adapter with its base."""
    return Certifier(
        run.task,
        run.store,
        run.clips.validation,
        check=run.attempt.stop.raise_if_requested,
    )
