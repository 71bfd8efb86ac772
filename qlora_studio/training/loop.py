"""A training job from the first file read to the finished adapter. Read top to bottom."""

import math
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from operator import attrgetter
from typing import Any

import torch
import yaml

from qlora_studio.contracts.certificate import Certificate
from qlora_studio.contracts.enums import ExitReason, StopMode, TrainingType
from qlora_studio.contracts.events import ResultFile
from qlora_studio.contracts.spec import ClipItem
from qlora_studio.storage import atomic, checkpoints
from qlora_studio.storage.checkpoints import Checkpoint
from qlora_studio.training import families, models, rehearsal, run_checks, saving, start, state_files
from qlora_studio.training.attempt import Attempt
from qlora_studio.training.batches import Indexed, LengthBuckets
from qlora_studio.training.callbacks import Plan, StepReporter, describe
from qlora_studio.training.certificate import Certifier
from qlora_studio.training.clips import ClipSets
from qlora_studio.training.evaluation import Evaluator, Outcome
from qlora_studio.training.feature_store import FeatureStore
from qlora_studio.training.quantize import quantised_layers
from qlora_studio.training.ranks import ALONE, Ranks
from qlora_studio.training.run_state import RunState, check_metric
from qlora_studio.training.stopping import StopRequested
from qlora_studio.training.tasks.base import Batch
from qlora_studio.training.tasks.sounds import SoundTask
from qlora_studio.training.tasks.whisper import WhisperTask
from qlora_studio.training.trainer import StudioSteps, StudioTrainer, training_arguments
from qlora_studio.training.variation import Variation

EVALUATIONS_A_RUN = 6


class TrainingRun:
    """One attempt's work. `run()` is the whole story; the other methods are its chapters."""

    def __init__(self, attempt: Attempt, device: str, ranks: Ranks = ALONE) -> None:
        self.attempt = attempt
        self.ranks = ranks
        self.spec, self._adopted = start.adopt(attempt.spec)
        self.train = self.spec.train
        self.device = device
        self.is_pretraining = self.train.training_type is TrainingType.PRETRAINING
        self.metric = check_metric(self.train.evaluation, self.spec.task, self.train.training_type)
        self.state = RunState()
        self.model: Any = None
        self.certificate: Certificate | None = None
        self.variation: Variation | None = None
        self._batches: deque[tuple[int, float]] = deque()  # clips and seconds of those not yet trained on

    def run(self) -> ResultFile | None:
        """Do it all; of several processes, the first one's result and None in the others."""
        self.prepare()
        trainer = self.make_trainer()
        resume = checkpoints.find_newest(self.attempt.checkpoints_path) if self.spec.resume else None
        if resume is not None:
            self.state = self.reporter.take_over(RunState.from_json(resume.state["run"]))
            self.attempt.heartbeat.step = resume.step
        elif self.ranks.is_first:
            self._look_before()
        self.attempt.phase("training", "Training")
        if resume is None or resume.step < self.plan.total_steps:
            self.make_steps(trainer, resume)
        else:
            state_files.load_model(self.model, resume.path)
        self.ranks.part()
        return self._finish(self.attempt.heartbeat.step) if self.ranks.is_first else None

    def rehearse(self) -> ResultFile:
        """Do once what a job does over and over: `extra["rehearsal"]` of the result tells what it took."""
        return rehearsal.try_steps(self)

    def list_clips(self) -> list[ClipItem]:
        return [*self.clips.train, *self.clips.validation]

    def keep_longest(self, n_clips: int) -> None:
        """Keep one batch to train on and one to measure, of the longest clips: what takes most memory."""
        sets, duration_of = self.clips, attrgetter("duration_s")
        train = rehearsal.longest(sets.train, n_clips, duration_of)
        self.clips = ClipSets(train, rehearsal.longest(sets.validation, n_clips, duration_of), sets.dropped)
        self.evaluator = self._make_evaluator()

    def make_steps(self, trainer: StudioSteps, resume: Checkpoint | None) -> None:
        """Make the steps; however they end, a checkpoint that is being written is whole afterwards."""
        try:
            trainer.start(resume)
        finally:
            self.reporter.checkpoints.settle()

    # Before the first step

    def _look_before(self) -> None:
        """Measure the base and try whether the job can learn; other processes wait in their first step."""
        if self.evaluator is not None and self._has_base():
            self._measure_base()
        if self.train.evaluation.probe:
            run_checks.probe(self)

    def prepare(self) -> None:
        models.quieten_libraries()
        self._set_up()

    def _set_up(self) -> None:
        """Model, clips, plan: everything that can refuse the job before time is spent on it."""
        attempt = self.attempt
        attempt.phase("model", "Loading the model")
        if self._adopted:
            attempt.warn("start_adapter", self._adopted)
        if self.ranks.is_first:
            self._write_config()
        config = families.read_config(self.spec.model_path)
        self.family = families.family_of(config, self.spec.task)
        models.seed_everything(self.train.optimization.seed)
        self._set_threads()
        self.task = models.make_task(self.spec, self.family, config)
        self._set_up_clap()
        base = models.load_base(self.spec, self.family, self.device)
        attempt.phase("data", "Reading the clips")
        self.clips = self._read_clips()
        self._warn_about_clips(self.clips)
        for code, message in self.task.prepare(base, self.clips):
            attempt.warn(code, message)
        self.store = FeatureStore(self.task, n_sharing=self.ranks.size)
        if self.train.augmentation is not None and self.train.augmentation.is_on:
            self.variation = Variation(
                self.train.augmentation,
                sample_rate=self.task.sampling_rate,
                seed=self.train.optimization.seed,
            )
        if isinstance(self.task, WhisperTask):
            self.task.set_language(base, [self.store.features(clip) for clip in self.clips.train[:8]])
        self._warn_if_not_packed(base)
        if self.spec.start_path is not None:
            start.refuse_other_targets(self.spec.start_path, self.task)
        self.model = models.make_trainable(base, self.spec, self.family)
        if not self.ranks.is_alone:
            models.refuse_batch_norms(self.model, self.spec)
        if self.train.optimization.mode == "fast" and self.task.speed_up(self.model):
            self.store.clear()
        if self.train.optimization.gradient_checkpointing:
            self._turn_on_checkpointing(base)
        self.plan = self._make_plan()
        self.evaluator = self._make_evaluator()

    def _set_threads(self) -> None:
        """As many threads as asked for; several processes on one processor share its cores."""
        if self.spec.threads:
            torch.set_num_threads(self.spec.threads)
        elif not self.ranks.is_alone:
            torch.set_num_threads(max(1, torch.get_num_threads() // self.ranks.size))

    def _read_clips(self) -> ClipSets:
        return self.task.read_clips(self.spec.clips_path)

    def _set_up_clap(self) -> None:
        if not isinstance(self.task, SoundTask):
            return
        if self.spec.clap_path is not None:
            self.task.use_clap(self.spec.clap_path)
        else:
            print("CLAP scores are not measured: QLORA_STUDIO_CLAP_MODEL names no model.", flush=True)

    def _warn_if_not_packed(self, base: Any) -> None:
        if self.train.training_type is TrainingType.QLORA and not quantised_layers(base):
            message = "No layer of this model has a shape that fits 4 bits; it trains as LoRA in 32 bits."
            self.attempt.warn("not_4_bit", message)

    def _write_config(self) -> None:
        """Leave the parameters readable beside the result, in the form the command line takes."""
        text = yaml.safe_dump(self.train.model_dump(mode="json"), sort_keys=False)
        atomic.write_text(self.spec.run_path / "config.yaml", text)

    def _warn_about_clips(self, clips: ClipSets) -> None:
        for reason, count in clips.dropped.items():
            self.attempt.warn("clips_left_out", f"{count} clips are left out: {reason}.")
        if not clips.validation:
            self.attempt.warn("no_validation", "There is no validation clip, so quality is not measured.")

    def _turn_on_checkpointing(self, base: Any) -> None:
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})

    def _make_plan(self) -> Plan:
        optimization = self.train.optimization
        n_batches = math.ceil(len(self.clips.train) / optimization.batch_size)
        steps_per_epoch = math.ceil(n_batches / optimization.gradient_accumulation)
        epochs = optimization.epochs or self.task.preset_epochs
        total = optimization.max_steps or max(1, math.ceil(epochs * steps_per_epoch))
        eval_every = self.train.evaluation.every_steps or max(1, total // EVALUATIONS_A_RUN)
        save_every = self.train.evaluation.save_every_steps or eval_every
        return Plan(total, steps_per_epoch, eval_every, save_every)

    def _make_evaluator(self) -> Evaluator | None:
        if not self.clips.validation:
            return None
        return Evaluator(self.task, self.store, self.clips.validation, **self._evaluator_settings())

    def _evaluator_settings(self) -> dict[str, Any]:
        return {
            "batch_size": self.train.optimization.batch_size,
            "check": self.attempt.stop.raise_if_requested,
            "n_samples": self.train.evaluation.n_samples,
        }

    def make_trainer(self) -> StudioSteps:
        optimization = self.train.optimization
        clips = self.clips.train
        self.reporter = StepReporter(self.attempt, self.plan, self.state, self.evaluator, metric=self.metric)
        lengths = [self.task.length_of(clip) for clip in clips]
        is_bucketed = optimization.mode == "fast" and self.task.gains_from_buckets
        trainer = StudioTrainer(
            model=self.model,
            args=training_arguments(
                optimization,
                output_path=self.spec.attempt_path / "trainer",
                total_steps=self.plan.total_steps,
                device=self.device,
            ),
            train_dataset=Indexed(len(clips), lambda index: clips[index]),
            data_collator=self._collate,
            buckets=LengthBuckets(lengths, optimization.batch_size, seed=optimization.seed)
            if is_bucketed
            else None,
            after_step=self._after_step_of_all,
            count_batch=self._count_batch,
            before_epoch=self.variation.set_epoch if self.variation else lambda _: None,
            loss=self.task.loss if self.task.has_own_loss else None,
            ranks=self.ranks,
            weigh=self.task.weight_of,
            cut=self.task.pieces,
        )
        self.reporter.trainer = trainer
        return trainer

    def _after_step_of_all(self, step: int, values: dict[str, float]) -> bool:
        """The first process reports, measures, saves and says whether it is over; the others wait for it."""
        self.attempt.heartbeat.step = step
        return self.ranks.agree(self.ranks.is_first and self._after_step(step, values))

    def _after_step(self, step: int, values: dict[str, float]) -> bool:
        return self.reporter.after_step(step, values)

    def _collate(self, clips: Sequence[ClipItem]) -> Batch:
        self._batches.append((len(clips), sum(clip.duration_s for clip in clips)))
        return self.store.training_batch(clips, vary=self.variation)

    def _count_batch(self) -> tuple[int, float]:
        return self._batches.popleft()

    def _has_base(self) -> bool:
        """Random weights are no base to compare with."""
        return families.has_weights(self.spec.model_path)

    def _measure_base(self) -> None:
        assert self.evaluator is not None
        n_clips = len(self.evaluator.clips)
        self.attempt.phase("baseline", f"Measuring the base model on {n_clips} held-out clips")
        with self._plain_base():
            outcome = self.evaluator.measure(self.model, full=True)
        self.state.base_values = outcome.values
        self.reporter.report_evaluation(0, outcome, is_base=True)
        print(f"base model: {describe(outcome.values)}", flush=True)

    def _plain_base(self) -> AbstractContextManager[Any]:
        """The model without what it starts from; a fresh adapter changes nothing yet."""
        return self.model.disable_adapter() if self.spec.start_path is not None else nullcontext()

    def comparable_base_loss(self) -> float | None:
        """The held-out loss of the untrained model, where it is of the same kind as that of a training batch.

        None where it is not known: of an adapter to train on only the base was measured.
        """
        return None if self.spec.start_path is not None else self.state.base_values.get("loss")

    def make_certifier(self) -> Certifier:
        """Return what compares the run's adapter with its base."""
        return run_checks.make_certifier(self)

    # After the last step

    def _finish(self, step: int) -> ResultFile:
        self.reporter.checkpoints.wait()
        total = self.plan.total_steps
        if self.attempt.stop.is_requested() and (step < total or self._is_unmeasured(step)):
            self._save_where_it_stopped(step)
            told = f"Stopped at step {step} of {total}; the result up to there is kept."
            return self._keep(step, step, stopped=told)
        used_step, told = step, ""
        try:
            if self._is_unmeasured(step):  # of a resumed run that was stopped when only this was left
                self.reporter.evaluate(step)
            used_step = self._go_back_to_best(step)
            self._measure_final(used_step, step)
        except StopRequested:
            told = "Stopped while the result was measured; it is kept. Resume to measure it in full."
        return self._keep(used_step, step, stopped=told)

    def _is_unmeasured(self, step: int) -> bool:
        """Whether the step a run ends with was not looked at, as the last one always is."""
        return self.evaluator is not None and self.state.last_eval_step != step

    def _save_where_it_stopped(self, step: int) -> None:
        is_there = checkpoints.find_step(self.attempt.checkpoints_path, step) is not None
        if self.attempt.stop.mode is not StopMode.KILL and not is_there:
            self.reporter.save(step)
            self.reporter.checkpoints.wait()

    def _keep(self, used_step: int, step: int, *, stopped: str) -> ResultFile:
        """Save the model as it is; `stopped` tells how somebody ended the run before its time, if so."""
        if stopped and self.attempt.stop.mode is StopMode.KILL:
            return self._result(ExitReason.USER_STOP, "Stopped without saving.", step, None)
        run_checks.certify(self, used_step, is_stopped=bool(stopped))
        self.attempt.events.emit("phase", name="saving", label="Saving the result")
        extra = self.save_result(used_step)
        if stopped:
            return self._result(ExitReason.USER_STOP, stopped, step, extra)
        message = (
            "Finished." if used_step == step else f"Finished. Step {used_step} was the best and is kept."
        )
        return self._result(ExitReason.OK, message, step, extra)

    def _go_back_to_best(self, step: int) -> int:
        """Put the best evaluated weights back, if an earlier step was better; returns the step in use."""
        best_step = self.state.best_step
        if best_step is None or best_step == step:
            return step
        best = checkpoints.find_step(self.attempt.checkpoints_path, best_step)
        if best is None:
            self.attempt.warn(
                "best_lost", f"The best checkpoint (step {best_step}) is damaged; the last is kept."
            )
            return step
        state_files.load_model(self.model, best.path)
        kept = RunState.from_json(best.state["run"])
        self.state.last_values, self.state.last_report = kept.last_values, kept.last_report
        self.state.last_files = kept.last_files
        return best_step

    def _measure_final(self, used_step: int, step: int) -> None:
        """Measure the kept weights on all held-out clips, unless that is what was done already."""
        if self.evaluator is None or (not self.evaluator.is_sampled and self.state.last_eval_step >= 0):
            return
        self.attempt.phase("final", f"Measuring the result on {len(self.evaluator.clips)} held-out clips")
        outcome: Outcome = self.evaluator.measure(self.model, full=True)
        self.state.last_values, self.state.last_report = outcome.values, outcome.report
        self.state.last_files = outcome.files
        self.reporter.kept[used_step] = outcome
        if used_step == step:
            self.reporter.report_evaluation(step, outcome, is_best=True)

    def save_result(self, step: int) -> dict[str, Any]:
        facts = self._facts(step)
        try:
            saving.save_held_out(self.spec.run_path, self.state.last_files)
            if self.is_pretraining:
                target = self.spec.run_path / "model"
                saving.save_whole_model(self.model, self.task, target, card=f"# {self.train.name}\n")
                return {"model_path": str(target), **facts}
            saving.save_adapter(self.model, self.task, self.spec, self.attempt.adapter_path, facts=facts)
            return {"adapter_path": str(self.attempt.adapter_path), **facts}
        except Exception as error:
            n_bytes = sum(p.numel() * 4 for p in self.model.parameters() if p.requires_grad)
            saving.raise_disk_full(error, self.attempt, needed=n_bytes)
            raise

    def _facts(self, step: int) -> dict[str, Any]:
        train = self.clips.train
        return {
            "job_id": self.spec.job_id,
            "model_hash": self.spec.model_hash,
            "dataset_version": self.spec.dataset_version,
            "dataset_hash": self.spec.dataset_hash,
            **start.lineage(self.spec),
            "step": step,
            "n_train": len(train),
            "n_validation": len(self.clips.validation),
            "train_hours": sum(clip.duration_s for clip in train) / 3600,
            "metrics": dict(self.state.last_values),
            "base_metrics": dict(self.state.base_values),
            **({"probe": self.state.probe} if self.state.probe else {}),
            **({"certificate": self.certificate.model_dump(mode="json")} if self.certificate else {}),
            **self.state.last_report,
        }

    def _result(
        self, reason: ExitReason, message: str, step: int, saved: dict[str, Any] | None
    ) -> ResultFile:
        saved = saved or {}
        keys = ("model_path", "step", "n_train", "n_validation", "train_hours", "probe", "certificate")
        keys += tuple(self.state.last_report)
        extra = {{"step": "adapter_step"}.get(key, key): saved[key] for key in keys if key in saved}
        print(f"{message} {describe(self.state.last_values)}", flush=True)
        return ResultFile(
            reason=reason,
            message=message,
            step=step,
            adapter_path=saved.get("adapter_path"),
            metrics=self.state.last_values,
            base_metrics=self.state.base_values,
            best_step=self.state.best_step,
            samples_per_s=self.state.samples_per_s,
            extra=extra,
        )
