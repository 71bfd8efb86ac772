"""Held-out clips: quality, mean loss, and what the model makes of each clip."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from qlora_studio.contracts.spec import ClipItem
from qlora_studio.training import randomness
from qlora_studio.training.batches import sorted_batches
from qlora_studio.training.events import finite
from qlora_studio.training.feature_store import FeatureStore
from qlora_studio.training.tasks.base import AudioTask, Batch, Output, Values

INTERIM_CAP = 200
SOUNDS_CAP = 4  # making one takes as long as training on dozens of clips


@dataclass(frozen=True)
class Outcome:
    """One evaluation: metrics (fractions, and the mean loss), outputs by clip id, and what the task adds."""

    values: Values
    outputs: dict[str, Output]
    report: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


class Evaluator:
    """Measures models on one fixed set of clips, always the same way.

    Evaluations between steps look at `INTERIM_CAP` clips at most, spread evenly over the set; the base model
    and the finished adapter are measured on all of it. `panel` are the clips to show, the same ones every
    time; a task that makes sounds makes them for these only.
    """

    def __init__(
        self,
        task: AudioTask,
        store: FeatureStore,
        clips: Sequence[ClipItem],
        *,
        batch_size: int,
        check: Callable[[], None],
        n_samples: int = 0,
    ) -> None:
        self._task = task
        self._store = store
        self._batch_size = batch_size
        self._check = check
        self.clips = list(clips)
        self.interim_clips = spread(self.clips, INTERIM_CAP)
        if task.makes_sound:
            n_samples = min(n_samples, SOUNDS_CAP)
        self.panel: list[ClipItem] = spread(self.interim_clips, n_samples)
        task.see_targets([task.target(clip) for clip in self.clips])

    @property
    def sampling_rate(self) -> int:
        """Of the sounds that are made, in hertz."""
        return self._task.sampling_rate

    @property
    def is_sampled(self) -> bool:
        """Whether evaluations between steps see only some of the clips."""
        return len(self.interim_clips) < len(self.clips)

    def measure(self, model: Any, *, full: bool) -> Outcome:
        """Evaluate the model as it is now. Training goes on afterwards as if nothing had happened.

        Raises:
            StopRequested: through `check`, called before each batch.
        """
        task = self._task
        clips = self.clips if full else self.interim_clips
        parts = {clip.id: task.parts(clip) for clip in clips}
        with as_it_was(model), torch.no_grad():
            heard, loss = self._hear(model, [part for its in parts.values() for part in its])
            made = self._make_sounds(model) if task.makes_sound and self.panel else {}
        joined = {clip.id: task.join(clip, [heard[part.id] for part in parts[clip.id]]) for clip in clips}
        outputs = joined | made
        targets = [task.target(clip) for clip in clips]
        in_order = [outputs[clip.id] for clip in clips]
        return Outcome(
            values=finite_values({**task.metrics(targets, in_order), "loss": loss}),
            outputs=outputs,
            report=task.report(targets, in_order),
            files=task.files(targets, in_order),
        )

    def _hear(self, model: Any, clips: Sequence[ClipItem]) -> tuple[dict[str, Output], float]:
        """What the model makes of some clips by their ids, and the mean loss."""
        outputs: dict[str, Output] = {}
        loss_sum = 0.0
        for indices in sorted_batches([clip.duration_s for clip in clips], self._batch_size):
            self._check()
            chosen = [clips[index] for index in indices]
            batch = to_device(self._store.batch(chosen), model.device)
            prediction = self._task.predict(model, batch)
            outputs.update(zip((clip.id for clip in chosen), prediction.outputs, strict=True))
            loss_sum += prediction.loss * len(chosen)
        return outputs, loss_sum / len(clips)

    def _make_sounds(self, model: Any) -> dict[str, Output]:
        made = self._task.sounds(
            model,
            [self._task.target(clip) for clip in self.panel],
            [self._store.sound(clip) for clip in self.panel],
            on_step=lambda _done, _in_all: self._check(),
        )
        return dict(zip((clip.id for clip in self.panel), made, strict=True))

    def samples(self, outcome: Outcome, *, base_texts: dict[str, str]) -> list[dict[str, Any]]:
        """Return what a `sample` event tells of each clip of the panel, in the order to show them."""
        samples = []
        for clip in self.panel:
            target, output = self._task.target(clip), outcome.outputs[clip.id]
            samples.append(
                {
                    "clip_id": clip.id,
                    "reference": target,
                    "base": base_texts.get(clip.id),
                    "now": output.text,
                    "error": self._task.error(target, output),
                    **self._task.sample(output),
                }
            )
        if self._task.samples_worst_first:
            samples.sort(key=lambda sample: -(sample["error"] or 0.0))
        return samples


def finite_values(values: Values) -> Values:
    """Values with None for what is not a number: no file can hold one, and a run does not end for it."""
    return {name: finite(value) for name, value in values.items()}


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
def as_it_was(model: Any) -> Iterator[None]:
    """Evaluation mode; afterwards the mode and every random state are what they were."""
    was_training = model.training
    model.eval()
    with randomness.kept():
        try:
            yield
        finally:
            model.train(was_training)
