"""Held-out clips: error rates, mean loss, and what the model writes for each clip."""

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from qlora_studio.contracts.spec import ClipItem
from qlora_studio.training import metrics
from qlora_studio.training.batches import sorted_batches
from qlora_studio.training.feature_store import FeatureStore
from qlora_studio.training.tasks.base import Batch, SpeechTask

INTERIM_CAP = 200


@dataclass(frozen=True)
class Outcome:
    """One evaluation. Rates are fractions; `texts` maps clip ids to outputs."""

    values: dict[str, float | None]
    texts: dict[str, str]


class Evaluator:
    """Measures models on one fixed set of clips, always the same way.

    Evaluations between steps look at `INTERIM_CAP` clips at most, spread evenly over the set; the base model
    and the finished adapter are measured on all of it.
    """

    def __init__(
        self,
        task: SpeechTask,
        store: FeatureStore,
        clips: Sequence[ClipItem],
        *,
        batch_size: int,
        check: Callable[[], None],
        autocast: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
    ) -> None:
        self._task = task
        self._store = store
        self._batch_size = batch_size
        self._check = check
        self._autocast = autocast
        self.clips = list(clips)
        self.interim_clips = spread(self.clips, INTERIM_CAP)
        self._normalise = metrics.make_normaliser([clip.text or "" for clip in self.clips])

    @property
    def is_sampled(self) -> bool:
        """Whether evaluations between steps see only some of the clips."""
        return len(self.interim_clips) < len(self.clips)

    def measure(self, model: Any, *, full: bool) -> Outcome:
        """Evaluate the model as it is now. Training goes on afterwards as if nothing had happened.

        Raises:
            StopRequested: through `check`, called before each batch.
        """
        clips = self.clips if full else self.interim_clips
        texts: dict[str, str] = {}
        loss_sum = 0.0
        with _as_it_was(model), torch.no_grad(), self._autocast():
            for indices in sorted_batches([clip.duration_s for clip in clips], self._batch_size):
                self._check()
                chosen = [clips[index] for index in indices]
                batch = to_device(self._store.batch(chosen), model.device)
                prediction = self._task.predict(model, batch)
                texts.update(zip((clip.id for clip in chosen), prediction.texts, strict=True))
                loss_sum += prediction.loss * len(chosen)
        references = [self._task.fit_text(clip.text or "") for clip in clips]
        values = metrics.error_rates(references, [texts[clip.id] for clip in clips], self._normalise)
        return Outcome({**values, "loss": loss_sum / len(clips)}, texts)

    def word_error(self, clip: ClipItem, output: str) -> float | None:
        """Normalised word error rate of one clip's output."""
        return metrics.word_error(self._normalise(clip.text or ""), self._normalise(output))


def spread(clips: Sequence[ClipItem], n_wanted: int) -> list[ClipItem]:
    """Return `n_wanted` clips spread evenly from the shortest to the longest: the same ones every time."""
    ordered = sorted(clips, key=lambda clip: (clip.duration_s, clip.id))
    if len(ordered) <= n_wanted:
        return ordered
    return [ordered[int((index + 0.5) * len(ordered) / n_wanted)] for index in range(n_wanted)]


def to_device(batch: Batch, device: Any) -> Batch:
    """Move a batch's tensors; a model output moves as a whole."""
    if torch.device(device).type == "cpu":
        return batch  # made there
    moved = {}
    for name, value in batch.items():
        is_output = isinstance(value, dict)
        moved[name] = type(value)(**to_device(value, device)) if is_output else value.to(device)
    return moved


@contextlib.contextmanager
def _as_it_was(model: Any) -> Iterator[None]:
    """Evaluation mode; afterwards the mode and every random state are what they were."""
    was_training = model.training
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if cuda_states:
            torch.cuda.set_rng_state_all(cuda_states)
