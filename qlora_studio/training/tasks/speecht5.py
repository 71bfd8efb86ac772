"""SpeechT5: text to speech by log-mel frames, by Ao et al. 2022 (arXiv:2110.07205)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qlora_studio.contracts.spec import ClipItem
from qlora_studio.training.clips import ClipSets
from qlora_studio.training.failures import ModelNotUsable
from qlora_studio.training.tasks import voices
from qlora_studio.training.tasks.base import Batch, Features, Output, Prediction, without_adapter_wrapper
from qlora_studio.training.tasks.sounds import OnStep, SoundTask

_IGNORED = -100.0
_STEADY_SEED = 0
_GRIFFIN_LIM_ROUNDS = 32
_LOUDEST = 4.0  # of a log-mel bin; an untrained model has no bounds of its own


class SpeechT5Task(SoundTask):
    """A text, and a vector that stands for a voice, to log-mel frames of 16 ms.

    The "labels" of a clip, to the feature store, are its speaker's number and its text's tokens; the frames
    are its features. Sound is made from frames by Griffin-Lim, without a vocoder: good for judging, not for a
    product.
    """

    max_clip_s = 30.0
    preset_epochs = 10.0

    def __init__(self, model_path: Path, config: dict[str, Any]) -> None:
        super().__init__(model_path, config)
        self._model_path = model_path
        self._reduction = int(config.get("reduction_factor", 2))
        self._max_tokens = int(config.get("max_text_positions", 450))
        self._width = int(config.get("speaker_embedding_dim", 512))
        self.voices = voices.default(self._width)

    def _load_processor(self, model_path: Path) -> Any:
        from transformers import SpeechT5Processor

        try:
            return SpeechT5Processor.from_pretrained(model_path, local_files_only=True)
        except (OSError, ValueError, ImportError) as error:
            raise ModelNotUsable("The model's tokenizer or feature extractor cannot be loaded.") from error

    @property
    def feature_extractor(self) -> Any:
        return self.processor.feature_extractor

    @property
    def _frames_per_s(self) -> float:
        return 1000 / self.feature_extractor.hop_length

    def features(self, samples: np.ndarray) -> Features:
        """`frames` (frames, bins) of the clip's first 30 s, a whole number of decoder steps."""
        samples = samples[: round(self.max_clip_s * self.sampling_rate)]
        extracted = self.processor(
            audio_target=samples, sampling_rate=self.sampling_rate, return_tensors="np"
        )
        frames = np.asarray(extracted["input_values"][0], dtype=np.float32)
        n_frames = max(self._reduction, len(frames) - len(frames) % self._reduction)
        return {"frames": np.ascontiguousarray(frames[:n_frames])}

    def encode(self, target: str) -> list[int]:
        """The first voice's number and the text's tokens."""
        return [0, *self.processor.tokenizer(target, truncation=True, max_length=self._max_tokens).input_ids]

    def labels(self, clip: ClipItem) -> list[int]:
        """The number of the clip's voice and the text's tokens."""
        return [self.voices.number(clip.speaker), *self.encode(self.target(clip))[1:]]

    def collate(self, features: Sequence[Features], labels: Sequence[list[int]]) -> Batch:
        """`input_ids` (batch, tokens) and their mask, `speaker_embeddings` (batch, width), `labels`.

        `labels` are frames (batch, longest, bins), -100 beyond each clip's end.
        """
        longest = max(len(ids) - 1 for ids in labels)
        padding = self.processor.tokenizer.pad_token_id
        ids = [[*each[1:], *[padding] * (longest - len(each) + 1)] for each in labels]
        mask = [[1] * (len(each) - 1) + [0] * (longest - len(each) + 1) for each in labels]
        frames = [torch.from_numpy(item["frames"]) for item in features]
        padded = torch.nn.utils.rnn.pad_sequence(frames, batch_first=True, padding_value=_IGNORED)
        return {
            "input_ids": torch.tensor(ids),
            "attention_mask": torch.tensor(mask),
            "speaker_embeddings": torch.from_numpy(self.voices.vectors[[each[0] for each in labels]]),
            "labels": padded,
        }

    def weight_of(self, batch: Batch) -> float:
        """The loss is a mean over frames."""
        return int((batch["labels"][..., 0] != _IGNORED).sum())

    def steady_loss(self, model: Any, batch: Batch) -> torch.Tensor:
        """The model's own loss. Its first layers drop out in evaluation too, here always the same."""
        with _same_randomness(batch["labels"].device):
            return model(**batch).loss

    def predict(self, model: Any, batch: Batch) -> Prediction:
        """The loss; sounds are made for a few clips only, by `sounds`."""
        return Prediction([Output("")] * len(batch["labels"]), float(self.steady_loss(model, batch)))

    def log_likelihood(self, forward: Any, batch: Batch) -> torch.Tensor:
        """Log-likelihoods of frames but for a constant, (rows, frames): minus a frame's mean absolute error.

        The model's loss is the absolute error, which is what a Laplace distribution around the predicted
        frame gives; its scale is the number of bins, so that a frame weighs about as much as a code.
        """
        with _same_randomness(batch["labels"].device):
            predicted = forward(**batch).spectrogram
        is_frame = batch["labels"][..., 0] != _IGNORED
        error = (predicted.float() - batch["labels"]).abs().mean(dim=2)
        return -error.masked_fill(~is_frame, 0.0)

    def count_steps(self, batch: Batch) -> torch.Tensor:
        return (batch["labels"][..., 0] != _IGNORED).sum(dim=1)

    def prepare(self, model: Any, clips: ClipSets) -> list[tuple[str, str]]:
        """No guided attention, no random layers left out; the voices of the clips."""
        from transformers import GenerationConfig

        config = model.config
        config.use_guided_attention_loss = (
            False  # it assumes that speech goes on evenly, which prompts do not
        )
        config.encoder_layerdrop = config.decoder_layerdrop = 0.0
        for part in (model.speecht5.encoder.wrapped_encoder, model.speecht5.decoder.wrapped_decoder):
            part.layerdrop = 0.0
        if getattr(model, "generation_config", None) is None:
            model.generation_config = GenerationConfig()
        self.voices = voices.read(self._model_path, width=self._width) or voices.derive(
            clips.train, self.features, rate=self.sampling_rate, width=self._width
        )
        unknown = self.voices.unknown([*clips.train, *clips.validation])
        if not unknown:
            return self.cut_warning(clips)
        text = (
            f"These speakers have no voice of their own, so the first one speaks: {', '.join(unknown[:5])}."
        )
        return [("voices", text), *self.cut_warning(clips)]

    def save_beside(self, folder: Path) -> None:
        """Keep the voices, without which the adapter would sound otherwise."""
        voices.write(folder, self.voices)

    def adopt(self, model: Any, metadata: dict[str, Any]) -> None:
        """Speak with the run's voices, the usual one first; without a run, with those beside the model."""
        kept = metadata.get("adapter_path")
        found = voices.read(Path(kept), width=self._width) if kept else None
        found = found or voices.read(self._model_path, width=self._width)
        if found is None:
            self.voices = voices.default(self._width)
            return
        order = [name for name in metadata.get("voices", []) if name in found.names]
        names = [*order, *(name for name in found.names if name not in order)]
        rows = [found.names.index(name) for name in names]
        self.voices = voices.Voices(names, found.vectors[rows])

    def metadata(self) -> dict[str, Any]:
        return {**super().metadata(), "voices": self.voices.names}

    def generate(
        self,
        model: Any,
        prompts: Sequence[str],
        *,
        seconds: float,
        seed: int,
        on_step: OnStep | None = None,
        voice: str | None = None,
        **_: Any,
    ) -> list[np.ndarray]:
        """Speak each text, `seconds` at most; see `SoundTask.generate`.

        Args:
            voice: the name of a speaker; the first one by default.
        """
        base = without_adapter_wrapper(model)
        device = next(base.parameters()).device
        vector = torch.from_numpy(self.voices.vectors[[self.voices.number(voice)]]).to(device)
        n_steps = max(1, int(seconds * self._frames_per_s / self._reduction))
        made = []
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.no_grad():
            for index, prompt in enumerate(prompts):
                torch.manual_seed(seed)
                tokens = torch.tensor([self.encode(" ".join(prompt.split()))[1:]], device=device)
                with _told(base, on_step, n_steps * index, n_steps * len(prompts)):
                    frames = base.generate_speech(
                        tokens, vector, maxlenratio=n_steps * self._reduction / tokens.shape[1] + 1e-6
                    )
                made.append(self._to_sound(frames.float().cpu().numpy(), seed))
        return made

    def _to_sound(self, frames: np.ndarray, seed: int) -> np.ndarray:
        """Log-mel frames (frames, bins) to float32 samples, by Griffin and Lim 1984."""
        import librosa

        extractor = self.feature_extractor
        mel_filters = extractor.mel_filters.T.astype(np.float64)  # (bins, frequencies)
        n_needed = -(-extractor.n_fft // extractor.sample_stride) + 1
        silence = np.full((max(0, n_needed - len(frames)), frames.shape[1]), np.log10(extractor.mel_floor))
        levels = np.nan_to_num(np.concatenate([frames, silence]).astype(np.float64))
        magnitudes = librosa.util.nnls(mel_filters, 10.0 ** np.minimum(levels, _LOUDEST).T)
        sound = librosa.griffinlim(
            magnitudes.astype(np.float32),
            n_iter=_GRIFFIN_LIM_ROUNDS,
            hop_length=extractor.sample_stride,
            win_length=extractor.sample_size,
            n_fft=extractor.n_fft,
            random_state=seed,
        )
        n_samples = len(frames) * extractor.sample_stride
        return np.clip(sound[:n_samples], -1.0, 1.0).astype(np.float32)


@contextmanager
def _same_randomness(device: torch.device) -> Iterator[None]:
    """One fixed seed inside; the random states go on afterwards as if nothing had happened."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(_STEADY_SEED)
        yield


@contextmanager
def _told(base: Any, on_step: OnStep | None, n_before: int, n_steps: int) -> Iterator[None]:
    """Tell of each step that the decoder makes inside."""
    if on_step is None:
        yield
        return
    n_done = n_before

    def tell(*_: Any) -> None:
        nonlocal n_done
        n_done += 1
        on_step(min(n_done, n_steps), n_steps)

    hook = base.speecht5.decoder.wrapped_decoder.register_forward_hook(tell)
    try:
        yield
    finally:
        hook.remove()
