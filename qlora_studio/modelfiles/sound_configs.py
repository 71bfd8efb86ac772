"""Strict schemas of `config.json` for families that make sound: models made of several models."""

import math
from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator

from qlora_studio.modelfiles.configs import (
    Activation,
    Convolutions,
    FamilyConfig,
    Heads,
    Layers,
    Positions,
    Probability,
    TokenId,
    Vocabulary,
    Width,
)

Ratios = Annotated[list[Annotated[int, Field(ge=1, le=64)]], Field(min_length=1, max_length=8)]
Kernel = Annotated[int, Field(ge=1, le=64)]
MAX_CODEBOOKS = 32


class Part(BaseModel):
    """One model inside another; unknown keys are left out here too."""

    model_config = FamilyConfig.model_config


class T5Part(Part):
    """The text encoder."""

    model_type: Literal["t5"]
    vocab_size: Vocabulary = 32_128
    d_model: Width = 512
    d_kv: Width = 64
    d_ff: Width = 2048
    num_layers: Layers = 6
    num_decoder_layers: Layers | None = None
    num_heads: Heads = 8
    relative_attention_num_buckets: Annotated[int, Field(ge=1, le=4096)] = 32
    relative_attention_max_distance: Annotated[int, Field(ge=1, le=100_000)] = 128
    dropout_rate: Probability = 0.1
    layer_norm_epsilon: Annotated[float, Field(gt=0, le=1)] = 1e-6
    initializer_factor: Annotated[float, Field(gt=0, le=10)] = 1.0
    feed_forward_proj: Literal["relu", "gated-gelu", "gelu", "gated-relu", "gated-silu"] = "relu"
    is_encoder_decoder: bool = True
    use_cache: bool = True
    pad_token_id: TokenId | None = 0
    eos_token_id: TokenId | None = 1


class EncodecPart(Part):
    """The codec: sound to codes and back."""

    model_type: Literal["encodec"]
    target_bandwidths: Annotated[list[Annotated[float, Field(gt=0, le=1000)]], Field(min_length=1)]
    sampling_rate: Annotated[int, Field(ge=4_000, le=192_000)] = 24_000
    audio_channels: Annotated[int, Field(ge=1, le=2)] = 1
    normalize: Literal[False] = False
    chunk_length_s: None = None
    overlap: Annotated[float, Field(ge=0, lt=1)] | None = None
    hidden_size: Width = 128
    num_filters: Width = 32
    num_residual_layers: Layers = 1
    upsampling_ratios: Ratios = [8, 5, 4, 2]
    norm_type: Literal["weight_norm", "time_group_norm"] = "weight_norm"
    kernel_size: Kernel = 7
    last_kernel_size: Kernel = 7
    residual_kernel_size: Kernel = 3
    dilation_growth_rate: Annotated[int, Field(ge=1, le=16)] = 2
    use_causal_conv: bool = True
    pad_mode: Literal["reflect", "constant", "replicate"] = "reflect"
    compress: Annotated[int, Field(ge=1, le=64)] = 2
    num_lstm_layers: Annotated[int, Field(ge=0, le=16)] = 2
    trim_right_ratio: Probability = 1.0
    codebook_size: Vocabulary = 1024
    codebook_dim: Width | None = None
    use_conv_shortcut: bool = True

    @property
    def frame_rate(self) -> int:
        """Codes a second, for each codebook."""
        return math.ceil(self.sampling_rate / math.prod(self.upsampling_ratios))

    @property
    def n_codebooks(self) -> int:
        """Codes that describe one frame at the lowest bandwidth, which is the one used."""
        bits_per_s = math.log2(self.codebook_size) * self.frame_rate
        return max(1, math.floor(self.target_bandwidths[0] * 1000 / bits_per_s))


class MusicgenDecoderPart(Part):
    """The language model over codes."""

    model_type: Literal["musicgen_decoder"]
    vocab_size: Vocabulary = 2048
    hidden_size: Width = 1024
    ffn_dim: Width = 4096
    num_hidden_layers: Layers = 24
    num_attention_heads: Heads = 16
    max_position_embeddings: Positions = 2048
    activation_function: Activation = "gelu"
    layerdrop: Probability = 0.0
    dropout: Probability = 0.1
    attention_dropout: Probability = 0.0
    activation_dropout: Probability = 0.0
    initializer_factor: Annotated[float, Field(gt=0, le=10)] = 0.02
    scale_embedding: bool = False
    num_codebooks: Annotated[int, Field(ge=1, le=MAX_CODEBOOKS)] = 4
    audio_channels: Annotated[int, Field(ge=1, le=2)] = 1
    pad_token_id: TokenId = 2048
    bos_token_id: TokenId = 2048
    tie_word_embeddings: Literal[False] = False
    use_cache: bool = True

    @model_validator(mode="after")
    def _fits(self) -> "MusicgenDecoderPart":
        if self.audio_channels != 1:
            raise ValueError("this is a stereo MusicGen; only mono ones can be trained here")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError("hidden_size must be a multiple of num_attention_heads")
        if {self.pad_token_id, self.bos_token_id} != {self.vocab_size}:
            raise ValueError("padding and start must be the token after the last code")
        return self


class MusicgenConfig(FamilyConfig):
    """A T5 encoder, a codec and a decoder over its codes."""

    model_type: Literal["musicgen"]
    is_encoder_decoder: Literal[True] = True
    text_encoder: T5Part
    audio_encoder: EncodecPart
    decoder: MusicgenDecoderPart
    initializer_factor: Annotated[float, Field(gt=0, le=10)] = 0.02

    @model_validator(mode="after")
    def _parts_agree(self) -> "MusicgenConfig":
        codec, decoder = self.audio_encoder, self.decoder
        if codec.audio_channels != 1:
            raise ValueError("this is a stereo MusicGen; only mono ones can be trained here")
        if (codec.codebook_size, codec.n_codebooks) != (decoder.vocab_size, decoder.num_codebooks):
            raise ValueError(
                f"the codec makes {codec.n_codebooks} codes of {codec.codebook_size}, the decoder says "
                f"{decoder.num_codebooks} of {decoder.vocab_size}"
            )
        return self

    def landmarks(self) -> dict[str, tuple[int, ...]]:
        """The last head, the first embedding, the text encoder's last norm, the codec's first codebook."""
        codec, decoder = self.audio_encoder, self.decoder
        return {
            f"decoder.lm_heads.{decoder.num_codebooks - 1}.weight": (decoder.vocab_size, decoder.hidden_size),
            "decoder.model.decoder.embed_tokens.0.weight": (decoder.vocab_size + 1, decoder.hidden_size),
            "text_encoder.encoder.final_layer_norm.weight": (self.text_encoder.d_model,),
            "audio_encoder.quantizer.layers.0.codebook.embed": (
                codec.codebook_size,
                codec.codebook_dim or codec.hidden_size,
            ),
        }

    @property
    def width(self) -> int:
        return self.decoder.hidden_size

    @property
    def n_layers(self) -> int:
        return self.decoder.num_hidden_layers

    @property
    def sampling_rate(self) -> int:
        return self.audio_encoder.sampling_rate

    @property
    def frame_rate(self) -> float:
        return float(self.audio_encoder.frame_rate)

    @property
    def vocab_size(self) -> int:
        """Codes of all codebooks: what the heads choose from at each step."""
        return self.decoder.vocab_size * self.decoder.num_codebooks


class SpeechT5Config(FamilyConfig):
    """Text tokens and a speaker's vector to log-mel frames."""

    model_type: Literal["speecht5"]
    is_encoder_decoder: Literal[True] = True
    vocab_size: Vocabulary = 81
    hidden_size: Width = 768
    encoder_layers: Layers = 12
    encoder_attention_heads: Heads = 12
    encoder_ffn_dim: Width = 3072
    encoder_layerdrop: Probability = 0.1
    decoder_layers: Layers = 6
    decoder_attention_heads: Heads = 12
    decoder_ffn_dim: Width = 3072
    decoder_layerdrop: Probability = 0.1
    decoder_start_token_id: TokenId = 2
    hidden_act: Activation = "gelu"
    positional_dropout: Probability = 0.1
    hidden_dropout: Probability = 0.1
    attention_dropout: Probability = 0.1
    activation_dropout: Probability = 0.1
    initializer_range: Annotated[float, Field(gt=0, le=10)] = 0.02
    layer_norm_eps: Annotated[float, Field(gt=0, le=1)] = 1e-5
    scale_embedding: bool = False
    feat_extract_norm: Literal["group", "layer"] = "group"
    feat_extract_activation: Activation = "gelu"
    feat_proj_dropout: Probability = 0.0
    conv_dim: Convolutions = [512] * 7
    conv_stride: Convolutions = [5, 2, 2, 2, 2, 2, 2]
    conv_kernel: Convolutions = [10, 3, 3, 3, 3, 2, 2]
    conv_bias: bool = False
    num_conv_pos_embeddings: Annotated[int, Field(ge=1, le=4096)] = 128
    num_conv_pos_embedding_groups: Annotated[int, Field(ge=1, le=4096)] = 16
    num_mel_bins: Annotated[int, Field(ge=8, le=512)] = 80
    speech_decoder_prenet_layers: Annotated[int, Field(ge=1, le=16)] = 2
    speech_decoder_prenet_units: Width = 256
    speech_decoder_prenet_dropout: Probability = 0.5
    speaker_embedding_dim: Width = 512
    speech_decoder_postnet_layers: Annotated[int, Field(ge=1, le=16)] = 5
    speech_decoder_postnet_units: Width = 256
    speech_decoder_postnet_kernel: Annotated[int, Field(ge=1, le=63)] = 5
    speech_decoder_postnet_dropout: Probability = 0.5
    reduction_factor: Annotated[int, Field(ge=1, le=16)] = 2
    max_speech_positions: Positions = 4000
    max_text_positions: Positions = 450
    encoder_max_relative_position: Annotated[int, Field(ge=1, le=10_000)] = 160
    use_cache: bool = True
    tie_word_embeddings: bool = True

    @model_validator(mode="after")
    def _heads_divide(self) -> "SpeechT5Config":
        for heads in (self.encoder_attention_heads, self.decoder_attention_heads):
            if self.hidden_size % heads:
                raise ValueError("hidden_size must be a multiple of the number of attention heads")
        return self

    def landmarks(self) -> dict[str, tuple[int, ...]]:
        """What makes frames, and where texts and voices come in."""
        voice = self.speaker_embedding_dim + self.hidden_size
        return {
            "speech_decoder_postnet.feat_out.weight": (
                self.num_mel_bins * self.reduction_factor,
                self.hidden_size,
            ),
            "speecht5.encoder.prenet.embed_tokens.weight": (self.vocab_size, self.hidden_size),
            "speecht5.decoder.prenet.speaker_embeds_layer.weight": (self.hidden_size, voice),
        }

    @property
    def width(self) -> int:
        return self.hidden_size

    @property
    def n_layers(self) -> int:
        return self.encoder_layers + self.decoder_layers
