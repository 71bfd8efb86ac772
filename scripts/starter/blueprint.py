"""The starter model before it has learnt anything: its shape, its letters, its ears."""

import json
from pathlib import Path

RATE_HZ = 16_000
# Three mel frames of 10 ms are one step of the model: 33 a second, enough for the letters of the fastest
# speaker, and a third less work than the usual two.
N_MELS, STRIDE = 80, 3
PAD, UNKNOWN, SPACE = "<pad>", "<unk>", "|"
TOKENS = [PAD, UNKNOWN, SPACE, "'", *"abcdefghijklmnopqrstuvwxyz"]


def write_blueprint(target: Path) -> None:
    """Write `config.json`, tokenizer and feature extractor of the untrained model; no weights.

    The widths are multiples of 64, the block in which 4-bit layers are stored.
    """
    from transformers import (
        SeamlessM4TFeatureExtractor,
        Wav2Vec2BertConfig,
        Wav2Vec2BertProcessor,
        Wav2Vec2CTCTokenizer,
    )

    target.mkdir(parents=True, exist_ok=True)
    vocabulary = target / "vocab.json"
    vocabulary.write_text(json.dumps({token: i for i, token in enumerate(TOKENS)}), encoding="utf-8")
    tokenizer = Wav2Vec2CTCTokenizer(
        str(vocabulary),
        pad_token=PAD,
        unk_token=UNKNOWN,
        word_delimiter_token=SPACE,
        bos_token=None,
        eos_token=None,
    )
    features = SeamlessM4TFeatureExtractor(
        feature_size=N_MELS, num_mel_bins=N_MELS, stride=STRIDE, sampling_rate=RATE_HZ
    )
    Wav2Vec2BertProcessor(feature_extractor=features, tokenizer=tokenizer).save_pretrained(target)
    config = Wav2Vec2BertConfig(
        architectures=["Wav2Vec2BertForCTC"],
        vocab_size=len(TOKENS),
        pad_token_id=TOKENS.index(PAD),
        bos_token_id=None,
        eos_token_id=None,
        feature_projection_input_dim=N_MELS * STRIDE,
        hidden_size=192,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=512,
        conv_depthwise_kernel_size=15,
        position_embeddings_type="rotary",
        ctc_loss_reduction="mean",
        ctc_zero_infinity=True,
        layerdrop=0.0,
        hidden_dropout=0.0,
        conformer_conv_dropout=0.0,
        final_dropout=0.0,
        mask_time_prob=0.0,
        mask_time_length=4,
        mask_time_min_masks=0,
    )
    config.save_pretrained(target)
