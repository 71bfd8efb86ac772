"""transformers' Trainer, with this project's checkpoints, events and order of clips."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from qlora_studio.contracts.spec import OptimizationSpec
from qlora_studio.storage.checkpoints import Checkpoint
from qlora_studio.training import state_files
from qlora_studio.training.batches import EpochLoader, LengthBuckets
from qlora_studio.training.failures import NotANumber
from qlora_studio.training.ranks import ALONE, Ranks


class StudioSteps(Trainer):
    """Steps are the trainer's that it is mixed with; saving, resuming and what happens between them are ours.

    Args:
        buckets: our own order of batches, or None for the stock random order.
        after_step: called after each optimiser step with its numbers; returns True to end the training.
        count_batch: gives (clips, seconds of audio) of the next batch to train on; the loader is ahead of it.
        before_epoch: called with the epoch's number before its first batch is made, also when resuming in it.
        loss: makes the loss from model and batch, where it is not what the model's forward pass returns.
        weigh: how much a batch's loss counts in its step: what it is a mean over. So accumulated batches,
            pieces and shares of other processes add up to what one large batch would have given. None leaves
            it to the stock trainer, which counts all batches alike.
        cut: the pieces in which a batch goes through the model.
        ranks: the processes that share each batch.
    """

    step_values: tuple[str, ...] = ("loss", "learning_rate", "grad_norm")

    def __init__(
        self,
        *,
        buckets: LengthBuckets | None,
        after_step: Callable[[int, dict[str, float]], bool],
        count_batch: Callable[[], tuple[int, float]],
        before_epoch: Callable[[int], None] = lambda _: None,
        loss: Callable[[Any, Any], Any] | None = None,
        weigh: Callable[[Any], float] | None = None,
        cut: Callable[[Any], list[Any]] = lambda batch: [batch],
        ranks: Ranks = ALONE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._own_loss = loss
        if weigh is not None:
            # The library would count for the models that say they take its count, most of which ignore it.
            self.model_accepts_loss_kwargs, self.loss_is_scaled_for_ga = False, True
        self._ranks, self._weigh, self._cut = ranks, weigh, cut
        self._step_weight, self._weight = 1.0, 1.0  # of all batches of a step; of a piece in it
        self._part = 0  # which batch of the step it is
        self._buckets = buckets
        self._after_step = after_step
        self._count_batch = count_batch
        self._before_epoch = before_epoch
        self._resume: Checkpoint | None = None
        self._share_at: Callable[[int], float] | None = None
        self._last_log: dict[str, float] = {}
        self._step_started = 0.0
        self._n_clips, self._audio_s = 0, 0.0
        self._handled_step = -1
        for printing in (PrinterCallback, ProgressCallback):
            self.remove_callback(printing)
        self.add_callback(_Clock(self))

    def get_train_dataloader(self) -> Any:
        if self._buckets is None:
            return super().get_train_dataloader()
        return EpochLoader(
            self.train_dataset,  # type: ignore[arg-type]
            batch_sampler=self._buckets,
            collate_fn=self.data_collator,
            pin_memory=self.args.device.type == "cuda",
        )

    def follow_rates(self, share_at: Callable[[int], float]) -> None:
        """Let the learning rate be `share_at(step)` of its largest, steps counted from 0."""
        self._share_at = share_at

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        if self._share_at is None:
            return super().create_scheduler(num_training_steps, optimizer)
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, self._share_at)  # type: ignore[arg-type]
        return self.lr_scheduler

    def start(self, resume: Checkpoint | None) -> None:
        """Train from the beginning or from a checkpoint to the last step (or until `after_step` says so)."""
        self._resume = resume
        self.train(resume_from_checkpoint=str(resume.path) if resume else None)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        batches, n_items = super().get_batch_samples(*args, **kwargs)
        if self._weigh is not None:
            self._step_weight = max(sum(map(self._weigh, batches)), 1e-9)
        return batches, n_items

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        n_clips, audio_s = self._count_batch()
        self._n_clips, self._audio_s = self._n_clips + n_clips, self._audio_s + audio_s
        if self._weigh is None:
            return super().training_step(model, inputs, num_items_in_batch)
        return self._weighed_step(model, inputs, self._weigh)

    def _weighed_step(self, model: Any, inputs: Any, weigh: Callable[[Any], float]) -> Any:
        """Learn from this process's share of a batch, in pieces; return what the batch adds to the loss."""
        own, has_rows = self._ranks.share(inputs)
        loss = torch.zeros((), device=self.args.device)
        with self._ranks.own_randomness(self.args.seed, self.state.global_step, self._part):
            for piece in self._cut(own):
                self._weight = weigh(piece) / self._step_weight if has_rows else 0.0
                loss += super().training_step(model, piece)
        self._part += 1
        if self.accelerator.sync_gradients:  # the last batch of the step
            self._part = 0
            self._ranks.sum_gradients(model.parameters())
        return self._ranks.sum_of(loss)

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if self._weigh is None:
            return super().compute_loss(model, inputs, *args, **kwargs)
        own = self._own_loss
        loss = own(model, inputs) if own else super().compute_loss(model, inputs, *args, **kwargs)
        return loss * self._weight

    # Logging: the stock trainer hands its numbers over here, once a step.

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        self._last_log = logs

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        super()._maybe_log_save_evaluate(*args, **kwargs)
        step = self.state.global_step
        if step in (self._handled_step, 0):
            return  # the stock loop calls once more at the end of an epoch
        self._handled_step = step
        values = self._numbers_of_step(step)
        if self._after_step(step, values):
            self.control.should_training_stop = True
        self._step_started = time.perf_counter()

    def _numbers_of_step(self, step: int) -> dict[str, float]:
        values = {key: float(self._last_log[key]) for key in self.step_values}
        n_clips, audio_s = self._n_clips, self._audio_s
        self._n_clips, self._audio_s = 0, 0.0
        took_s = max(time.perf_counter() - self._step_started, 1e-9)
        values |= {"samples_per_s": n_clips / took_s, "audio_s_per_s": audio_s / took_s}
        return values | {"n_clips": float(n_clips), "step_s": took_s}

    # Checkpoints: ours, verified and without pickles.

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        state_files.load_model(model or self.model, Path(resume_from_checkpoint))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if self._resume is None:
            return
        trainer = self._resume.state["trainer"]
        state_files.load_optimizer(self.optimizer, self._resume.path, trainer["optimizer"])  # type: ignore[arg-type]
        scheduler = dict(trainer["scheduler"])
        if hasattr(self.lr_scheduler, "lr_lambdas"):  # functions, made anew from the spec
            scheduler["lr_lambdas"] = [None] * len(self.lr_scheduler.lr_lambdas)  # type: ignore[union-attr]
        self.lr_scheduler.load_state_dict(scheduler)  # type: ignore[union-attr]

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if self._resume is not None:
            state_files.load_random(self._resume.path, self._resume.state["trainer"]["random"])

    def _load_callback_state(self) -> None:
        """Nothing: a stored "should stop" must not stop the resumed run."""


class StudioTrainer(StudioSteps):
    """Supervised training, with the stock trainer's steps."""


class _Clock(TrainerCallback):
    """Starts the first step's clock when the loop starts, not when the trainer is made; tells of epochs."""

    def __init__(self, trainer: StudioSteps) -> None:
        self._trainer = trainer

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._trainer._ranks.copy_from_first(state_files.trained_tensors(self._trainer.model).values())
        self._trainer._step_started = time.perf_counter()

    def on_epoch_begin(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
        self._trainer._before_epoch(int(state.epoch or 0))  # a whole number, or within the one resumed in


def raise_if_not_a_number(
    step: int, values: dict[str, float], find_last_good: Callable[[], int | None]
) -> None:
    """Raise `NotANumber` when the loss or the gradient of a step is not finite.

    Args:
        find_last_good: gives the step of the newest checkpoint, or None.
    """
    bad = next((key for key in ("loss", "grad_norm") if not math.isfinite(values[key])), None)
    if bad is None:
        return
    what = "loss" if bad == "loss" else "gradient"
    last_good = find_last_good()
    kept = f"The checkpoint of step {last_good} is good: " if last_good else "There is no checkpoint yet: "
    raise NotANumber(
        f"The {what} is not a number at step {step}. {kept}lower the learning rate and try again."
    )


def training_arguments(
    spec: OptimizationSpec,
    *,
    output_path: Path,
    total_steps: int,
    device: str,
    make: Callable[..., Any] = TrainingArguments,
    **more: Any,
) -> Any:
    """Translate a spec. Evaluation, saving and reporting are ours, so the stock ones are off.

    Args:
        make: the class of the arguments; `more` goes to it as it is.
    """
    return make(
        output_dir=str(output_path),
        per_device_train_batch_size=spec.batch_size,
        gradient_accumulation_steps=spec.gradient_accumulation,
        max_steps=total_steps,
        learning_rate=spec.learning_rate,
        lr_scheduler_type="constant" if spec.scheduler == "range_test" else spec.scheduler,
        warmup_steps=warmup_steps(spec, total_steps),
        weight_decay=spec.weight_decay,
        max_grad_norm=spec.max_grad_norm,
        seed=spec.seed,
        bf16=False,  # layers in 16 bits see to that by themselves, the same way in training and elsewhere
        use_cpu=device == "cpu",
        dataloader_pin_memory=device == "cuda",
        remove_unused_columns=False,
        label_names=["labels"],
        logging_steps=1,
        logging_nan_inf_filter=False,
        eval_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        log_level="error",
        **more,
    )


def warmup_steps(spec: OptimizationSpec, total_steps: int) -> int:
    """Steps until the full learning rate; plain "constant" has none by its nature."""
    return 0 if spec.scheduler in ("constant", "range_test") else math.ceil(spec.warmup_ratio * total_steps)
