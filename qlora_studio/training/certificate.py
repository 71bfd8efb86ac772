"""The effect certificate: what the adapter of a run does to its base model.

Three looks, none of which trusts the training loss: how far the weights moved, how far the outputs moved on
held-out clips, and whether these outputs are better by more than chance. A fourth tells whether the model
listens at all: when two clips swap their targets, the loss of a model that hears them rises. An adapter that
has only learnt what targets look like (the commonest class, the usual words) does not mind, and a lower loss
is then no improvement. Dataset rows that slipped by one are found like this.
"""

import itertools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from qlora_studio.contracts.certificate import Certificate, Comparison, OutputMoves
from qlora_studio.contracts.spec import ClipItem
from qlora_studio.training import comparing
from qlora_studio.training.evaluation import Outcome, as_it_was, spread, to_device
from qlora_studio.training.feature_store import FeatureStore
from qlora_studio.training.tasks.base import AudioTask, Batch
from qlora_studio.training.verdicts import Findings, decide
from qlora_studio.training.weight_moves import weight_moves

N_CLIPS = 32
_BUDGET_S = 60.0
_MIN_PAIRS = 6


class Look(NamedTuple):
    """One clip and one target through the model: its loss and its last layer."""

    loss: float
    signal: torch.Tensor


class Losses(NamedTuple):
    """Losses of single clips with their own targets, and what swapping two clips' targets adds to them."""

    own: list[float]
    extra: list[float]


class Certifier:
    """Compares a `PeftModel` with its own base, which is the same model with the adapter switched off.

    Args:
        clips: held-out clips; `N_CLIPS` of them are looked at one by one.
        check: called before each clip; may raise `StopRequested`.
    """

    def __init__(
        self,
        task: AudioTask,
        store: FeatureStore,
        clips: Sequence[ClipItem],
        *,
        check: Callable[[], None],
    ) -> None:
        self._task = task
        self._store = store
        self._clips = list(clips)
        self._check = check

    def certify(
        self, model: Any, before: Outcome | None, after: Outcome | None, *, metric: str
    ) -> Certificate:
        """Return the certificate of the model as it is now.

        Args:
            before: the base model's outputs on the held-out clips, None if there are none to compare.
            after: the adapter's outputs on the same clips.
            metric: name of the figure that decides.
        """
        weights = weight_moves(model)
        if before is None or after is None or weights.n_not_finite:
            return decide(Findings(weights, metric=metric))
        with as_it_was(model), torch.no_grad():
            base, adapted, change = self._listen(model)
        return decide(
            Findings(
                weights,
                metric=metric,
                values_before=before.values,
                values_after=after.values,
                outputs=self._output_moves(before, after, change),
                has_collapsed=self._has_collapsed(before, after),
                error=self._compare_errors(before, after),
                loss=_compare_finite(base.own, adapted.own),
                pairing=comparing.pairing(base.extra, adapted.extra),
                is_loss_finite=_is_as_finite(base.own, adapted.own),
                needs_pairing=self._task.must_listen,
            )
        )

    # Clip by clip: a batch of one has no padding that could weigh in.

    def _listen(self, model: Any) -> tuple[Losses, Losses, float | None]:
        """Losses of base and adapter on single clips, and the mean relative change of the last layer."""
        base, adapted = Losses([], []), Losses([], [])
        changes: list[float] = []
        started = time.monotonic()
        for pair in self._pairs():
            if time.monotonic() - started > _BUDGET_S and len(adapted.own) >= 2 * _MIN_PAIRS:
                break
            self._check()
            with model.disable_adapter():
                before = self._look_at(model, pair)
            after = self._look_at(model, pair)
            base.own.extend(look.loss for look in before[: len(pair)])
            adapted.own.extend(look.loss for look in after[: len(pair)])
            extra = _swap_costs(before), _swap_costs(after)
            if all(map(math.isfinite, extra)):
                base.extra.append(extra[0])
                adapted.extra.append(extra[1])
            changes += [_change(b.signal, a.signal) for b, a in zip(before, after, strict=True)][: len(pair)]
        finite = [value for value in changes if math.isfinite(value)]
        return base, adapted, sum(finite) / len(finite) if finite else None

    def _look_at(self, model: Any, pair: Sequence[ClipItem]) -> list[Look]:
        """Looks at each clip with its own target and, for two clips, then at each with the other's."""
        own = [(clip, clip) for clip in pair]
        swapped = [(pair[0], pair[1]), (pair[1], pair[0])] if len(pair) == 2 else []
        return [self._look(model, self._store.cross(*both)) for both in own + swapped]

    def _look(self, model: Any, batch: Batch) -> Look:
        kept: list[torch.Tensor] = []

        def keep(_module: Any, _inputs: Any, output: Any) -> None:
            kept.append(_signal_of(output).detach().float().cpu())

        hook = model.register_forward_hook(keep)
        try:
            loss = float(self._task.steady_loss(model, to_device(batch, model.device)))
        finally:
            hook.remove()
        return Look(loss, kept[-1])

    def _pairs(self) -> list[tuple[ClipItem, ...]]:
        """Neighbours by length with different targets, each clip at most once; the rest stays alone.

        Swapped in both directions, whatever a clip or a target costs by itself cancels out.
        """
        parts = [part for clip in self._clips for part in self._task.parts(clip)]
        left = spread(parts, N_CLIPS)
        pairs: list[tuple[ClipItem, ...]] = []
        while left:
            clip = left.pop(0)
            target = self._task.target(clip)
            other = next((c for c in left if self._task.target(c) != target), None)
            if other is None or not self._task.can_swap_targets:
                pairs.append((clip,))
            else:
                left.remove(other)
                pairs.append((clip, other))
        return _from_all_lengths(sorted(pairs, key=lambda pair: -len(pair)))

    # All held-out clips

    def _compare_errors(self, before: Outcome, after: Outcome) -> Comparison | None:
        errors = [
            (
                self._task.error(target, before.outputs[clip.id]),
                self._task.error(target, after.outputs[clip.id]),
            )
            for clip in self._clips
            for target in (self._task.target(clip),)
        ]
        known = [(b, a) for b, a in errors if b is not None and a is not None]
        return comparing.compare([b for b, _ in known], [a for _, a in known])

    def _output_moves(self, before: Outcome, after: Outcome, change: float | None) -> OutputMoves:
        n_clips = len(self._clips)
        changed = sum(before.outputs[c.id].text != after.outputs[c.id].text for c in self._clips)
        return OutputMoves(
            n_clips=n_clips,
            changed=None if self._task.makes_sound else changed / n_clips,
            broken=self._share_broken(after),
            base_broken=self._share_broken(before),
            change=change,
        )

    def _share_broken(self, outcome: Outcome) -> float:
        broken = (self._task.is_broken(self._task.target(c), outcome.outputs[c.id]) for c in self._clips)
        return sum(broken) / len(self._clips)

    def _has_collapsed(self, before: Outcome, after: Outcome) -> bool:
        """Whether the adapter gives one and the same output for every clip, and the base did not."""
        targets = {self._task.target(clip) for clip in self._clips}
        old, new = ({o.outputs[c.id].text for c in self._clips} for o in (before, after))
        return len(new) == 1 < min(len(old), len(targets))


def _from_all_lengths(pairs: list[tuple[ClipItem, ...]]) -> list[tuple[ClipItem, ...]]:
    """Every other pair first, so that a time limit does not leave out all the long clips."""
    return list(itertools.chain(pairs[::2], pairs[1::2]))


def _swap_costs(looks: list[Look]) -> float:
    """What swapping two clips' targets adds to their losses, in the mean.

    Not a number where nothing was swapped, or a loss is infinite (of CTC it may be: see `CtcTask`).
    """
    values = [look.loss for look in looks]
    return (values[2] + values[3] - values[0] - values[1]) / 2 if len(values) == 4 else math.nan


def _signal_of(output: Any) -> torch.Tensor:
    """What the last layer gave: logits, or a spectrogram."""
    found = getattr(output, "logits", None)
    return found if found is not None else output.spectrogram


def _change(before: torch.Tensor, after: torch.Tensor) -> float:
    """The norm of the difference over the norm of `before`, each without its mean along the last axis."""
    n_steps = min(before.shape[-2], after.shape[-2]) if before.ndim > 1 else before.shape[-1]
    old, new = (t[..., :n_steps, :] if t.ndim > 1 else t for t in (before, after))
    old, new = (t - t.mean(dim=-1, keepdim=True) for t in (old, new))
    return float((new - old).norm() / old.norm().clamp_min(1e-12))


def _is_as_finite(before: list[float], after: list[float]) -> bool:
    """Whether each loss that was a number still is one."""
    return all(math.isfinite(a) for b, a in zip(before, after, strict=True) if math.isfinite(b))


def _compare_finite(before: list[float], after: list[float]) -> Comparison | None:
    both = [(b, a) for b, a in zip(before, after, strict=True) if math.isfinite(b) and math.isfinite(a)]
    return comparing.compare([b for b, _ in both], [a for _, a in both])
