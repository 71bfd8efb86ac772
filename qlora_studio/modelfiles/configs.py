"""Strict schemas of `config.json`, one per model family. Only what they name ever reaches a loader.

Bounds are generous for real models and small enough that a hostile config cannot ask for terabytes. A key
that a schema does not name is dropped; `json_files` names those refused or dropped wherever they are nested.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Width = Annotated[int, Field(ge=1, le=32_768)]
Layers = Annotated[int, Field(ge=1, le=256)]
Heads = Annotated[int, Field(ge=1, le=512)]
Vocabulary = Annotated[int, Field(ge=2, le=1_000_000)]
Positions = Annotated[int, Field(ge=1, le=1_000_000)]
Probability = Annotated[float, Field(ge=0, le=1)]
Small = Annotated[int, Field(ge=0, le=100_000)]
TokenId = Annotated[int, Field(ge=-1, le=1_000_000)]
Convolutions = Annotated[list[Annotated[int, Field(ge=1, le=8192)]], Field(min_length=1, max_length=32)]
Activation = Literal[
    "gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu", "silu", "swish", "mish", "tanh"
]
Dtype = Literal["float32", "float16", "bfloat16"]


class FamilyConfig(BaseModel):
    """What every family has. Values keep their JSON types; unknown keys are left out."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False, defer_build=True)

    model_type: str
    architectures: Annotated[list[str], Field(max_length=4)] = []
    dtype: Dtype | None = None
    torch_dtype: Dtype | None = None
    id2label: Annotated[dict[str, Annotated[str, Field(max_length=200)]], Field(max_length=10_000)] | None = (
        None
    )
    label2id: Annotated[dict[str, Small], Field(max_length=10_000)] | None = None
    classifier_proj_size: Width | None = None
    use_weighted_layer_sum: bool | None = None
    pad_token_id: TokenId | None = None
    bos_token_id: TokenId | None = None
    eos_token_id: TokenId | None = None
    apply_spec_augment: bool | None = None
    mask_time_prob: Probability = 0.05
    mask_time_length: Small = 10
    mask_time_min_masks: Small = 2
    mask_feature_prob: Probability = 0.0
    mask_feature_length: Small = 10
    mask_feature_min_masks: Small = 0

    def cleaned(self) -> dict[str, Any]:
        """The config to load: the keys that were given, nothing else (defaults stay the library's)."""
        return self.model_dump(mode="json", exclude_unset=True)

    def landmarks(self) -> dict[str, tuple[int, ...]]:
        """Tensors that the weights must hold for the config to be theirs, with their shapes."""
        return {}

    @property
    def width(self) -> int:
        """Size of the hidden states."""
        raise NotImplementedError

    @property
    def n_layers(self) -> int:
        """Transformer layers, encoder and decoder together."""
        raise NotImplementedError


class WhisperConfig(FamilyConfig):
    model_type: Literal["whisper"]
    is_encoder_decoder: Literal[True] = True
    vocab_size: Vocabulary = 51_865
    num_mel_bins: Annotated[int, Field(ge=8, le=512)] = 80
    d_model: Width = 384
    encoder_layers: Layers = 4
    decoder_layers: Layers = 4
    encoder_attention_heads: Heads = 6
    decoder_attention_heads: Heads = 6
    encoder_ffn_dim: Width = 1536
    decoder_ffn_dim: Width = 1536
    encoder_layerdrop: Probability = 0.0
    decoder_layerdrop: Probability = 0.0
    decoder_start_token_id: TokenId = 50_257
    activation_function: Activation = "gelu"
    dropout: Probability = 0.0
    attention_dropout: Probability = 0.0
    activation_dropout: Probability = 0.0
    init_std: Annotated[float, Field(gt=0, le=10)] = 0.02
    scale_embedding: bool = False
    max_source_positions: Positions = 1500
    max_target_positions: Positions = 448
    suppress_tokens: Annotated[list[int], Field(max_length=10_000)] | None = None
    begin_suppress_tokens: Annotated[list[int], Field(max_length=10_000)] | None = None
    median_filter_width: Annotated[int, Field(ge=1, le=1001)] = 7
    tie_word_embeddings: bool = True
    use_cache: bool = True

    @model_validator(mode="after")
    def _heads_divide(self) -> "WhisperConfig":
        for heads in (self.encoder_attention_heads, self.decoder_attention_heads):
            if self.d_model % heads:
                raise ValueError("d_model must be a multiple of the number of attention heads")
        return self

    @property
    def width(self) -> int:
        return self.d_model

    @property
    def n_layers(self) -> int:
        return self.encoder_layers + self.decoder_layers


class Rotary(BaseModel):
    """How positions are turned into angles; other ways than the plain one are refused."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False, defer_build=True)

    rope_type: Literal["default"] = "default"
    rope_theta: Annotated[float, Field(ge=1, le=1e9)] = 10_000.0
    partial_rotary_factor: Annotated[float, Field(gt=0, le=1)] = 0.9


class MoonshineConfig(FamilyConfig):
    model_type: Literal["moonshine"]
    is_encoder_decoder: Literal[True] = True
    vocab_size: Vocabulary = 32_768
    hidden_size: Width = 288
    intermediate_size: Width = 1152
    encoder_num_hidden_layers: Layers = 6
    decoder_num_hidden_layers: Layers = 6
    encoder_num_attention_heads: Heads = 8
    decoder_num_attention_heads: Heads = 8
    encoder_num_key_value_heads: Heads | None = None
    decoder_num_key_value_heads: Heads | None = None
    pad_head_dim_to_multiple_of: Annotated[int, Field(ge=1, le=1024)] | None = None
    encoder_hidden_act: Activation = "gelu"
    decoder_hidden_act: Activation = "silu"
    max_position_embeddings: Positions = 512
    initializer_range: Annotated[float, Field(gt=0, le=10)] = 0.02
    decoder_start_token_id: TokenId = 1
    use_cache: bool = True
    rope_parameters: Rotary | None = None
    rope_theta: Annotated[float, Field(ge=1, le=1e9)] | None = None
    partial_rotary_factor: Annotated[float, Field(gt=0, le=1)] | None = None
    attention_bias: bool = False
    attention_dropout: Probability = 0.0
    tie_word_embeddings: Literal[True] = True

    @model_validator(mode="after")
    def _heads_divide(self) -> "MoonshineConfig":
        for heads in (self.encoder_num_attention_heads, self.decoder_num_attention_heads):
            if self.hidden_size % heads:
                raise ValueError("hidden_size must be a multiple of the number of attention heads")
        return self

    @property
    def width(self) -> int:
        return self.hidden_size

    @property
    def n_layers(self) -> int:
        return self.encoder_num_hidden_layers + self.decoder_num_hidden_layers


class EncoderConfig(FamilyConfig):
    """One stack of transformer layers, named as transformers names it."""

    hidden_size: Width
    num_hidden_layers: Layers
    num_attention_heads: Heads
    intermediate_size: Width
    hidden_act: Activation = "gelu"
    initializer_range: Annotated[float, Field(gt=0, le=10)] = 0.02

    @model_validator(mode="after")
    def _heads_divide(self) -> "EncoderConfig":
        if self.hidden_size % self.num_attention_heads:
            raise ValueError("hidden_size must be a multiple of num_attention_heads")
        return self

    @property
    def width(self) -> int:
        return self.hidden_size

    @property
    def n_layers(self) -> int:
        return self.num_hidden_layers


class SpectrogramConfig(EncoderConfig):
    """AST: a vision transformer over patches of a mel spectrogram."""

    model_type: Literal["audio-spectrogram-transformer"]
    hidden_size: Width = 768
    num_hidden_layers: Layers = 12
    num_attention_heads: Heads = 12
    intermediate_size: Width = 3072
    hidden_dropout_prob: Probability = 0.0
    attention_probs_dropout_prob: Probability = 0.0
    layer_norm_eps: Annotated[float, Field(gt=0, le=1)] = 1e-12
    patch_size: Annotated[int, Field(ge=1, le=1024)] = 16
    qkv_bias: bool = True
    frequency_stride: Annotated[int, Field(ge=1, le=1024)] = 10
    time_stride: Annotated[int, Field(ge=1, le=1024)] = 10
    max_length: Positions = 1024
    num_mel_bins: Annotated[int, Field(ge=8, le=512)] = 128


class CtcConfig(EncoderConfig):
    """What the Wav2Vec2 kin share. A CTC head's vocabulary must be given: it is read from the file."""

    vocab_size: Vocabulary | None = None
    hidden_dropout: Probability = 0.1
    activation_dropout: Probability = 0.1
    attention_dropout: Probability = 0.1
    feat_proj_dropout: Probability = 0.0
    final_dropout: Probability = 0.1
    layerdrop: Probability = 0.1
    layer_norm_eps: Annotated[float, Field(gt=0, le=1)] = 1e-5
    ctc_loss_reduction: Literal["sum", "mean"] = "sum"
    ctc_zero_infinity: bool = False
    add_adapter: bool = False
    adapter_kernel_size: Annotated[int, Field(ge=1, le=64)] = 3
    adapter_stride: Annotated[int, Field(ge=1, le=64)] = 2
    num_adapter_layers: Annotated[int, Field(ge=0, le=64)] = 3
    output_hidden_size: Width | None = None


class WaveformConfig(CtcConfig):
    """Families that read the waveform through a stack of convolutions."""

    conv_dim: Convolutions = [512] * 7
    conv_stride: Convolutions = [5, 2, 2, 2, 2, 2, 2]
    conv_kernel: Convolutions = [10, 3, 3, 3, 3, 2, 2]
    conv_bias: bool = False
    feat_extract_norm: Literal["group", "layer"] = "group"
    feat_extract_activation: Activation = "gelu"
    num_feat_extract_layers: Layers = 7
    num_conv_pos_embeddings: Annotated[int, Field(ge=1, le=4096)] = 128
    num_conv_pos_embedding_groups: Annotated[int, Field(ge=1, le=4096)] = 16
    feat_quantizer_dropout: Probability = 0.0

    @model_validator(mode="after")
    def _stack_agrees(self) -> "WaveformConfig":
        if not len(self.conv_dim) == len(self.conv_stride) == len(self.conv_kernel):
            raise ValueError("conv_dim, conv_stride and conv_kernel must be equally long")
        return self


class Wav2Vec2Config(WaveformConfig):
    model_type: Literal["wav2vec2"]
    do_stable_layer_norm: bool = False
    adapter_attn_dim: Width | None = None


class HubertConfig(WaveformConfig):
    model_type: Literal["hubert"]
    do_stable_layer_norm: bool = False
    feat_proj_layer_norm: bool = True
    conv_pos_batch_norm: bool = False


class WavLmConfig(WaveformConfig):
    model_type: Literal["wavlm"]
    do_stable_layer_norm: bool = False
    num_buckets: Annotated[int, Field(ge=1, le=100_000)] = 320
    max_bucket_distance: Annotated[int, Field(ge=1, le=100_000)] = 800


class ConformerConfig(CtcConfig):
    """Families whose layers are Conformer blocks."""

    rotary_embedding_base: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    max_source_positions: Positions = 5000
    conv_depthwise_kernel_size: Annotated[int, Field(ge=1, le=1001)] = 31
    conformer_conv_dropout: Probability = 0.1


class Wav2Vec2ConformerConfig(ConformerConfig, WaveformConfig):
    model_type: Literal["wav2vec2-conformer"]
    position_embeddings_type: Literal["relative", "rotary"] | None = "relative"


class Wav2Vec2BertConfig(ConformerConfig):
    model_type: Literal["wav2vec2-bert"]
    feature_projection_input_dim: Width = 160
    position_embeddings_type: Literal["relative", "relative_key", "rotary"] | None = "relative_key"
    left_max_position_embeddings: Annotated[int, Field(ge=0, le=10_000)] = 64
    right_max_position_embeddings: Annotated[int, Field(ge=0, le=10_000)] = 8
    adapter_act: Activation = "relu"
    use_intermediate_ffn_before_adapter: bool = False
