"""Tiny models and clips, made on the spot with fixed seeds: the real code paths in seconds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from qlora_studio.contracts.enums import Split, Task, TrainingType
from qlora_studio.contracts.spec import (
    ClipItem,
    EvaluationSpec,
    OptimizationSpec,
    QLoraSpec,
    TrainSpec,
    WorkerSpec,
)

RATE = 16_000
LETTERS = "abcdefgh"
WORDS = ("bad", "cafe", "head", "face", "bead", "hag", "deaf", "gab")


def write_clips(folder: Path, *, n_train: int = 12, n_validation: int = 4, seed: int = 0) -> Path:
    """Write tone sequences (one tone a letter, 0.1 s each) and their `clips.jsonl`; returns its path."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for index in range(n_train + n_validation):
        text = " ".join(rng.choice(WORDS, size=int(rng.integers(1, 4))))
        path = folder / f"clip{index:03d}.wav"
        sound = np.concatenate([_tone(letter, rng) for letter in text])
        soundfile.write(path, sound, RATE, subtype="PCM_16")
        split = Split.TRAIN if index < n_train else Split.VALIDATION
        clip = ClipItem(
            id=f"clip_{index:03d}", path=str(path), duration_s=len(sound) / RATE, text=text, split=split
        )
        lines.append(clip.model_dump_json())
    listing = folder / "clips.jsonl"
    listing.write_text("\n".join(lines) + "\n")
    return listing


def _tone(letter: str, rng: np.random.Generator) -> np.ndarray:
    t = np.arange(RATE // 10) / RATE
    noise = 0.005 * rng.standard_normal(t.size)
    if letter == " ":
        return noise.astype(np.float32)
    frequency = 300 * 1.3 ** LETTERS.index(letter)
    return (0.4 * np.sin(2 * np.pi * frequency * t) * np.hanning(t.size) + noise).astype(np.float32)


def make_spec(
    root: Path,
    model_path: Path,
    clips_path: Path,
    *,
    training_type: TrainingType = TrainingType.QLORA,
    qlora: dict[str, Any] | None = None,
    optimization: dict[str, Any] | None = None,
    evaluation: dict[str, Any] | None = None,
    attempt: int = 1,
    resume: bool = False,
) -> WorkerSpec:
    """A worker's spec for a run in `root`, with small defaults."""
    train = TrainSpec(
        name="tiny",
        dataset_id="ds_tiny",
        model_id="mod_tiny",
        training_type=training_type,
        qlora=QLoraSpec(**{"rank": 4, "alpha": 8, "dropout": 0.0, **(qlora or {})}),
        optimization=OptimizationSpec(
            **{"learning_rate": 5e-3, "batch_size": 4, "max_steps": 6, **(optimization or {})}
        ),
        evaluation=EvaluationSpec(**{"every_steps": 3, "n_samples": 2, "probe": False, **(evaluation or {})}),
    )
    return WorkerSpec(
        job_id="job_tiny",
        attempt=attempt,
        task=Task.SPEECH_TO_TEXT,
        train=train,
        model_path=model_path,
        clips_path=clips_path,
        run_path=root,
        attempt_path=root / f"attempt-{attempt}",
        resume=resume,
        threads=1,
        device="cpu",
    )


def write_spec(spec: WorkerSpec) -> Path:
    """Write `spec.json` where the worker looks for it; returns its path."""
    spec.attempt_path.mkdir(parents=True, exist_ok=True)
    path = spec.attempt_path / "spec.json"
    path.write_text(spec.model_dump_json())
    return path


def read_events(spec: WorkerSpec, type_: str | None = None) -> list[dict[str, Any]]:
    """The attempt's events, all or of one type."""
    lines = (spec.attempt_path / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    return [event for event in events if type_ in (None, event["type"])]


def ctc_tokenizer(folder: Path) -> Any:
    """Eight letters, a space and a blank; id 0 is the blank."""
    from transformers import Wav2Vec2CTCTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: index for index, token in enumerate(["<pad>", "<unk>", "|", *LETTERS])}
    path = folder / "vocab.json"
    path.write_text(json.dumps(vocabulary))
    return Wav2Vec2CTCTokenizer(
        str(path),
        pad_token="<pad>",
        unk_token="<unk>",
        word_delimiter_token="|",
        bos_token=None,
        eos_token=None,
    )


def make_wav2vec2_bert(folder: Path, *, with_weights: bool = True, seed: int = 0) -> Path:
    """A small model of the starter's shape: log-mel in, rotary positions, no batch norm."""
    import torch
    from transformers import (
        SeamlessM4TFeatureExtractor,
        Wav2Vec2BertConfig,
        Wav2Vec2BertForCTC,
        Wav2Vec2BertProcessor,
    )

    tokenizer = ctc_tokenizer(folder)
    extractor = SeamlessM4TFeatureExtractor(feature_size=40, num_mel_bins=40, stride=2, sampling_rate=RATE)
    Wav2Vec2BertProcessor(extractor, tokenizer).save_pretrained(folder)
    config = Wav2Vec2BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        feature_projection_input_dim=80,
        position_embeddings_type="rotary",
        conv_depthwise_kernel_size=7,
        mask_time_prob=0.0,
        layerdrop=0.0,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
        final_dropout=0.0,
        conformer_conv_dropout=0.0,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
        architectures=["Wav2Vec2BertForCTC"],
    )
    if not with_weights:
        config.save_pretrained(folder)
        return folder
    torch.manual_seed(seed)
    Wav2Vec2BertForCTC(config).save_pretrained(folder)
    return folder


def make_waveform_ctc(folder: Path, family: str, *, seed: int = 0) -> Path:
    """A small wav2vec2, hubert, wavlm or wav2vec2-conformer on raw waveforms."""
    import torch
    import transformers
    from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Processor

    prefix = {
        "wav2vec2": "Wav2Vec2",
        "hubert": "Hubert",
        "wavlm": "WavLM",
        "wav2vec2-conformer": "Wav2Vec2Conformer",
    }[family]
    tokenizer = ctc_tokenizer(folder)
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=RATE, return_attention_mask=True, do_normalize=True)
    Wav2Vec2Processor(extractor, tokenizer).save_pretrained(folder)
    config = getattr(transformers, f"{prefix}Config")(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=(16, 16, 16),
        conv_kernel=(10, 8, 8),
        conv_stride=(8, 8, 5),
        feat_extract_norm="layer",
        num_feat_extract_layers=3,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        do_stable_layer_norm=True,
        mask_time_prob=0.0,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
    )
    torch.manual_seed(seed)
    getattr(transformers, f"{prefix}ForCTC")(config).save_pretrained(folder)
    return folder


def make_whisper(
    folder: Path,
    *,
    seed: int = 0,
    d_model: int = 64,
    n_layers: int = 1,
    ffn: int = 64,
    is_multilingual: bool = False,
) -> Path:
    """A small Whisper with random weights and a tokenizer of single bytes."""
    import torch
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
        WhisperTokenizer,
    )

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {letter: index for index, letter in enumerate(sorted(ByteLevel.alphabet()))}
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"]
    vocabulary |= {token: len(vocabulary) + index for index, token in enumerate(special)}
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": special[1:]})
    extractor = WhisperFeatureExtractor(chunk_length=30, feature_size=80)
    WhisperProcessor(extractor, tokenizer).save_pretrained(folder)
    start, end = vocabulary["<|startoftranscript|>"], vocabulary["<|endoftext|>"]
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=d_model,
        encoder_layers=n_layers,
        decoder_layers=n_layers,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=ffn,
        decoder_ffn_dim=ffn,
        max_target_positions=448,
        dropout=0.0,
        decoder_start_token_id=start,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    torch.manual_seed(seed)
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=start,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        max_length=448,
        no_timestamps_token_id=vocabulary["<|notimestamps|>"],
        is_multilingual=is_multilingual,
    )
    if is_multilingual:  # an English model with them would be asked for its language all the same
        model.generation_config.lang_to_id = {"<|en|>": vocabulary["<|en|>"]}
        model.generation_config.task_to_id = {"transcribe": vocabulary["<|transcribe|>"]}
    model.save_pretrained(folder)
    return folder


def make_moonshine(folder: Path, *, seed: int = 0, width: int = 64) -> Path:
    """A small Moonshine with random weights and a tokenizer of single bytes, as its files are published."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import (
        MoonshineConfig,
        MoonshineForConditionalGeneration,
        PreTrainedTokenizerFast,
        Wav2Vec2FeatureExtractor,
    )

    folder.mkdir(parents=True, exist_ok=True)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(["<unk>", "<s>", "</s>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=RATE, do_normalize=False, return_attention_mask=True)
    extractor.save_pretrained(folder)
    config = MoonshineConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        intermediate_size=2 * width,
        encoder_num_hidden_layers=1,
        decoder_num_hidden_layers=1,
        encoder_num_attention_heads=2,
        decoder_num_attention_heads=2,
    )
    torch.manual_seed(seed)
    MoonshineForConditionalGeneration(config).save_pretrained(folder)
    return folder


def read_clips(path: Path) -> list[ClipItem]:
    return [ClipItem.model_validate_json(line) for line in path.read_text().splitlines()]
