"""The starter sound model before it has learnt anything: its shape and its words."""

import math
from typing import Any

from qlora_studio.training.tasks.musicgen import set_special_tokens
from scripts.starter_sound.prompts import words
from scripts.starter_sound.sounds import FRAME, RATE

N_CODEBOOKS, CODEBOOK_SIZE = 4, 512
# First stage of the encoder: 16 samples become one step of 64 channels; second: 20 steps become one frame.
STRIDES = (16, 20)
FILTERS = 32
WIDTH = FILTERS * 2 ** len(STRIDES)  # of a frame


def make_tokenizer() -> Any:
    """Whole words; what is unknown falls to letters, which no prompt was trained with."""
    from transformers import T5Tokenizer

    letters = [(letter, -12.0) for letter in "abcdefghijklmnopqrstuvwxyz-',."]
    known = [(f"▁{word}", -3.0) for word in words()]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -6.0)]
    return T5Tokenizer(vocab=[*special, *known, *letters], extra_ids=0)


def codec_config() -> Any:
    """Of the codec: 50 frames a second, four codes each."""
    from transformers import EncodecConfig

    assert math.prod(STRIDES) == FRAME
    return EncodecConfig(
        sampling_rate=RATE,
        upsampling_ratios=list(reversed(STRIDES)),
        hidden_size=WIDTH,
        codebook_dim=WIDTH,
        num_filters=FILTERS,
        num_residual_layers=1,
        compress=FILTERS,  # the residual blocks add nothing: as small as they can be
        use_conv_shortcut=False,
        kernel_size=1,
        last_kernel_size=1,
        residual_kernel_size=1,
        num_lstm_layers=1,
        use_causal_conv=False,
        codebook_size=CODEBOOK_SIZE,
        target_bandwidths=[N_CODEBOOKS * math.log2(CODEBOOK_SIZE) * RATE / FRAME / 1000],
    )


def make_model(tokenizer: Any) -> Any:
    """The whole model with random weights, the decoder's widths multiples of 64: whole blocks in 4 bits."""
    from transformers import MusicgenConfig, MusicgenDecoderConfig, MusicgenForConditionalGeneration, T5Config

    text = T5Config(
        vocab_size=len(tokenizer), d_model=128, d_kv=32, d_ff=256, num_layers=2, num_heads=4, dropout_rate=0.0
    )
    decoder = MusicgenDecoderConfig(
        vocab_size=CODEBOOK_SIZE,
        num_codebooks=N_CODEBOOKS,
        hidden_size=256,
        ffn_dim=1024,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=2048,
        dropout=0.0,
        pad_token_id=CODEBOOK_SIZE,
        bos_token_id=CODEBOOK_SIZE,
    )
    model = MusicgenForConditionalGeneration(
        MusicgenConfig(
            text_encoder=text.to_dict(), audio_encoder=codec_config().to_dict(), decoder=decoder.to_dict()
        )
    )
    set_special_tokens(model)
    return model
