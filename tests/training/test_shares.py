"""For every task: the losses of the shares of a batch, as they are weighed, are that of the batch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from qlora_studio.training import families, models
from qlora_studio.training.feature_store import FeatureStore
from qlora_studio.training.ranks import Ranks
from tests.training import melodies, tiny, tones, voices
from tests.training.running import prepared

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:`is_gradient_checkpointing`:FutureWarning",
        "ignore::DeprecationWarning",
        "ignore:The following generation flags",
        "ignore:Support for mismatched key_padding_mask",
    ),
]
Case = tuple[Callable[[Path], Path], Callable[[Path], Path], Callable[..., Any]]
CASES: dict[str, Case] = {
    "whisper": (tiny.make_whisper, tiny.write_clips, tiny.make_spec),
    "moonshine": (tiny.make_moonshine, tiny.write_clips, tiny.make_spec),
    "wav2vec2-bert": (tiny.make_wav2vec2_bert, tiny.write_clips, tiny.make_spec),
    "wav2vec2": (lambda p: tiny.make_waveform_ctc(p, "wav2vec2"), tiny.write_clips, tiny.make_spec),
    "ast classes": (tones.make_ast, tones.write_tones, tones.make_spec),
    "whisper classes": (tones.make_whisper, tones.write_tones, tones.make_spec),
    "speakers": (voices.MAKERS["wav2vec2"], voices.write_voices, voices.make_spec),
    "musicgen": (melodies.make_musicgen, melodies.write_melodies, melodies.make_spec),
    "speecht5": (melodies.make_speecht5, melodies.write_melodies, melodies.make_spec),
}


@pytest.mark.parametrize("name", CASES)
def test_shares_add_up_to_the_batch(tmp_path: Path, name: str) -> None:
    make_model, write, make_spec = CASES[name]
    spec = make_spec(tmp_path / "run", make_model(tmp_path / "model"), write(tmp_path / "clips"))
    task, base = prepared(spec)
    config = families.read_config(spec.model_path)
    model = models.make_trainable(base, spec, families.family_of(config, spec.task))
    _switch_off_randomness(model)
    model.eval()  # what it draws in training differs from process to process; `steady_loss` draws nothing
    clips = [clip for clip in tiny.read_clips(spec.clips_path) if clip.split == "train"][:5]
    batch = FeatureStore(task).training_batch(clips)
    with torch.no_grad():
        whole = float(task.steady_loss(model, batch))
        total = 0.0
        for rank in (0, 1):
            ranks = Ranks()
            ranks.rank, ranks.size = rank, 2
            own, _ = ranks.share(batch)
            total += float(task.steady_loss(model, own)) * task.weight_of(own) / task.weight_of(batch)
    assert total == pytest.approx(whole, rel=1e-4)


def _switch_off_randomness(model: Any) -> None:
    """SpeechT5's first decoder layers drop out in evaluation too."""
    for module in model.modules():
        if hasattr(module, "_consistent_dropout"):
            module._consistent_dropout = lambda inputs, p: inputs
