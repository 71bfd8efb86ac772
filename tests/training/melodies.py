"""Tones with a prompt each, and tiny models that make sound."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from qlora_studio.contracts.enums import Split, Task, TrainingType
from qlora_studio.contracts.spec import ClipItem, PairItem, PreferenceSpec, WorkerSpec
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
    _let_codec_hear_pitch(model.audio_encoder)
    model.save_pretrained(folder)
    return folder


def _let_codec_hear_pitch(codec: Any) -> None:
    """Draw each codebook from what the random encoder makes of tones; else all sounds would be one code."""
    import torch

    sweep = np.concatenate([tone(pitch, seconds=0.2) for pitch in np.geomspace(100, 6000, 24)])
    with torch.no_grad():
        left = codec.encoder(torch.from_numpy(sweep)[None, None])[0].T  # (frames, width)
        for layer in codec.quantizer.layers:
            layer.codebook.embed.copy_(left[torch.randperm(len(left))[: layer.codebook.codebook_size]])
            chosen = layer.codebook.encode(left[None])[0]
            left = left - layer.codebook.decode(chosen)


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


def write_pairs(folder: Path, *, n_train: int = 8, n_validation: int = 8) -> Path:
    """For the prompt "a tone" the low one is always chosen, the high one rejected; returns `clips.jsonl`."""
    rng = np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)
    pairs = []
    for index in range(n_train + n_validation):
        paths, lengths = [], []
        for name, pitch in (("chosen", 250.0), ("rejected", 2000.0)):
            sound = tone(pitch * float(rng.uniform(0.98, 1.02)), seconds=float(rng.uniform(0.3, 0.5)))
            path = folder / f"{index:03d}_{name}.wav"
            soundfile.write(path, sound, tiny.RATE, subtype="PCM_16")
            paths.append(str(path))
            lengths.append(len(sound) / tiny.RATE)
        pairs.append(
            PairItem(
                id=f"pair_{index:03d}",
                prompt="a tone",
                chosen=paths[0],
                rejected=paths[1],
                chosen_s=lengths[0],
                rejected_s=lengths[1],
                split=Split.TRAIN if index < n_train else Split.VALIDATION,
            )
        )
    listing = folder / "clips.jsonl"
    listing.write_text("\n".join(pair.model_dump_json() for pair in pairs) + "\n")
    return listing


def make_preference_spec(
    root: Path,
    model_path: Path,
    clips_path: Path,
    *,
    preference: dict[str, Any] | None = None,
    **settings: Any,
) -> WorkerSpec:
    """`make_spec` for preference tuning."""
    spec = make_spec(root, model_path, clips_path, training_type=TrainingType.PREFERENCE, **settings)
    train = spec.train.model_copy(update={"preference": PreferenceSpec(**(preference or {}))})
    return spec.model_copy(update={"train": train})


def make_speecht5(folder: Path) -> Path:
    """A small SpeechT5 with random weights that spells English letters."""
    import sentencepiece
    import torch
    from transformers import (
        SpeechT5Config,
        SpeechT5FeatureExtractor,
        SpeechT5ForTextToSpeech,
        SpeechT5Processor,
        SpeechT5Tokenizer,
    )

    folder.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the quick brown fox jumps over the lazy dog"] * 20),
        model_prefix=str(folder / "spm_char"),
        model_type="char",
        vocab_size=31,
        bos_id=0,
        pad_id=1,
        eos_id=2,
        unk_id=3,
        minloglevel=2,
    )
    tokenizer = SpeechT5Tokenizer(str(folder / "spm_char.model"))
    SpeechT5Processor(SpeechT5FeatureExtractor(), tokenizer).save_pretrained(folder)
    (folder / "spm_char.vocab").unlink()
    config = SpeechT5Config(
        vocab_size=64,
        hidden_size=64,
        encoder_layers=1,
        encoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=64,
        conv_dim=[8],
        conv_stride=[5],
        conv_kernel=[10],
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        speech_decoder_prenet_units=64,
        speech_decoder_postnet_units=16,
        speech_decoder_postnet_layers=2,
        speaker_embedding_dim=64,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        positional_dropout=0.0,
    )
    torch.manual_seed(0)
    SpeechT5ForTextToSpeech(config).save_pretrained(folder)
    return folder
