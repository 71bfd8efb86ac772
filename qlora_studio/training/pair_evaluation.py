"""Held-out pairs: how much more a model prefers the chosen sounds than its base does."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from qlora_studio.contracts.spec import PairItem
from qlora_studio.training import pairs
from qlora_studio.training.batches import sorted_batches
from qlora_studio.training.certificate import Certifier, Losses
from qlora_studio.training.evaluation import Evaluator, Outcome, as_it_was, finite_values, to_device
from qlora_studio.training.tasks.base import Output
from qlora_studio.training.tasks.sounds import SoundTask


class PairEvaluator(Evaluator):
    """Measures preferences on held-out pairs; `clips` are their chosen sounds.

    `reward_margin` is the mean over pairs of beta times the difference of the two log-likelihood ratios to
    the base model, `reward_accuracy` the share of pairs with a margin above 0 (a tie counts half: before
    training all are), `loss` that of DPO, ln 2 before training (Rafailov et al. 2023, arXiv:2305.18290,
    equation 7).
    """

    def __init__(self, *args: Any, held_out: Sequence[PairItem], beta: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pairs = {pair.id: pair for pair in held_out}
        self._beta = beta

    def measure(self, model: Any, *, full: bool) -> Outcome:
        """Evaluate the model as it is now; see `Evaluator.measure`."""
        clips = self.clips if full else self.interim_clips
        with as_it_was(model), torch.no_grad():
            margin = self.margins(model, [clip.id for clip in clips])
            made = self._make_sounds(model) if self.panel else {}
        wins = (margin > 0).double() + 0.5 * (margin == 0).double()
        values = {
            "reward_accuracy": float(wins.mean()),
            "reward_margin": float(margin.mean()),
            **self._task.metrics([], list(made.values())),
            "loss": float(losses_of(margin).mean()),
        }
        return Outcome(finite_values(values), {clip.id: made.get(clip.id, Output("")) for clip in clips})

    def margins(self, model: Any, ids: Sequence[str]) -> torch.Tensor:
        """Return the margin of each pair, float64, shape (pairs,)."""
        margin = torch.empty(len(ids), dtype=torch.float64)
        chosen = [self._pairs[id_] for id_ in ids]
        for indices in sorted_batches([pair.chosen_s for pair in chosen], self._batch_size):
            self._check()
            margin[indices] = self._batch_margins(model, [chosen[index] for index in indices]).double()
        return margin

    def _batch_margins(self, model: Any, some: Sequence[PairItem]) -> torch.Tensor:
        assert isinstance(self._task, SoundTask)
        batch = to_device(self._store.batch(pairs.both(some)), model.device)
        policy = self._task.log_likelihood(model, batch).sum(dim=1)
        with _switched_off(model):
            base = self._task.log_likelihood(model, batch).sum(dim=1)
        chosen, rejected = (policy - base).chunk(2)
        return self._beta * (chosen - rejected).cpu()


class PairCertifier(Certifier):
    """Judges an adapter by what it prefers: its likelihood of the chosen sounds alone may well fall."""

    def __init__(self, *args: Any, evaluator: PairEvaluator | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._evaluator = evaluator

    def _listen(self, model: Any) -> tuple[Losses, Losses, float | None]:
        """DPO's loss of each pair, the base model's being ln 2; the change of outputs as for any adapter."""
        _, _, change = super()._listen(model)
        assert self._evaluator is not None
        own = losses_of(self._evaluator.margins(model, [clip.id for clip in self._clips])).tolist()
        return Losses([math.log(2)] * len(own), []), Losses(own, []), change


def losses_of(margins: torch.Tensor) -> torch.Tensor:
    """DPO's loss of each pair."""
    return -torch.nn.functional.logsigmoid(margins)


@contextlib.contextmanager
def _switched_off(model: Any) -> Iterator[None]:
    """The base model; also where the adapter is off already, and is to stay so."""
    layers = (module for module in model.modules() if isinstance(module, BaseTunerLayer))
    if any(layer.disable_adapters for layer in layers):
        yield
        return
    with model.disable_adapter():
        yield
