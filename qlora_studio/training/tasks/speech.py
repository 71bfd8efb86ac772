"""What all ways of turning speech into text share: texts as targets, error rates as metrics."""

import zlib
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qlora_studio.contracts.spec import ClipItem
from qlora_studio.training import metrics
from qlora_studio.training.clips import ClipSets, read_clips
from qlora_studio.training.tasks.base import AudioTask, Features, Output, Values

_LOOP_RATIO = 2.4  # bytes of text for each byte compressed
_LOOP_SPARE = 20  # letters


class SpeechTask(AudioTask):
    """Speech to text with one kind of model."""

    card_tag = "automatic-speech-recognition"
    card_note = (
        'Error rates are fractions: 0.1 is 10 %. "normalised" compares after Whisper\'s text normalisation.'
    )
    max_labels: int | None = None

    def __init__(self, model_path: Path, config: dict[str, Any]) -> None:
        super().__init__(model_path, config)
        self._normalise: Callable[[str], str] = metrics.make_normaliser([])

    @abstractmethod
    def transcribe(self, model: Any, features: Features, *, should_stop: Callable[[], bool]) -> str:
        """Write down one clip of at most `max_clip_s`, without gradients and in evaluation mode.

        Args:
            should_stop: asked between words where the model writes them one by one; True ends it early.
        """

    @property
    def feature_extractor(self) -> Any:
        return self.processor.feature_extractor

    @abstractmethod
    def fit_text(self, text: str) -> str:
        """Return the text as this model can write it: the reference of the raw error rates."""

    def fit_target(self, target: str) -> str:
        return self.fit_text(target)

    def read_clips(self, path: Path) -> ClipSets:
        return read_clips(path, max_s=self.max_clip_s, is_text_too_long=self._is_text_too_long)

    def _is_text_too_long(self, text: str) -> bool:
        return self.max_labels is not None and len(self.encode(text)) > self.max_labels

    def target(self, clip: ClipItem) -> str:
        return clip.text or ""

    def see_targets(self, targets: Sequence[str]) -> None:
        """Choose the text normaliser."""
        self._normalise = metrics.make_normaliser(targets)

    def metrics(self, targets: Sequence[str], outputs: Sequence[Output]) -> Values:
        """Word and character error rates, raw and normalised."""
        references = [self.fit_text(target) for target in targets]
        return metrics.error_rates(references, [output.text for output in outputs], self._normalise)

    def is_broken(self, target: str, output: Output) -> bool:
        """Nothing where there is a text, or a loop: twice as long as the text and easily compressed.

        The ratio is the one by which Whisper's own decoding tells loops (Radford et al. 2022,
        arXiv:2212.04356, section 4.5).
        """
        text = output.text.strip()
        if not text or len(text) <= 2 * len(target) + _LOOP_SPARE:
            return bool(target.strip()) and not text
        return len(text.encode()) / len(zlib.compress(text.encode())) > _LOOP_RATIO

    def error(self, target: str, output: Output) -> float | None:
        """Normalised word error rate of one clip."""
        return metrics.word_error(self._normalise(target), self._normalise(output.text))


def pad_labels(labels: Sequence[list[int]]) -> Any:
    """Return label ids as an int64 tensor (batch, longest), padded by -100 which every loss leaves out."""
    import torch

    padded = torch.full((len(labels), max(len(ids) for ids in labels)), -100, dtype=torch.long)
    for row, ids in zip(padded, labels, strict=True):
        row[: len(ids)] = torch.tensor(ids, dtype=torch.long)
    return padded


def stop_when(should_stop: Callable[[], bool]) -> Any:
    """Return a stopping criterion for `generate` that asks after each word piece."""
    import torch

    return lambda ids, _scores, **_: torch.full((len(ids),), should_stop(), device=ids.device)
