"""Preference tuning by DPO (Rafailov et al. 2023, arXiv:2305.18290), with trl's own trainer.

trl's trainer is made for language models over text. What it really asks of a model is the log-likelihood of
each step of an answer; the tasks here give it that for sound (`SoundTask.log_likelihood`), and the reference
is the same model with its adapter switched off.
"""

import contextlib
import functools
import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.utils import FusedCausalLMOutput

from qlora_studio.contracts.spec import ClipItem, PairItem
from qlora_studio.training import pairs, rehearsal
from qlora_studio.training.callbacks import StepReporter
from qlora_studio.training.certificate import Certifier
from qlora_studio.training.clips import ClipSets
from qlora_studio.training.evaluation import Evaluator
from qlora_studio.training.failures import ModelNotUsable
from qlora_studio.training.loop import TrainingRun
from qlora_studio.training.pair_evaluation import PairCertifier, PairEvaluator
from qlora_studio.training.pairs import PairSets
from qlora_studio.training.tasks.base import Batch, without_adapter_wrapper
from qlora_studio.training.tasks.sounds import SoundTask
from qlora_studio.training.trainer import StudioSteps, training_arguments

dpo_module: Any = sys.modules[DPOTrainer.__module__]
_SOUND = "sound_"  # in front of the names of what the model takes, in a batch for trl
# Of the batches trained on; without `train_` these are held-out figures, and a curve is known by its name.
_TOLD = {"rewards/margins": "train_reward_margin", "rewards/accuracies": "train_reward_accuracy"}


class PreferenceTrainer(StudioSteps, DPOTrainer):
    """trl's DPO trainer on pairs of sounds, with this project's steps.

    Args:
        task: says what the model's sounds and likelihoods are.
    """

    step_values = (*StudioSteps.step_values, *_TOLD.values())

    def __init__(self, *, model: Any, task: SoundTask, **kwargs: Any) -> None:
        before = {name: p.data.clone() for name, p in model.named_parameters() if p.requires_grad}
        with _as_a_text_model(model, task):
            super().__init__(model=model, processing_class=task.processor.tokenizer, **kwargs)
        self.processing_class = None  # training would "align" the model's special tokens with the tokenizer's
        # Only "default" is trained; the reference is the base, so the copy that trl made is not needed.
        if "ref" in model.peft_config:
            model.delete_adapter("ref")
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in before)
            if name in before:
                parameter.data = before[name]  # trl puts adapters of 4-bit models into bfloat16
        _switch_off_dropout(model)

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset  # our collator makes the batches, from the rows' numbers

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        for key, name in _TOLD.items():
            values = self._metrics["train"][key]
            logs[name] = sum(values) / len(values) if values else math.nan
        self._metrics["train"].clear()
        super().log(logs, start_time)


@contextlib.contextmanager
def _as_a_text_model(model: Any, task: SoundTask) -> Iterator[None]:
    """While trl's trainer is made: one text config, and our way to get likelihoods instead of trl's."""
    base = without_adapter_wrapper(model)
    config_class, real_head = type(base.config), dpo_module.add_fused_lm_head
    real_config = config_class.__dict__.get("get_text_config")
    padding = base.generation_config.pad_token_id
    config_class.get_text_config = lambda self, *_, **__: getattr(self, "text_encoder", self)
    dpo_module.add_fused_lm_head = lambda *_, **__: _tell_likelihoods(base, task)
    try:
        yield
    finally:
        dpo_module.add_fused_lm_head = real_head
        if real_config is None:
            del config_class.get_text_config
        else:
            config_class.get_text_config = real_config
        base.generation_config.pad_token_id = padding


def _tell_likelihoods(base: Any, task: SoundTask) -> None:
    """Let the model answer trl's calls with likelihoods; all others as before."""
    plain = base.forward

    @functools.wraps(plain)  # generation looks at what the model's forward pass takes
    def forward(*args: Any, fused_lm_head: bool = False, **kwargs: Any) -> Any:
        if not fused_lm_head:
            return plain(*args, **kwargs)
        batch = {name.removeprefix(_SOUND): v for name, v in kwargs.items() if name.startswith(_SOUND)}
        found = task.log_likelihood(plain, batch)
        nothing = torch.zeros_like(found)
        return FusedCausalLMOutput(
            log_probs=found, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool()
        )

    base.forward = forward


def for_trl(batch: Batch, n_steps: torch.Tensor) -> Batch:
    """A batch of sounds with what trl counts: one made-up token a step and one before.

    Args:
        n_steps: steps of each sound, shape (rows,).
    """
    longest = int(n_steps.max())
    mask = (torch.arange(longest + 1)[None, :] <= n_steps[:, None]).long()
    answer = mask.clone()
    answer[:, 0] = 0
    made_up = {"input_ids": torch.zeros_like(mask), "attention_mask": mask, "completion_mask": answer}
    return {**made_up, **{f"{_SOUND}{name}": value for name, value in batch.items()}}


def _switch_off_dropout(model: torch.nn.Module) -> None:
    """No noise between policy and reference: trl sees to layers, but these models keep rates as numbers."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name in ("dropout", "attention_dropout", "activation_dropout", "layerdrop"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


class PreferenceRun(TrainingRun):
    """One attempt at preference tuning: as any training, but on pairs."""

    def _read_clips(self) -> ClipSets:
        if not isinstance(self.task, SoundTask):
            raise ModelNotUsable("Preference tuning is for text-to-audio models.")
        self.pairs = pairs.read_pairs(self.spec.clips_path, min_s=self.task.min_clip_s)
        return self.pairs.clips()

    def _make_evaluator(self) -> Evaluator | None:
        if not self.pairs.validation:
            return None
        return PairEvaluator(
            self.task,
            self.store,
            self.clips.validation,
            held_out=self.pairs.validation,
            beta=self.train.preference.beta,
            **self._evaluator_settings(),
        )

    def list_clips(self) -> list[ClipItem]:
        return pairs.both([*self.pairs.train, *self.pairs.validation])

    def keep_longest(self, n_clips: int) -> None:
        def length_of(pair: PairItem) -> float:
            return max(pair.chosen_s, pair.rejected_s)

        sets = self.pairs
        train = rehearsal.longest(sets.train, n_clips, length_of)
        self.pairs = PairSets(train, rehearsal.longest(sets.validation, n_clips, length_of), sets.dropped)
        self.clips = self.pairs.clips()
        self.evaluator = self._make_evaluator()

    def comparable_base_loss(self) -> float | None:
        """None: held-out losses are DPO's, those that the probe looks at are of the chosen sounds."""
        return None

    def make_certifier(self) -> Certifier:
        """Return what compares preferences with those of the base."""
        assert isinstance(self.evaluator, PairEvaluator | None)
        return PairCertifier(
            self.task,
            self.store,
            self.clips.validation,
            evaluator=self.evaluator,
            check=self.attempt.stop.raise_if_requested,
        )

    def make_trainer(self) -> StudioSteps:
        from datasets import Dataset

        assert isinstance(self.task, SoundTask)
        optimization = self.train.optimization
        self.reporter = StepReporter(self.attempt, self.plan, self.state, self.evaluator, metric=self.metric)
        trainer = PreferenceTrainer(
            model=self.model,
            task=self.task,
            args=training_arguments(
                optimization,
                output_path=self.spec.attempt_path / "trainer",
                total_steps=self.plan.total_steps,
                device=self.device,
                make=DPOConfig,
                beta=self.train.preference.beta,
                loss_type=[self.train.preference.loss],
                label_smoothing=self.train.preference.label_smoothing,
                max_length=None,
                gradient_checkpointing=optimization.gradient_checkpointing,
                gradient_checkpointing_kwargs={"use_reentrant": False},
                average_tokens_across_devices=False,
            ),
            train_dataset=Dataset.from_dict({"row": list(range(len(self.pairs.train)))}),
            data_collator=self._collate_rows,
            buckets=None,
            after_step=self.reporter.after_step,
            count_batch=self._count_batch,
        )
        self.reporter.trainer = trainer
        return trainer

    def _collate_rows(self, rows: Sequence[dict[str, int]]) -> Batch:
        some = [self.pairs.train[row["row"]] for row in rows]
        clips = pairs.both(some)
        self._batches.append((len(some), sum(clip.duration_s for clip in clips)))
        batch = self.store.batch(clips)
        assert isinstance(self.task, SoundTask)
        return for_trl(batch, self.task.count_steps(batch))
