"""Whisper: sequence to sequence, 30 s windows."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.modeling_outputs import BaseModelOutput

from qlora_studio.training.clips import ClipSets
from qlora_studio.training.failures import ModelNotUsable
from qlora_studio.training.tasks import windows
from qlora_studio.training.tasks.base import Batch, Features, Output, Prediction, without_adapter_wrapper
from qlora_studio.training.tasks.speech import SpeechTask, pad_labels, stop_when

WINDOW_S = 30.0
_SPARE_TOKENS = 32
_PREFIX_TOKENS = 8
_DETECTION_CLIPS = 8


class WhisperTask(SpeechTask):
    """Standard Whisper training and inference: every clip in a window of 30 s.

    Fast mode trains mostly in shorter windows (`windows`); what is measured is always the standard one.
    """

    max_clip_s = WINDOW_S
    preset_epochs = 3.0
    gains_from_buckets = False  # in standard windows every clip costs the same 30 s

    def __init__(self, model_path: Path, config: dict[str, Any]) -> None:
        super().__init__(model_path, config)
        self._tokenizer = self.processor.tokenizer
        self._start_id: int = config["decoder_start_token_id"]
        self.max_labels: int = config.get("max_target_positions", 448)
        self._language: str | None = None
        self._encoder: Any = None
        self._has_short_windows = False
        self._starts_random = not any(model_path.glob("*.safetensors"))

    def _load_processor(self, model_path: Path) -> Any:
        from transformers import WhisperProcessor

        try:
            return WhisperProcessor.from_pretrained(model_path, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ModelNotUsable("The model's tokenizer or feature extractor cannot be loaded.") from error

    def features(self, samples: np.ndarray) -> Features:
        """Log-mel of the whole window, kept without the constant silence that fills it up.

        Returns:
            `mel` (bins, frames) and `fill` (bins,), the value of every later frame of the window; or, once
            the encoder is reused, `encoded` (1500, width) and `n_frames` (), how many of them are the clip's.
        """
        window = self.processor.feature_extractor(
            samples, sampling_rate=self.sampling_rate, return_tensors="np"
        )["input_features"][0]
        features = windows.trim(window)
        if self._encoder is None:
            return features
        n_frames = features["mel"].shape[1]
        return {"encoded": self._encode_window(features), "n_frames": np.asarray(n_frames)}

    def _encode_window(self, features: Features) -> np.ndarray:
        """What the frozen encoder makes of one window: (1500, width)."""
        encoder = self._encoder
        was_training = encoder.training
        encoder.eval()
        filled = windows.fill_window([features["mel"]], [features["fill"]], self.n_frames)
        window = torch.from_numpy(filled).to(next(encoder.parameters()).device)
        with torch.no_grad():
            hidden = encoder(window).last_hidden_state[0]
        encoder.train(was_training)
        return hidden.cpu().numpy()

    @property
    def n_frames(self) -> int:
        return int(self.processor.feature_extractor.nb_max_frames)

    def fit_text(self, text: str) -> str:
        return " ".join(text.split())

    def encode(self, target: str) -> list[int]:
        """Label ids without the start token, which the model puts in front by itself."""
        ids = self._tokenizer(self.fit_text(target)).input_ids
        return ids[1:] if ids[0] == self._start_id else ids

    def decode(self, ids: Sequence[int]) -> str | None:
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)

    def collate(self, features: Sequence[Features], labels: Sequence[list[int]]) -> Batch:
        """Mel windows (batch, bins, 3000), or what the encoder made of them, and labels (batch, longest)."""
        return self._collate(features, labels, self.n_frames)

    def collate_for_training(self, features: Sequence[Features], labels: Sequence[list[int]]) -> Batch:
        """The same in a short window, for most batches of fast mode."""
        if not self._has_short_windows or windows.is_standard(labels):
            return self.collate(features, labels)
        clips = [int(item["n_frames"]) if "encoded" in item else item["mel"].shape[1] for item in features]
        return self._collate(features, labels, windows.short_frames(clips, longest=self.n_frames))

    def _collate(self, features: Sequence[Features], labels: Sequence[list[int]], n_frames: int) -> Batch:
        padded = {"labels": pad_labels(labels)}
        if "encoded" in features[0]:
            n_positions = n_frames * features[0]["encoded"].shape[0] // self.n_frames
            hidden = torch.from_numpy(np.stack([item["encoded"][:n_positions] for item in features]))
            return {"encoder_outputs": BaseModelOutput(last_hidden_state=hidden), **padded}
        mels, fills = [item["mel"] for item in features], [item["fill"] for item in features]
        return {"input_features": torch.from_numpy(windows.fill_window(mels, fills, n_frames)), **padded}

    def pieces(self, batch: Batch) -> list[Batch]:
        window = batch.get("input_features")
        if window is None or not self._has_short_windows:
            return [batch]
        return windows.in_pieces(batch, window.shape[-1], longest=self.n_frames)

    def weight_of(self, batch: Batch) -> float:
        """The loss is a mean over tokens."""
        return int((batch["labels"] != -100).sum())

    def predict(self, model: Any, batch: Batch) -> Prediction:
        """Greedy, in the standard window, at most about twice as long as the longest reference.

        The encoder runs once for both the loss and the text.
        """
        encoded = batch.get("encoder_outputs")
        if encoded is None:
            encoder = without_adapter_wrapper(model).get_encoder()
            encoded = BaseModelOutput(last_hidden_state=encoder(batch["input_features"]).last_hidden_state)
        labels = batch["labels"]
        loss = float(model(encoder_outputs=encoded, labels=labels).loss)
        longest = int((labels != -100).sum(dim=1).max())
        ids = model.generate(
            encoder_outputs=encoded,
            max_new_tokens=min(2 * longest + _SPARE_TOKENS, self.max_labels - _PREFIX_TOKENS),
            **self._how_to_write(),
        )
        return Prediction([Output(text) for text in self._decode(ids)], loss)

    def transcribe(self, model: Any, features: Features, *, should_stop: Callable[[], bool]) -> str:
        window = windows.fill_window([features["mel"]], [features["fill"]], self.n_frames)
        ids = model.generate(
            input_features=torch.from_numpy(window).to(model.device),
            max_new_tokens=self.max_labels - _PREFIX_TOKENS,
            stopping_criteria=[stop_when(should_stop)],
            **self._how_to_write(),
        )
        return self._decode(ids)[0]

    def _how_to_write(self) -> dict[str, Any]:
        """Greedily, in the language that was trained; a base model is left to find out which it is."""
        language = {"language": self._language, "task": "transcribe"} if self._language else {}
        return {"do_sample": False, "num_beams": 1, **language}

    def _decode(self, ids: Any) -> list[str]:
        texts = self._tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]

    def speed_up(self, model: Any) -> bool:
        """Train mostly in short windows; run a frozen encoder once a clip and keep what it said.

        What it said is that of the standard window, so the decoder is trained on what it gets at inference,
        at a fraction of the cost: nearly all of a step is the encoder.

        Returns:
            Whether the encoder is reused: it has no trained parameter and no dropout that varies its output.
        """
        encoder = without_adapter_wrapper(model).get_encoder()
        windows.take_short_windows(encoder)
        self._has_short_windows = self.gains_from_buckets = True
        config = model.config
        varies = (
            config.dropout,
            config.attention_dropout,
            config.activation_dropout,
            config.encoder_layerdrop,
        )
        if any(varies) or config.apply_spec_augment or any(p.requires_grad for p in encoder.parameters()):
            return False
        self._encoder = encoder
        return True

    def prepare(self, model: Any, clips: ClipSets) -> list[tuple[str, str]]:
        model.config.use_cache = False  # training needs no key-value cache; generation asks for its own
        return []

    def chance_loss(self) -> float | None:
        """The natural logarithm of the number of words."""
        return math.log(self.config["vocab_size"])

    def expected_first_loss(self) -> float | None:
        """The same for random weights."""
        return self.chance_loss() if self._starts_random else None

    def set_language(self, model: Any, features: Sequence[Features]) -> None:
        """Ask a multilingual model which language the first clips are in, and label with that."""
        if not getattr(model.generation_config, "is_multilingual", False):
            return
        batch = self.collate(features[:_DETECTION_CLIPS], [[0]] * len(features[:_DETECTION_CLIPS]))
        with torch.no_grad():
            found = model.detect_language(batch["input_features"].to(model.device)).tolist()
        token = self._tokenizer.convert_ids_to_tokens(max(set(found), key=found.count))
        self._language = token.strip("<|>")
        self._tokenizer.set_prefix_tokens(language=self._language, task="transcribe")

    def adopt(self, model: Any, metadata: dict[str, Any]) -> None:
        """Take over the language.

        Raises:
            ModelNotUsable: the run used windows that this version can't make.
        """
        if metadata.get("window", "standard") != "standard":
            raise ModelNotUsable(
                "This adapter was trained on other windows of sound than this version makes."
            )
        self._language = metadata.get("language")

    def metadata(self) -> dict[str, Any]:
        return {**super().metadata(), "window": "standard", "window_s": WINDOW_S, "language": self._language}
