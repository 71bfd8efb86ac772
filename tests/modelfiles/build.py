"""Small model folders, made without torch, that tests bend and break."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

WHISPER = {
    "architectures": ["WhisperForConditionalGeneration"],
    "model_type": "whisper",
    "vocab_size": 60,
    "num_mel_bins": 80,
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "decoder_start_token_id": 1,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
CTC = {
    "architectures": ["Wav2Vec2ForCTC"],
    "model_type": "wav2vec2",
    "vocab_size": 20,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": [8, 8],
    "conv_stride": [5, 2],
    "conv_kernel": [10, 3],
    "num_feat_extract_layers": 2,
    "pad_token_id": 0,
}


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position, data = 0, b""
    names = {"float32": "F32", "float16": "F16", "int64": "I64"}
    for name, array in tensors.items():
        raw = array.tobytes()
        header[name] = {
            "dtype": names[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [position, position + len(raw)],
        }
        position += len(raw)
        data += raw
    write_raw(path, json.dumps(header).encode(), data)


def write_raw(path: Path, header: bytes, data: bytes = b"") -> None:
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


def whisper_tensors() -> dict[str, np.ndarray]:
    def zeros(*shape: int) -> np.ndarray:
        return np.zeros(shape, dtype=np.float16)

    tensors = {
        "model.encoder.conv1.weight": zeros(32, 80, 3),
        "model.encoder.embed_positions.weight": zeros(1500, 32),
        "model.decoder.embed_tokens.weight": zeros(60, 32),
        "model.decoder.embed_positions.weight": zeros(448, 32),
        "proj_out.weight": zeros(60, 32),
    }
    for stack, blocks in (("encoder", ["self_attn"]), ("decoder", ["self_attn", "encoder_attn"])):
        layer = f"model.{stack}.layers.0"
        for block in blocks:
            for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
                tensors[f"{layer}.{block}.{name}.weight"] = zeros(32, 32)
        tensors[f"{layer}.fc1.weight"] = zeros(64, 32)
        tensors[f"{layer}.fc2.weight"] = zeros(32, 64)
        tensors[f"{layer}.final_layer_norm.weight"] = zeros(32)
    return tensors


def ctc_tensors() -> dict[str, np.ndarray]:
    def zeros(*shape: int) -> np.ndarray:
        return np.zeros(shape, dtype=np.float32)

    tensors = {
        "wav2vec2.feature_extractor.conv_layers.0.conv.weight": zeros(8, 1, 10),
        "wav2vec2.feature_projection.projection.weight": zeros(32, 8),
        "lm_head.weight": zeros(20, 32),
        "lm_head.bias": zeros(20),
    }
    for index in range(2):
        layer = f"wav2vec2.encoder.layers.{index}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            tensors[f"{layer}.attention.{name}.weight"] = zeros(32, 32)
        tensors[f"{layer}.feed_forward.intermediate_dense.weight"] = zeros(64, 32)
        tensors[f"{layer}.feed_forward.output_dense.weight"] = zeros(32, 64)
    return tensors


def whisper_folder(folder: Path, **config: Any) -> Path:
    """A whole, harmless Whisper-shaped folder; `config` overrides keys (None stays null)."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", WHISPER | config)
    write_json(
        folder / "preprocessor_config.json",
        {"feature_extractor_type": "WhisperFeatureExtractor", "sampling_rate": 16000, "feature_size": 80},
    )
    write_json(
        folder / "tokenizer.json", {"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}}
    )
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "WhisperTokenizer"})
    write_safetensors(folder / "model.safetensors", whisper_tensors())
    (folder / "README.md").write_text("---\nlicense: mit\nlanguage:\n- en\n- no\n---\n# A card\n")
    return folder


def ctc_folder(folder: Path, **config: Any) -> Path:
    """A whole, harmless Wav2Vec2 CTC folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", CTC | config)
    write_json(folder / "preprocessor_config.json", {"sampling_rate": 16000, "do_normalize": True})
    write_json(folder / "vocab.json", {"<pad>": 0, "|": 1, "a": 2})
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "Wav2Vec2CTCTokenizer"})
    write_safetensors(folder / "model.safetensors", ctc_tensors())
    return folder


AST = {
    "architectures": ["ASTForAudioClassification"],
    "model_type": "audio-spectrogram-transformer",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_length": 128,
    "num_mel_bins": 64,
    "id2label": {"0": "bell", "1": "door"},
    "label2id": {"bell": 0, "door": 1},
}


def ast_folder(folder: Path, **config: Any) -> Path:
    """A whole, harmless AST folder, with the names that its files have had since before transformers 5."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", AST | config)
    extractor = {
        "feature_extractor_type": "ASTFeatureExtractor",
        "sampling_rate": 16000,
        "mean": -4.25,
        "std": 4.5,
    }
    write_json(folder / "preprocessor_config.json", extractor)
    tensors = {"classifier.dense.weight": np.zeros((2, 32), dtype=np.float32)}
    for index in range(2):
        layer = f"audio_spectrogram_transformer.encoder.layer.{index}"
        for name in ("attention.query", "attention.key", "attention.value", "output.dense"):
            tensors[f"{layer}.attention.{name}.weight"] = np.zeros((32, 32), dtype=np.float32)
        tensors[f"{layer}.intermediate.dense.weight"] = np.zeros((64, 32), dtype=np.float32)
        tensors[f"{layer}.output.dense.weight"] = np.zeros((32, 64), dtype=np.float32)
    write_safetensors(folder / "model.safetensors", tensors)
    return folder


MUSICGEN: dict[str, Any] = {
    "architectures": ["MusicgenForConditionalGeneration"],
    "model_type": "musicgen",
    "text_encoder": {"model_type": "t5", "d_model": 16, "d_ff": 32, "num_layers": 1, "num_heads": 2},
    "audio_encoder": {
        "model_type": "encodec",
        "target_bandwidths": [0.6],
        "sampling_rate": 16000,
        "upsampling_ratios": [8, 5, 4, 2],
        "codebook_size": 64,
        "codebook_dim": 8,
        "audio_channels": 1,
    },
    "decoder": {
        "model_type": "musicgen_decoder",
        "vocab_size": 64,
        "num_codebooks": 2,
        "hidden_size": 32,
        "ffn_dim": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "pad_token_id": 64,
        "bos_token_id": 64,
    },
}


def musicgen_folder(folder: Path, **parts: Mapping[str, Any]) -> Path:
    """A whole, harmless MusicGen folder; `parts` override keys of its three configs."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = {name: {**MUSICGEN[name], **values} for name, values in parts.items()}
    write_json(folder / "config.json", MUSICGEN | changed)
    extractor = {"feature_extractor_type": "EncodecFeatureExtractor", "sampling_rate": 16000}
    write_json(folder / "preprocessor_config.json", extractor)
    write_json(folder / "tokenizer.json", {"version": "1.0", "model": {"type": "Unigram", "vocab": []}})
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "T5Tokenizer"})
    shapes = {
        "text_encoder.shared.weight": (32, 16),
        "text_encoder.encoder.embed_tokens.weight": (32, 16),
        "text_encoder.encoder.block.0.layer.0.SelfAttention.q.weight": (32, 16),
        "text_encoder.encoder.block.0.layer.1.DenseReluDense.wo.weight": (16, 32),
        "text_encoder.encoder.final_layer_norm.weight": (16,),
        "audio_encoder.quantizer.layers.0.codebook.embed": (64, 8),
        "audio_encoder.encoder.layers.0.conv.weight_v": (4, 1, 7),
        "enc_to_dec_proj.weight": (32, 16),
    }
    for index in range(2):
        shapes[f"decoder.lm_heads.{index}.weight"] = (64, 32)
        shapes[f"decoder.model.decoder.embed_tokens.{index}.weight"] = (65, 32)
    layer = "decoder.model.decoder.layers.0"
    for block in ("self_attn", "encoder_attn"):
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes[f"{layer}.{block}.{name}.weight"] = (32, 32)
    shapes |= {f"{layer}.fc1.weight": (64, 32), f"{layer}.fc2.weight": (32, 64)}
    tensors = {name: np.zeros(shape, dtype=np.float32) for name, shape in shapes.items()}
    write_safetensors(folder / "model.safetensors", tensors)
    return folder


def speecht5_folder(folder: Path, **config: Any) -> Path:
    """A whole, harmless SpeechT5 folder."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {"hidden_size": 32, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 40}
    more = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "speaker_embedding_dim": 16}
    kind = {"model_type": "speecht5", "architectures": ["SpeechT5ForTextToSpeech"]}
    write_json(folder / "config.json", kind | sizes | more | config)
    extractor = {"feature_extractor_type": "SpeechT5FeatureExtractor", "sampling_rate": 16000, "fmin": 80}
    write_json(folder / "preprocessor_config.json", extractor)
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "SpeechT5Tokenizer"})
    (folder / "spm_char.model").write_bytes(b"letters")
    shapes = {
        "speech_decoder_postnet.feat_out.weight": (160, 32),
        "speecht5.encoder.prenet.embed_tokens.weight": (40, 32),
        "speecht5.decoder.prenet.speaker_embeds_layer.weight": (32, 48),
        "speecht5.decoder.prenet.layers.0.weight": (256, 80),
        "speech_decoder_postnet.layers.0.conv.weight": (256, 80, 5),
        "speecht5.encoder.wrapped_encoder.embed_positions.pe_k.weight": (320, 16),
    }
    for part in ("encoder.wrapped_encoder", "decoder.wrapped_decoder"):
        layer = f"speecht5.{part}.layers.0"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes[f"{layer}.attention.{name}.weight"] = (32, 32)
    tensors = {name: np.zeros(shape, dtype=np.float32) for name, shape in shapes.items()}
    write_safetensors(folder / "model.safetensors", tensors)
    return folder


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data))


MOONSHINE: dict[str, Any] = {
    "architectures": ["MoonshineForConditionalGeneration"],
    "model_type": "moonshine",
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 64,
    "encoder_num_hidden_layers": 1,
    "decoder_num_hidden_layers": 1,
    "encoder_num_attention_heads": 2,
    "decoder_num_attention_heads": 2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.9},
}


def moonshine_folder(folder: Path, **config: Any) -> Path:
    """A whole, harmless Moonshine folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", MOONSHINE | config)
    extractor = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16000}
    write_json(folder / "preprocessor_config.json", extractor)
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})
    write_json(folder / "tokenizer.json", {"version": "1.0"})
    tensors = {"model.decoder.embed_tokens.weight": np.zeros((60, 32), dtype=np.float32)}
    for layer in ("encoder.layers.0", "decoder.layers.0"):
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            tensors[f"model.{layer}.self_attn.{name}.weight"] = np.zeros((32, 32), dtype=np.float32)
        tensors[f"model.{layer}.mlp.fc1.weight"] = np.zeros((64, 32), dtype=np.float32)
        tensors[f"model.{layer}.mlp.fc2.weight"] = np.zeros((32, 64), dtype=np.float32)
    write_safetensors(folder / "model.safetensors", tensors)
    return folder
