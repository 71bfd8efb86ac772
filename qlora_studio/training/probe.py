"""The sanity probe: before the first step, a minute at most to see whether the job can learn at all.

A wrong label layout, targets that no gradient reaches, or answers that slipped by one row are found now
instead of after the night. Afterwards every weight and random state is what it was: a job with the probe
gives the same bytes as one without.

What it cannot see: any few clips can be learnt by heart, with wrong answers too. Where the base model hears
already, wrong answers show in the losses of neighbours (`Slip`); where the head is new or the weights are
random they show only at the end, in the effect certificate.
"""

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psutil
import torch

from qlora_studio.contracts.probe import GradientReach, OverfitTry, ProbeReport, Slip
from qlora_studio.contracts.spec import ClipItem
from qlora_studio.training import comparing
from qlora_studio.training.evaluation import as_it_was, spread, to_device
from qlora_studio.training.feature_store import FeatureStore
from qlora_studio.training.probe_findings import judge
from qlora_studio.training.state_files import trained_tensors
from qlora_studio.training.tasks.base import AudioTask, Batch

MAX_BATCH = 4
LEARNING_RATES = (2e-3, 1e-2, 5e-2)  # one that is right for a small layer may be nothing for a large one
STEPS = 10
CLEAR_FALL = 0.02  # of the loss of the batch, which has no noise: nothing in it is random
MIN_STEPS = 4  # fewer say nothing
READ_CLIPS = 20
SLIP_CLIPS = 20
USUAL_CLIPS = 9
_OVERFIT_S, _SLIP_S, _USUAL_S = 30.0, 15.0, 5.0
_SLIP_P, _SLIP_FALL = 0.01, 0.1
_N_NAMED = 10
_MASK = "masked_spec_embed"


class Prober:
    """Tries a model out on a few training clips.

    Args:
        clips: the training clips, in the dataset's order.
        batch_size: the job's own; `MAX_BATCH` at most are used.
        is_checkpointed: whether the job trades time for memory: then the model has to be in training mode.
        reach: how far the job itself may move a weight: its learning rates summed over all steps.
        check: called before each pass through the model; may raise `StopRequested`.
    """

    def __init__(
        self,
        task: AudioTask,
        store: FeatureStore,
        clips: Sequence[ClipItem],
        *,
        batch_size: int,
        is_checkpointed: bool,
        reach: float,
        check: Callable[[], None],
    ) -> None:
        self._task = task
        self._store = store
        self._clips = clips
        self._batch_size = min(batch_size, MAX_BATCH)
        self._is_checkpointed = is_checkpointed
        self._reach = reach
        self._check = check

    def probe(self, model: Any, *, base_loss: float | None = None) -> ProbeReport:
        """Look, try, put everything back, and say what was found."""
        started = time.monotonic()
        report = ProbeReport(
            expected=self._task.expected_first_loss(), chance=self._task.chance_loss(), base_loss=base_loss
        )
        report.misread = self._misread()
        if report.misread:
            return judge(report, reach=self._reach)
        batch = to_device(self._store.batch(self._choose()), model.device)
        with as_it_was(model), _statistics_put_back(model):
            model.train(self._is_checkpointed)
            first = self._learn_step(model, batch)
            report.first_loss = first if math.isfinite(first) else None
            report.train_loss = self._usual_loss(model) if base_loss is not None else None
            report.gradient = gradient_reach(model)
            model.zero_grad(set_to_none=True)
            if report.first_loss is not None and report.gradient.n_reached:
                report.overfit = self._overfit(model, batch)
                report.slip = self._look_for_slip(model)
        report.seconds = time.monotonic() - started
        return judge(report, reach=self._reach)

    def _misread(self) -> str:
        """Return a target whose labels read back as something else, if that is so of most; else nothing."""
        wrong = []
        looked_at = spread(self._clips, READ_CLIPS)
        for clip in looked_at:
            target = self._task.target(clip)
            found = self._task.decode(self._store.labels(clip))
            if found is not None and letters(found) != letters(self._task.fit_target(target)):
                wrong.append(f"“{target[:60]}” reads “{found[:60]}”")
        return wrong[0] if 2 * len(wrong) > len(looked_at) else ""

    def _choose(self) -> list[ClipItem]:
        """A few clips of the shorter half, with different targets where there are such."""
        ordered = spread(self._clips, len(self._clips))
        half = ordered[: max(self._batch_size, (len(ordered) + 1) // 2)]
        by_target = {self._task.target(clip): clip for clip in reversed(half)}
        different = spread(list(by_target.values()), self._batch_size)
        return different if len(different) > 1 else spread(half, self._batch_size)

    def _learn_step(self, model: Any, batch: Batch) -> float:
        """Loss of the batch; its gradients are left on the parameters."""
        self._check()
        loss = self._task.steady_loss(model, batch)
        if loss.requires_grad:
            loss.backward()
        return float(loss.detach())

    # One batch by heart

    def _overfit(self, model: Any, batch: Batch) -> OverfitTry | None:
        """Try rates until one makes the loss fall clearly; None without memory for a copy of the weights."""
        n_bytes = sum(t.numel() * t.element_size() for t in trained_tensors(model).values())
        if 4 * n_bytes > psutil.virtual_memory().available:  # the copy, the gradients and Adam's two moments
            return None
        deadline = time.monotonic() + _OVERFIT_S
        best: OverfitTry | None = None
        for learning_rate in LEARNING_RATES:
            with _weights_put_back(model):
                found = self._try_rate(model, batch, learning_rate, deadline)
            if best is None or found.after < best.after:
                best = found
            if best.is_clear or time.monotonic() > deadline:
                break
        return best

    def _try_rate(self, model: Any, batch: Batch, learning_rate: float, deadline: float) -> OverfitTry:
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=0.0)
        losses: list[float] = []
        while len(losses) <= STEPS and (time.monotonic() < deadline or not losses):
            losses.append(self._learn_step(model, batch))
            if _is_clear(losses):
                break
            optimizer.step()
            model.zero_grad(set_to_none=True)
        known = [loss for loss in losses if math.isfinite(loss)]
        is_clear = _is_clear(losses) or (False if len(losses) > MIN_STEPS else None)
        return OverfitTry(
            before=losses[0],
            after=min(known, default=losses[0]),
            steps=len(losses) - 1,
            learning_rate=learning_rate,
            is_clear=is_clear,
        )

    def _usual_loss(self, model: Any) -> float | None:
        """The median loss of a few clips of all lengths.

        Of one batch it would say little: a CTC loss is by letter, and a clip of one letter has nothing to
        spread an error over.
        """
        deadline = time.monotonic() + _USUAL_S
        found: list[float] = []
        with torch.no_grad():
            for clip in _from_the_middle(spread(self._clips, USUAL_CLIPS)):
                if found and time.monotonic() > deadline:
                    break
                self._check()
                found.append(self._loss_with(model, clip, clip))
        known = [loss for loss in found if math.isfinite(loss)]
        return statistics.median(known) if known else None

    # The answers of the neighbours

    def _look_for_slip(self, model: Any) -> Slip | None:
        """Whether clips fit the answers of the clips before or after them better than their own."""
        clips = self._clips[:SLIP_CLIPS]
        if len(clips) < SLIP_CLIPS // 2 or not self._task.can_swap_targets:
            return None
        rows: list[tuple[float, float, float]] = []
        deadline = time.monotonic() + _SLIP_S
        with torch.no_grad():
            for index, clip in enumerate(clips):
                if time.monotonic() > deadline:
                    break
                self._check()
                beside = (clip, clips[index - 1], clips[(index + 1) % len(clips)])
                own, previous, following = (self._loss_with(model, clip, other) for other in beside)
                rows.append((own, previous, following))
        return _slip_of(rows)

    def _loss_with(self, model: Any, sound: ClipItem, words: ClipItem) -> float:
        batch = to_device(self._store.cross(sound, words), model.device)
        return float(self._task.steady_loss(model, batch))


def _from_the_middle(clips: list[ClipItem]) -> list[ClipItem]:
    """The middle one first, so that a search that is broken off has seen the usual."""
    middle = (len(clips) - 1) / 2
    order = sorted(range(len(clips)), key=lambda index: (abs(index - middle), index))
    return [clips[index] for index in order]


def letters(text: str) -> str:
    """Return what of a text has to survive being made into labels: letters and digits, in any case."""
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def gradient_reach(model: Any) -> GradientReach:
    """Which trained layers have a gradient that is neither missing nor zero nor no number.

    A fresh LoRA has B = 0, so that A's gradient is zero by itself: a layer counts if any of its parameters is
    reached. What stands for masked frames is left out: it is reached only by the steps that mask.
    """
    reached: dict[str, bool] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad or name.endswith(_MASK):
            continue
        layer = _layer_name(name)
        grad = parameter.grad
        is_reached = grad is not None and bool(grad.isfinite().all()) and bool(grad.any())
        reached[layer] = reached.get(layer, False) or is_reached
    missed = [name for name, is_reached in reached.items() if not is_reached]
    return GradientReach(n_layers=len(reached), n_missed=len(missed), missed=missed[:_N_NAMED])


def _layer_name(parameter: str) -> str:
    """`base_model.model.encoder.q_proj.lora_A.default.weight` is of layer `encoder.q_proj`."""
    name = parameter.removeprefix("base_model.model.")
    for mark in (".lora_", ".modules_to_save."):
        name = name.split(mark, 1)[0]
    return name.removesuffix(".weight").removesuffix(".bias")


@contextlib.contextmanager
def _statistics_put_back(model: Any) -> Iterator[None]:
    """Whatever training mode does to running statistics inside is undone."""
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        yield
    finally:
        for name, buffer in model.named_buffers():
            buffer.copy_(kept[name])


@contextlib.contextmanager
def _weights_put_back(model: Any) -> Iterator[None]:
    """Whatever happens to trained weights inside is undone; no gradient is left."""
    kept = {name: tensor.clone() for name, tensor in trained_tensors(model).items()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, tensor in trained_tensors(model).items():
                tensor.copy_(kept[name])
        model.zero_grad(set_to_none=True)


def _is_clear(losses: list[float]) -> bool:
    return math.isfinite(losses[-1]) and losses[-1] < (1 - CLEAR_FALL) * losses[0]


def _slip_of(rows: list[tuple[float, float, float]]) -> Slip | None:
    """Sum up losses with the own, the previous and the following answer.

    A loss that is infinite (a CTC text too long for its clip) counts as the worst of the others. Clips are
    counted, not averaged: some neighbours in the dataset are in another split.
    """
    worst = max((value for row in rows for value in row if math.isfinite(value)), default=math.nan)
    if len(rows) < SLIP_CLIPS // 2 or math.isnan(worst):
        return None
    own, previous, following = ([min(value, worst) for value in column] for column in zip(*rows, strict=True))
    means = {"own": sum(own), "previous": sum(previous), "following": sum(following)}
    slip = Slip(n_clips=len(rows), **{name: value / len(rows) for name, value in means.items()})
    for name, other in (("previous", previous), ("following", following)):
        n_better = sum(o < a for a, o in zip(own, other, strict=True))
        fall = 1 - statistics.median(other) / max(statistics.median(own), 1e-9)
        n_worse = sum(o > a for a, o in zip(own, other, strict=True))
        if comparing.sign_test(n_better, n_better + n_worse) < _SLIP_P and fall > _SLIP_FALL:
            slip.verdict = name  # type: ignore[assignment]
    return slip
