"""Frozen convolutions that hear each clip once: what the rest of the model makes of it stays the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from qlora_studio.contracts.spec import ClipItem
from qlora_studio.training import families, models
from qlora_studio.training.feature_store import FeatureStore
from qlora_studio.training.tasks import waves
from qlora_studio.training.tasks.ctc import CtcTask
from tests.training import tiny

FAMILIES = ("wav2vec2", "hubert", "wavlm", "wav2vec2-conformer")
pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")


def _model(folder: Path, family: str, **changes: Any) -> Any:
    """(task, model with random weights)"""
    path = tiny.make_waveform_ctc(folder, family)
    config = transformers.AutoConfig.from_pretrained(path, ctc_loss_reduction="mean", **changes)
    models.seed_everything(0)
    model = getattr(transformers, families.FAMILIES[family].model_class)(config)
    return CtcTask(path, config.to_dict()), model.eval().requires_grad_(False)


def _shortest_and_longest(clips_path: Path) -> list[ClipItem]:
    clips = sorted(tiny.read_clips(clips_path), key=lambda clip: clip.duration_s)
    return [clips[0], clips[-1]]


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_heard_clips_give_what_the_stock_model_gives_behind_a_mask(
    family: str, tmp_path: Path, clips_path: Path
) -> None:
    task, model = _model(tmp_path, family)
    clips, store = _shortest_and_longest(clips_path), FeatureStore(task)
    expected = model(**store.batch(clips))
    assert task.speed_up(model)
    store.clear()
    batch = store.batch(clips)
    assert batch["input_values"].dim() == 3
    found = model(**batch)
    n_short = len(store.features(clips[0])["heard"])
    assert torch.allclose(found.logits[0, :n_short], expected.logits[0, :n_short], atol=1e-5)
    assert torch.allclose(found.logits[1], expected.logits[1], atol=1e-5)
    assert float(found.loss) == pytest.approx(float(expected.loss), rel=1e-5)


@torch.no_grad()
def test_a_group_norm_does_not_count_the_padding_in(tmp_path: Path, clips_path: Path) -> None:
    task, model = _model(tmp_path, "wav2vec2", feat_extract_norm="group")
    clips, store = _shortest_and_longest(clips_path), FeatureStore(task)
    alone = [model(**store.batch([clip])).logits[0] for clip in clips]
    padded = model(**store.batch(clips)).logits[0, : len(alone[0])]
    assert not torch.allclose(padded, alone[0], atol=1e-3)  # what the library does by itself
    task.speed_up(model)
    store.clear()
    for expected, found in zip(alone, model(**store.batch(clips)).logits, strict=True):
        assert torch.allclose(found[: len(expected)], expected, atol=1e-5)


@torch.no_grad()
def test_samples_are_heard_as_before(tmp_path: Path, clips_path: Path) -> None:
    task, model = _model(tmp_path, "wav2vec2")
    batch = FeatureStore(task).batch(tiny.read_clips(clips_path)[:2])
    before = model(**batch).logits
    task.speed_up(model)
    assert torch.equal(model(**batch).logits, before)


def test_trained_convolutions_and_filter_banks_are_left_alone(
    tmp_path: Path, clips_path: Path, ctc_path: Path
) -> None:
    task, model = _model(tmp_path, "hubert")
    model.requires_grad_(True)
    assert not task.speed_up(model)
    assert FeatureStore(task).batch(tiny.read_clips(clips_path)[:1])["input_values"].dim() == 2
    bert = transformers.Wav2Vec2BertForCTC.from_pretrained(ctc_path).requires_grad_(False)
    assert waves.Ear.of(bert) is None


def test_frozen_convolutions_take_no_part_in_the_backward_pass(tmp_path: Path, clips_path: Path) -> None:
    task, model = _model(tmp_path, "wav2vec2")
    model.train()
    samples = FeatureStore(task).batch(tiny.read_clips(clips_path)[:1])["input_values"]
    ear = model.wav2vec2.feature_extractor
    assert ear(samples.clone()).requires_grad  # what the library does by itself
    waves.leave_ear_alone(model)
    assert not ear(samples.clone()).requires_grad
