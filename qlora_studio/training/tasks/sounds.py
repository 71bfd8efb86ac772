"""What all ways of turning text into sound share: prompts, a few sounds made for the ear, their distance."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from qlora_studio.contracts.spec import ClipItem
from qlora_studio.training import sound_quality
from qlora_studio.training.clips import ClipSets, read_prompted_clips
from qlora_studio.training.tasks.base import AudioTask, Batch, Output, Values

OnStep = Callable[[int, int], None]  # (steps done, steps in all); may raise to end the work
SAMPLE_S = 5.0
SAMPLE_SEED = 1


class SoundTask(AudioTask):
    """Text to audio with one kind of model. The target of a clip is its text: what was asked for."""

    makes_sound = True
    must_listen = False  # a style learnt without regard to prompts is a result too
    has_own_loss = True
    samples_worst_first = False
    min_clip_s: ClassVar[float] = 0.1
    card_tag = "text-to-audio"
    card_note = (
        "`mel_distance` is the mean absolute difference of log-mel spectrograms in dB between a few "
        "recordings and what the model makes of their texts, at a fixed seed. The loss decides."
    )

    def __init__(self, model_path: Path, config: dict[str, Any]) -> None:
        super().__init__(model_path, config)
        self._clap: sound_quality.Clap | None = None

    def use_clap(self, folder: Path) -> None:
        """Also measure how well sounds fit their texts, with the CLAP model of a folder.

        Raises:
            ModelNotUsable: it cannot be loaded.
        """
        self._clap = sound_quality.Clap(folder)

    def read_clips(self, path: Path) -> ClipSets:
        return read_prompted_clips(path, min_s=self.min_clip_s)

    def target(self, clip: ClipItem) -> str:
        return " ".join((clip.text or "").split())

    def length_of(self, clip: ClipItem) -> float:
        return min(clip.duration_s, self.max_clip_s)

    def cut_warning(self, clips: ClipSets) -> list[tuple[str, str]]:
        """Say how many clips are longer than the model takes."""
        n_cut = sum(clip.duration_s > self.max_clip_s for clip in (*clips.train, *clips.validation))
        text = f"{n_cut} clips are longer than {self.max_clip_s:g} s; only their beginning is used."
        return [("clips_cut", text)] if n_cut else []

    @abstractmethod
    def generate(
        self,
        model: Any,
        prompts: Sequence[str],
        *,
        seconds: float,
        seed: int,
        on_step: OnStep | None = None,
        **settings: Any,
    ) -> list[np.ndarray]:
        """Make one sound for each prompt: float32, shape (n,), at `sampling_rate`.

        Args:
            seconds: how long they become, or at most become where the model itself ends.
            seed: the same prompts and seed give the same sounds; the random states are left as they were.
            on_step: called after each step; what it raises ends the work.
        """

    @abstractmethod
    def log_likelihood(self, forward: Callable[..., Any], batch: Batch) -> Any:
        """How likely the batch's sounds are for their prompts, as logarithms (rows, steps), 0 beyond the end.

        Args:
            forward: the model, or its forward pass.
            batch: what `collate` made.
        """

    @abstractmethod
    def count_steps(self, batch: Batch) -> Any:
        """Steps of each sound of a batch, shape (rows,): what `log_likelihood` tells of each."""

    def sounds(
        self,
        model: Any,
        targets: Sequence[str],
        references: Sequence[np.ndarray],
        *,
        on_step: OnStep | None = None,
    ) -> list[Output]:
        """At most `SAMPLE_S` of sound for each text, beside a recording of it."""
        seconds = min(SAMPLE_S, max(len(sound) for sound in references) / self.sampling_rate)
        made = self.generate(model, targets, seconds=seconds, seed=SAMPLE_SEED, on_step=on_step)
        outputs = []
        for target, whole, reference in zip(targets, made, references, strict=True):
            sound = whole[: min(len(reference), round(SAMPLE_S * self.sampling_rate))]
            sound = np.nan_to_num(sound, posinf=0.0, neginf=0.0)  # of a broken model: silence
            distance = sound_quality.mel_distance(sound, reference, self.sampling_rate)
            fit = self._clap.score(target, sound, self.sampling_rate) if self._clap else None
            text = f"{len(sound) / self.sampling_rate:.1f} s of sound, mel distance {distance:.1f} dB"
            outputs.append(Output(text, sound=sound, figures={"mel_distance": distance, "clap": fit}))
        return outputs

    def metrics(self, targets: Sequence[str], outputs: Sequence[Output]) -> Values:
        """`mel_distance` in dB, and `clap` where there is such a model: means over what was made."""
        values: Values = {}
        for name in ("mel_distance", "clap"):
            found = [output.figures[name] for output in outputs if output.figures.get(name) is not None]
            if found:
                values[name] = float(np.mean(found))  # type: ignore[arg-type]
        return values

    def error(self, target: str, output: Output) -> float | None:
        """The sound's own mel distance in dB."""
        return output.figures.get("mel_distance")

    def metadata(self) -> dict[str, Any]:
        return {**super().metadata(), "max_clip_s": self.max_clip_s}
