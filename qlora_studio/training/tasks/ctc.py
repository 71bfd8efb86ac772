"""CTC models: Wav2Vec2, HuBERT, WavLM, Wav2Vec2-Conformer, Wav2Vec2-BERT."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qlora_studio.contracts.spec import ClipItem
from qlora_studio.training.clips import ClipSets
from qlora_studio.training.failures import ModelNotUsable
from qlora_studio.training.tasks import heads, waves
from qlora_studio.training.tasks.base import Batch, Features, Output, Prediction
from qlora_studio.training.tasks.speech import SpeechTask, pad_labels


class CtcTask(SpeechTask):
    """One letter (or blank) a frame; the text is what is left when repeats and blanks are dropped."""

    max_clip_s = 40.0
    preset_epochs = 10.0

    def __init__(self, model_path: Path, config: dict[str, Any]) -> None:
        super().__init__(model_path, config)
        self._tokenizer = self.processor.tokenizer
        self._ear: waves.Ear | None = None
        self._blank: int = self._tokenizer.pad_token_id
        vocabulary = set(self._tokenizer.get_vocab())
        letters = {token for token in vocabulary if len(token) == 1}
        if not any(letter.isalpha() for letter in letters):
            raise ModelNotUsable("The model's tokenizer has no single letters, which CTC training needs.")
        self._letters = letters - {self._tokenizer.word_delimiter_token}
        self._has_upper = any(letter.isupper() for letter in letters)
        self._has_lower = any(letter.islower() for letter in letters)

    def _load_processor(self, model_path: Path) -> Any:
        from transformers import AutoProcessor

        try:
            return AutoProcessor.from_pretrained(model_path, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise ModelNotUsable("The model's tokenizer or feature extractor cannot be loaded.") from error

    def features(self, samples: np.ndarray) -> Features:
        clip = waves.extract(self.feature_extractor, samples)
        return self._ear.hear(clip) if self._ear else clip

    def fit_text(self, text: str) -> str:
        """Lower or upper case as the alphabet has it; letters it does not have are left out."""
        if self._has_lower != self._has_upper:
            text = text.lower() if self._has_lower else text.upper()
        kept = "".join(letter if letter in self._letters or letter.isspace() else "" for letter in text)
        return " ".join(kept.split())

    def encode(self, target: str) -> list[int]:
        return self._tokenizer(self.fit_text(target)).input_ids or [self._tokenizer.unk_token_id or 0]

    def collate(self, features: Sequence[Features], labels: Sequence[list[int]]) -> Batch:
        """Pad to the batch's longest clip, with a mask where the family was trained with one."""
        name = self.feature_extractor.model_input_names[0]
        batch = waves.pad(features, name=name, with_mask=waves.uses_mask(self.config))
        return {**batch, "labels": pad_labels(labels)}

    def decode(self, ids: Sequence[int]) -> str | None:
        """The text of label ids, in which nothing is repeated that was not meant to be."""
        return self._tokenizer.decode(list(ids), group_tokens=False)

    def steady_loss(self, model: Any, batch: Batch) -> torch.Tensor:
        """The model's own loss; infinite (by itself it says 0) where a text does not fit its clip."""
        loss = super().steady_loss(model, batch)
        return loss if loss.detach() != 0 else loss.detach() + torch.inf

    def predict(self, model: Any, batch: Batch) -> Prediction:
        output = model(**batch)
        texts = self._decode(model, output.logits, batch.get("attention_mask"))
        return Prediction([Output(text) for text in texts], float(output.loss))

    def transcribe(self, model: Any, features: Features, *, should_stop: Callable[[], bool]) -> str:
        name = self.feature_extractor.model_input_names[0]
        batch = waves.pad([features], name=name, with_mask=waves.uses_mask(self.config))
        batch = {key: tensor.to(model.device) for key, tensor in batch.items()}
        return self._decode(model, model(**batch).logits, batch.get("attention_mask"))[0]

    def _decode(self, model: Any, logits: Any, mask: Any | None) -> list[str]:
        """The likeliest letter of each frame (batch, frames, letters), without what lies beyond a clip."""
        ids = logits.argmax(dim=-1)
        if mask is not None:
            base = model.get_base_model() if hasattr(model, "get_base_model") else model
            n_frames = base._get_feat_extract_output_lengths(mask.sum(dim=-1))
            beyond = torch.arange(ids.shape[1], device=ids.device)[None, :] >= n_frames[:, None]
            ids = ids.masked_fill(beyond, self._blank)
        # Skipping special tokens here would drop blanks before repeats are merged: "ll" would become "l".
        texts = [text.replace(self._tokenizer.unk_token, "") for text in self._tokenizer.batch_decode(ids)]
        return [" ".join(text.split()) for text in texts]

    def prepare(self, model: Any, clips: ClipSets) -> list[tuple[str, str]]:
        """Mean loss, no infinite losses, no random layers left out; check the alphabet against the head."""
        config = model.config
        config.ctc_loss_reduction = "mean"  # the sum would make the step size depend on the text's length
        config.ctc_zero_infinity = True  # more letters than frames: leave the clip out, don't end the run
        heads.make_steady(config, shortest_s=min((c.duration_s for c in clips.train), default=math.inf))
        if config.vocab_size < len(self._tokenizer):
            raise ModelNotUsable("The model's head is smaller than its tokenizer's alphabet.")
        config.pad_token_id = self._blank
        return [("text", warning) for warning in self._alphabet_warnings([*clips.train, *clips.validation])]

    def speed_up(self, model: Any) -> bool:
        """Hear each clip once, where the convolutions are frozen."""
        self._ear = waves.Ear.of(model)
        return self._ear is not None

    def _alphabet_warnings(self, clips: Sequence[ClipItem]) -> list[str]:
        texts = "".join(clip.text or "" for clip in clips)
        known = {case for letter in self._letters for case in (letter.lower(), letter.upper())}
        strange = sorted({letter for letter in texts if not letter.isspace()} - known)
        if not strange:
            return []
        return [f"The model cannot write these, so they are left out of the texts: {' '.join(strange[:40])}"]
