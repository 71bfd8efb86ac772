"""Tones with a label by pitch, and tiny models to tell them apart."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from qlora_studio.contracts.enums import Split, Task
from qlora_studio.contracts.spec import ClipItem, WorkerSpec
from tests.training import tiny

PITCHES = {"low": 300.0, "middle": 900.0, "high": 2700.0}


def write_tones(
    folder: Path, *, n_train: int = 18, n_validation: int = 9, labels: tuple[str, ...] = tuple(PITCHES)
) -> Path:
    """Write tones of 0.2 to 0.4 s and a pause, their classes in turn, and `clips.jsonl`; returns its path."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    clips = []
    for index in range(n_train + n_validation):
        label = labels[index % len(labels)]
        t = np.arange(int(tiny.RATE * rng.uniform(0.3, 0.6))) / tiny.RATE
        pitch = PITCHES.get(label, 500.0) * rng.uniform(0.95, 1.05)
        is_on = t < 0.6 * t[-1]  # some extractors take away what never changes
        sound = 0.4 * np.sin(2 * np.pi * pitch * t) * is_on + 0.01 * rng.standard_normal(t.size)
        path = folder / f"tone{index:03d}.wav"
        soundfile.write(path, sound, tiny.RATE, subtype="PCM_16")
        split = Split.TRAIN if index < n_train else Split.VALIDATION
        duration_s = len(t) / tiny.RATE
        clips.append(
            ClipItem(id=f"tone_{index:03d}", path=str(path), duration_s=duration_s, label=label, split=split)
        )
    return write_listing(folder / "clips.jsonl", clips)


def write_listing(path: Path, clips: list[ClipItem]) -> Path:
    path.write_text("\n".join(clip.model_dump_json() for clip in clips) + "\n")
    return path


def make_spec(root: Path, model_path: Path, clips_path: Path, **settings: Any) -> WorkerSpec:
    """`tiny.make_spec` for audio classification."""
    spec = tiny.make_spec(root, model_path, clips_path, **settings)
    return spec.model_copy(update={"task": Task.AUDIO_CLASSIFICATION})


def make_ast(folder: Path) -> Path:
    """A small AST with a window of 0.64 s and its own head of four other classes."""
    import torch
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

    ASTFeatureExtractor(num_mel_bins=32, max_length=64).save_pretrained(folder)
    config = ASTConfig(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_length=64,
        num_mel_bins=32,
        frequency_stride=16,
        time_stride=16,
        id2label=dict(enumerate(("bell", "horn", "rain", "siren"))),
    )
    torch.manual_seed(0)
    ASTForAudioClassification(config).save_pretrained(folder)
    return folder


def make_whisper(folder: Path) -> Path:
    """A small speech-to-text Whisper with a window of 2 s: only its encoder is of use here."""
    import torch
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    WhisperFeatureExtractor(chunk_length=2, feature_size=80).save_pretrained(folder)
    config = WhisperConfig(
        vocab_size=64,
        d_model=64,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_source_positions=100,
        max_target_positions=32,
        classifier_proj_size=32,
        dropout=0.0,
        init_std=0.2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    torch.manual_seed(0)
    WhisperForConditionalGeneration(config).save_pretrained(folder)
    return folder


# Most come with a head for speech to text, as the well-known ones do.
MAKERS: dict[str, Callable[[Path], Path]] = {
    "audio-spectrogram-transformer": make_ast,
    "wav2vec2": lambda folder: tiny.make_waveform_ctc(folder, "wav2vec2"),
    "hubert": lambda folder: tiny.make_waveform_ctc(folder, "hubert"),
    "wavlm": lambda folder: tiny.make_waveform_ctc(folder, "wavlm"),
    "wav2vec2-conformer": lambda folder: tiny.make_waveform_ctc(folder, "wav2vec2-conformer"),
    "wav2vec2-bert": tiny.make_wav2vec2_bert,
    "whisper": make_whisper,
}
