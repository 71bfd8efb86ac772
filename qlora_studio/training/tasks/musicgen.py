"""MusicGen: a prompt to codes of sound, by Copet et al. 2023 (arXiv:2306.05284)."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.modeling_outputs import BaseModelOutput

from qlora_studio.training.clips import ClipSets
from qlora_studio.training.failures import ModelNotUsable
from qlora_studio.training.tasks import delay
from qlora_studio.training.tasks.base import Batch, Features, Output, Prediction, without_adapter_wrapper
from qlora_studio.training.tasks.sounds import OnStep, SoundTask

DROPPED_PROMPTS = 0.1  # of all, so that the model can also do without: guidance needs both
GUIDANCE = 3.0
_TOP_K = 250
_MAX_PROMPT_TOKENS = 256
_SAID_BYTES = 2**30  # of prompts kept as the text encoder made them


class MusicgenTask(SoundTask):
    """Sound is turned into codes once a clip, by the model's own codec; the decoder learns to say them.

    The "labels" of a clip, to the feature store, are its prompt's tokens; the codes are its features. Only
    the decoder is adapted. Text encoder and codec stay frozen and in evaluation mode, as in the original
    training.
    """

    max_clip_s = 30.0
    preset_epochs = 10.0

    def __init__(self, model_path: Path, config: dict[str, Any]) -> None:
        super().__init__(model_path, config)
        decoder = config.get("decoder", {})
        self.n_codebooks = int(decoder.get("num_codebooks", 4))
        self.codebook_size = int(decoder.get("vocab_size", 2048))
        self._starts_random = not any(model_path.glob("*.safetensors"))
        self._codec: Any = None
        self._text_encoder: Any = None
        self._said: dict[tuple[int, ...], torch.Tensor] = {}
        self._room_bytes = _SAID_BYTES
        if decoder.get("audio_channels", 1) != 1:
            raise ModelNotUsable("This is a stereo MusicGen; only mono ones can be trained here.")

    def _load_processor(self, model_path: Path) -> Any:
        from transformers import AutoProcessor

        try:
            return AutoProcessor.from_pretrained(model_path, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise ModelNotUsable("The model's tokenizer or feature extractor cannot be loaded.") from error

    @property
    def feature_extractor(self) -> Any:
        return self.processor.feature_extractor

    def features(self, samples: np.ndarray) -> Features:
        """`codes` (codebooks, frames), int16, of the clip's first 30 s, by the model's own codec."""
        samples = samples[: round(self.max_clip_s * self.sampling_rate)]
        device = next(self._codec.parameters()).device
        sound = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))[None, None].to(device)
        with torch.no_grad():
            codes = self._codec.eval().encode(sound).audio_codes  # (1, 1, codebooks, frames)
        return {"codes": codes[0, 0].cpu().numpy().astype(np.int16)}

    def encode(self, target: str) -> list[int]:
        """Return the prompt's tokens."""
        return self.processor.tokenizer(target, truncation=True, max_length=_MAX_PROMPT_TOKENS).input_ids

    def collate(self, features: Sequence[Features], labels: Sequence[list[int]]) -> Batch:
        """Prompts `input_ids` (batch, tokens), or what the text encoder made of them, and their mask.

        `labels` are (batch, time, codebooks), delayed; see `delay`.
        """
        delayed = delay.pad([delay.delay(item["codes"]) for item in features])
        delay.check(delayed, n_codebooks=self.n_codebooks, codebook_size=self.codebook_size)
        return {**self._prompts(labels), "labels": torch.from_numpy(delayed)}

    def _prompts(self, prompts: Sequence[list[int]]) -> Batch:
        longest = max(len(ids) for ids in prompts)
        mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in prompts])
        if self._text_encoder is not None:
            hidden = [self._say(tuple(ids)) for ids in prompts]
            padded = torch.nn.utils.rnn.pad_sequence(hidden, batch_first=True)
            return {"encoder_outputs": BaseModelOutput(last_hidden_state=padded), "attention_mask": mask}
        padding = self.processor.tokenizer.pad_token_id
        ids = torch.tensor([[*ids, *([padding] * (longest - len(ids)))] for ids in prompts])
        return {"input_ids": ids, "attention_mask": mask}

    def _say(self, ids: tuple[int, ...]) -> torch.Tensor:
        """What the frozen text encoder makes of a prompt, (tokens, width); kept while there is room."""
        if ids in self._said:
            return self._said[ids]
        tokens = torch.tensor([ids], device=next(self._text_encoder.parameters()).device)
        with torch.no_grad():
            said = self._text_encoder(input_ids=tokens).last_hidden_state[0].float().cpu()
        if said.nbytes <= self._room_bytes:
            self._room_bytes -= said.nbytes
            self._said[ids] = said
        return said

    def speed_up(self, model: Any) -> bool:
        """Run the text encoder once a prompt: it is frozen and never varies its output."""
        self._text_encoder = without_adapter_wrapper(model).text_encoder
        return True

    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        """The model's own loss, with some prompts left out.

        A prompt is left out as generation leaves it out for guidance: by a mask of zeros.
        """
        is_kept = torch.rand(len(batch["labels"])) >= DROPPED_PROMPTS
        mask = batch["attention_mask"] * is_kept.to(batch["attention_mask"].device)[:, None]
        return model(**{**batch, "attention_mask": mask}).loss

    def weight_of(self, batch: Batch) -> float:
        """The loss is a mean over frames: each codebook has as many codes as the first."""
        return int((batch["labels"][..., 0] != delay.IGNORED).sum())

    def steady_loss(self, model: Any, batch: Batch) -> torch.Tensor:
        """The model's own loss, with all prompts."""
        return model(**batch).loss

    def predict(self, model: Any, batch: Batch) -> Prediction:
        """The loss; sounds are made for a few clips only, by `sounds`."""
        n_clips = len(batch["labels"])
        return Prediction([Output("")] * n_clips, float(model(**batch).loss))

    def log_likelihood(self, forward: Any, batch: Batch) -> torch.Tensor:
        """Log-probabilities of all codes of a step together; see `SoundTask.log_likelihood`."""
        logits = forward(**batch).logits  # (rows x codebooks, steps, codes)
        labels = batch["labels"]
        n_rows, n_steps, n_codebooks = labels.shape
        per_code = -torch.nn.functional.cross_entropy(
            logits.float().reshape(n_rows, n_codebooks, n_steps, -1).permute(0, 3, 2, 1),
            labels,
            ignore_index=delay.IGNORED,
            reduction="none",
        )
        return per_code.sum(dim=2)

    def count_steps(self, batch: Batch) -> torch.Tensor:
        return (batch["labels"] != delay.IGNORED).any(dim=2).sum(dim=1)

    def prepare(self, model: Any, clips: ClipSets) -> list[tuple[str, str]]:
        """Check that codec and decoder agree; start token; text encoder and codec out of training mode.

        Raises:
            ModelNotUsable: the codec makes other codes than the decoder says.
        """
        decoder, codec = model.config.decoder, model.config.audio_encoder
        n_made = model.audio_encoder.quantizer.get_num_quantizers_for_bandwidth(codec.target_bandwidths[0])
        if (n_made, codec.codebook_size) != (decoder.num_codebooks, decoder.vocab_size):
            raise ModelNotUsable(
                f"The model's codec makes {n_made} codes of {codec.codebook_size}, its decoder says "
                f"{decoder.num_codebooks} of {decoder.vocab_size}."
            )
        set_special_tokens(model)
        self._codec = model.audio_encoder
        for frozen in (model.audio_encoder, model.text_encoder):
            frozen.requires_grad_(False)
            frozen.register_forward_pre_hook(_leave_training_mode)
        return self.cut_warning(clips)

    def expected_first_loss(self) -> float | None:
        """The natural logarithm of the codebooks' size, for random weights."""
        return math.log(self.codebook_size) if self._starts_random else None

    def chance_loss(self) -> float | None:
        """The same logarithm: also a trained model is above it only if the codes are in another layout."""
        return math.log(self.codebook_size)

    def generate(
        self,
        model: Any,
        prompts: Sequence[str],
        *,
        seconds: float,
        seed: int,
        on_step: OnStep | None = None,
        guidance: float = GUIDANCE,
        temperature: float = 1.0,
        top_k: int = _TOP_K,
        **_: Any,
    ) -> list[np.ndarray]:
        """Sample `seconds` of sound for each prompt; see `SoundTask.generate`.

        Args:
            guidance: how much more to follow the prompt than to do without; 1 is no guidance.
            temperature: above 0; lower is less varied.
            top_k: how many of the likeliest codes to draw from.
        """
        base = without_adapter_wrapper(model)
        set_special_tokens(base)
        codec = base.config.audio_encoder
        n_frames = max(1, math.ceil(seconds * codec.frame_rate))
        n_steps = n_frames + self.n_codebooks - 1
        tokens = self.processor.tokenizer(
            [" ".join(prompt.split()) for prompt in prompts],
            padding=True,
            truncation=True,
            max_length=_MAX_PROMPT_TOKENS,
            return_tensors="pt",
        )
        device = next(base.parameters()).device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.no_grad():
            torch.manual_seed(seed)
            waves = base.generate(
                input_ids=tokens["input_ids"].to(device),
                attention_mask=tokens["attention_mask"].to(device),
                do_sample=True,
                guidance_scale=guidance,
                temperature=temperature,
                top_k=min(top_k, self.codebook_size),
                max_new_tokens=n_steps,
                use_cache=True,
                stopping_criteria=[_Told(on_step, n_steps)] if on_step else None,
            )
        n_samples = round(seconds * self.sampling_rate)
        return [wave[0, :n_samples].float().cpu().numpy() for wave in waves]


def set_special_tokens(model: Any) -> None:
    """Name the padding and start token where the library looks for them.

    transformers 5 dropped `decoder_start_token_id` from the decoder's config, yet its loss reads it; files
    without `generation_config.json` lack it for generation too.
    """
    decoder = model.config.decoder
    decoder.decoder_start_token_id = decoder.bos_token_id
    generation = model.generation_config
    generation.decoder_start_token_id = generation.bos_token_id = decoder.bos_token_id
    generation.pad_token_id = decoder.pad_token_id


def _leave_training_mode(module: torch.nn.Module, _inputs: Any) -> None:
    module.train(False)


class _Told:
    """Tells how far generation is; never ends it by itself (but what is told may raise)."""

    def __init__(self, on_step: OnStep, n_steps: int) -> None:
        self._on_step = on_step
        self._n_steps = n_steps
        self._n_done = 0

    def __call__(self, input_ids: torch.Tensor, _scores: Any, **_: Any) -> torch.Tensor:
        self._n_done += 1
        self._on_step(self._n_done, self._n_steps)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
