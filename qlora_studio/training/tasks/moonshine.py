"""Moonshine: sequence to sequence on the waveform, without a window: a clip costs its own length."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qlora_studio.training.clips import ClipSets
from qlora_studio.training.failures import ModelNotUsable
from qlora_studio.training.tasks import waves
from qlora_studio.training.tasks.base import Batch, Features, Output, Prediction
from qlora_studio.training.tasks.speech import SpeechTask, pad_labels, stop_when

_SPARE_TOKENS = 16
_TOKENS_A_SECOND = 6.5  # more is a loop: the limit that the model's card names


class MoonshineTask(SpeechTask):
    """Segments of up to 30 s, as the model was made for (Jeffries et al. 2024, arXiv:2410.15608)."""

    max_clip_s = 30.0
    preset_epochs = 3.0

    def __init__(self, model_path: Path, config: dict[str, Any]) -> None:
        super().__init__(model_path, config)
        self._tokenizer = self.processor.tokenizer
        self._end_id: int = _first(config.get("eos_token_id", 2))
        self.max_labels: int = config.get("max_position_embeddings", 512)

    def _load_processor(self, model_path: Path) -> Any:
        from transformers import AutoFeatureExtractor, AutoTokenizer, Wav2Vec2Processor

        local = {"local_files_only": True, "trust_remote_code": False}
        try:
            extractor = AutoFeatureExtractor.from_pretrained(model_path, **local)
            return Wav2Vec2Processor(extractor, AutoTokenizer.from_pretrained(model_path, **local))
        except (OSError, ValueError, TypeError) as error:
            raise ModelNotUsable("The model's tokenizer or feature extractor cannot be loaded.") from error

    def features(self, samples: np.ndarray) -> Features:
        return waves.extract(self.feature_extractor, samples)

    def fit_text(self, text: str) -> str:
        return " ".join(text.split())

    def encode(self, target: str) -> list[int]:
        """Label ids with the end, without the start, which the model puts in front by itself."""
        return [*self._tokenizer(self.fit_text(target), add_special_tokens=False).input_ids, self._end_id]

    def collate(self, features: Sequence[Features], labels: Sequence[list[int]]) -> Batch:
        """Waveforms (batch, samples) with their mask, and labels (batch, longest)."""
        batch = waves.pad(features, name="input_values", with_mask=True)
        return {**batch, "labels": pad_labels(labels)}

    def weight_of(self, batch: Batch) -> float:
        """The loss is a mean over tokens."""
        return int((batch["labels"] != -100).sum())

    def predict(self, model: Any, batch: Batch) -> Prediction:
        """Greedy, at most about twice as long as the longest reference. The encoder runs once."""
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        encoder, labels = base.get_encoder(), batch["labels"]
        encoded = encoder(batch["input_values"], attention_mask=batch["attention_mask"])
        loss = float(model(encoder_outputs=encoded, labels=labels).loss)
        longest = int((labels != -100).sum(dim=1).max())
        ids = model.generate(
            encoder_outputs=encoded,
            max_new_tokens=min(2 * longest + _SPARE_TOKENS, self.max_labels - 1),
            do_sample=False,
            num_beams=1,
        )
        return Prediction([Output(text) for text in self._decode(ids)], loss)

    def transcribe(self, model: Any, features: Features, *, should_stop: Callable[[], bool]) -> str:
        batch = waves.pad([features], name="input_values", with_mask=True)
        spoken_s = len(features["input_values"]) / self.sampling_rate
        ids = model.generate(
            **{name: tensor.to(model.device) for name, tensor in batch.items()},
            max_new_tokens=min(int(_TOKENS_A_SECOND * spoken_s) + _SPARE_TOKENS, self.max_labels - 1),
            stopping_criteria=[stop_when(should_stop)],
            do_sample=False,
            num_beams=1,
        )
        return self._decode(ids)[0]

    def _decode(self, ids: Any) -> list[str]:
        texts = self._tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]

    def adopt(self, model: Any, metadata: dict[str, Any]) -> None:
        self._name_padding(model)

    def prepare(self, model: Any, clips: ClipSets) -> list[tuple[str, str]]:
        model.config.use_cache = False  # training needs no key-value cache; generation asks for its own
        self._name_padding(model)
        return []

    def _name_padding(self, model: Any) -> None:
        config = model.config
        if config.pad_token_id is None:  # published models have none, and shifting the labels needs one
            config.pad_token_id = self._end_id
            model.generation_config.pad_token_id = self._end_id


def _first(ids: Any) -> int:
    return int(ids[0] if isinstance(ids, list) else ids)
