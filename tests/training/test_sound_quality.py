"""Judging sounds by a CLAP model: a tiny one with random weights, from a local folder."""

from pathlib import Path

import numpy as np
import pytest
from tokenizers.pre_tokenizers import ByteLevel

from qlora_studio.training.failures import ModelNotUsable
from qlora_studio.training.sound_quality import Clap
from tests.training import melodies, tiny


def _make_clap(folder: Path) -> Path:
    import torch
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor, RobertaTokenizer

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    letters = sorted(ByteLevel.alphabet())
    tokenizer = RobertaTokenizer(vocab={t: i for i, t in enumerate([*special, *letters])}, merges=[])
    extractor = ClapFeatureExtractor(feature_size=64, truncation="rand_trunc")
    ClapProcessor(extractor, tokenizer).save_pretrained(folder)
    config = ClapConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "projection_dim": 16,
        },
        audio_config={
            "patch_embeds_hidden_size": 16,
            "hidden_size": 128,
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 1, 2, 2],
            "projection_dim": 16,
        },
        projection_dim=16,
    )
    torch.manual_seed(0)
    ClapModel(config).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_a_sound_and_a_text_have_a_similarity(tmp_path: Path) -> None:
    clap = Clap(_make_clap(tmp_path / "clap"))
    sound = melodies.tone(440.0, seconds=1.0)
    first = clap.score("a tone", sound, tiny.RATE)
    assert -1.0 <= first <= 1.0
    assert clap.score("a tone", sound, tiny.RATE) == first
    assert clap.score("something else", sound, tiny.RATE) != first
    assert clap.score("a tone", np.zeros_like(sound), tiny.RATE) != first


def test_a_folder_without_a_clap_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotUsable, match="QLORA_STUDIO_CLAP_MODEL"):
        Clap(tmp_path)
