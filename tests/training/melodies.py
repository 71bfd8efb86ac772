"""Tones with a prompt each, and tiny models that make sound."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from qlora_studio.contracts.enums import Split, Task
from qlora_studio.contracts.spec import ClipItem, WorkerSpec
from tests.training import tiny
from tests.training.tones import write_listing

PITCHES = {"a low tone": 250.0, "a high tone": 2000.0}
N_CODEBOOKS = 4
CODEBOOK_SIZE = 64


def write_melodies(folder: Path, *, n_train: int = 12, n_validation: int = 4) -> Path:
    """Write tones of 0.4 to 0.8 s, low and high in turn, and `clips.jsonl`; returns its path."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    clips = []
    for index in range(n_train + n_validation):
        text = tuple(PITCHES)[index % len(PITCHES)]
        path = folder / f"melody{index:03d}.wav"
        sound = tone(PITCHES[text], seconds=float(rng.uniform(0.4, 0.8)))
        soundfile.write(path, sound, tiny.RATE, subtype="PCM_16")
        split = Split.TRAIN if index < n_train else Split.VALIDATION
        clips.append(
            ClipItem(
                id=f"melody_{index:03d}",
                path=str(path),
                duration_s=len(sound) / tiny.RATE,
                text=text,
                split=split,
            )
        )
    return write_listing(folder / "clips.jsonl", clips)


def tone(pitch: float, *, seconds: float) -> np.ndarray:
    t = np.arange(round(seconds * tiny.RATE)) / tiny.RATE
    return (0.4 * np.sin(2 * np.pi * pitch * t)).astype(np.float32)


def make_spec(root: Path, model_path: Path, clips_path: Path, **settings: Any) -> WorkerSpec:
    """`tiny.make_spec` for text to audio."""
    spec = tiny.make_spec(root, model_path, clips_path, **settings)
    return spec.model_copy(update={"task": Task.TEXT_TO_AUDIO})


def t5_tokenizer() -> Any:
    """Single letters, as T5's tokenizer has them."""
    from transformers import T5Tokenizer

    letters = [(letter, -2.0) for letter in "abcdefghijklmnopqrstuvwxyz.,"]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0), *letters]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0)


def make_musicgen(folder: Path, *, with_weights: bool = True, **decoder: Any) -> Path:
    """A small MusicGen at 16 kHz: 50 frames a second, four codebooks of 64, random weights."""
    import torch
    from transformers import (
        EncodecFeatureExtractor,
        MusicgenForConditionalGeneration,
        MusicgenProcessor,
    )

    tokenizer = t5_tokenizer()
    extractor = EncodecFeatureExtractor(feature_size=1, sampling_rate=tiny.RATE)
    MusicgenProcessor(extractor, tokenizer).save_pretrained(folder)
    config = musicgen_config(len(tokenizer), **decoder)
    if not with_weights:
        config.save_pretrained(folder)
        return folder
    torch.manual_seed(0)
    model = MusicgenForConditionalGeneration(config)
    codec: Any = model.audio_encoder
    for layer in codec.quantizer.layers:  # drawn as zeros: every sound would be the same codes
        torch.nn.init.normal_(layer.codebook.embed, std=0.05)
    model.save_pretrained(folder)
    return folder


def musicgen_config(n_tokens: int, **decoder: Any) -> Any:
    from transformers import EncodecConfig, MusicgenConfig, MusicgenDecoderConfig, T5Config

    bits_per_s = N_CODEBOOKS * math.log2(CODEBOOK_SIZE) * 50
    return MusicgenConfig(
        text_encoder=T5Config(
            vocab_size=n_tokens, d_model=64, d_kv=32, d_ff=128, num_layers=1, num_heads=2
        ).to_dict(),
        audio_encoder=EncodecConfig(
            sampling_rate=tiny.RATE,
            upsampling_ratios=[8, 5, 4, 2],
            hidden_size=16,
            num_filters=4,
            num_lstm_layers=1,
            codebook_size=CODEBOOK_SIZE,
            codebook_dim=16,
            target_bandwidths=[bits_per_s / 1000],
        ).to_dict(),
        decoder=MusicgenDecoderConfig(
            **{
                "vocab_size": CODEBOOK_SIZE,
                "num_codebooks": N_CODEBOOKS,
                "hidden_size": 128,
                "ffn_dim": 128,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "max_position_embeddings": 256,
                "dropout": 0.0,
                "pad_token_id": CODEBOOK_SIZE,
                "bos_token_id": CODEBOOK_SIZE,
                **decoder,
            }
        ).to_dict(),
    )
