"""Short windows of Whisper and AST: what they hold, when they are used, and that the standard one stays."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from transformers import ASTForAudioClassification, WhisperForConditionalGeneration

from qlora_studio.training import families
from qlora_studio.training.clips import ClipSets
from qlora_studio.training.feature_store import FeatureStore
from qlora_studio.training.tasks import windows
from qlora_studio.training.tasks.classification import ClassificationTask
from qlora_studio.training.tasks.whisper import WhisperTask
from tests.training import tiny, tones


@pytest.fixture
def task(whisper_path: Path) -> WhisperTask:
    return WhisperTask(whisper_path, families.read_config(whisper_path))


@pytest.fixture
def model(whisper_path: Path) -> WhisperForConditionalGeneration:
    return WhisperForConditionalGeneration.from_pretrained(whisper_path).eval()


def _by_hand(encoder, mel):
    """The encoder without its check of the length."""
    x = torch.nn.functional.gelu(encoder.conv1(mel))
    x = torch.nn.functional.gelu(encoder.conv2(x)).permute(0, 2, 1)
    x = x + encoder.embed_positions.weight[: x.shape[1]]
    for layer in encoder.layers:
        x = layer(x, None)
    return encoder.layer_norm(x)


@torch.no_grad()
def test_a_short_window_has_the_first_positions_and_the_standard_one_is_untouched(model):
    encoder = model.get_encoder()
    long = torch.randn(1, encoder.num_mel_bins, 2 * encoder.config.max_source_positions)
    before = encoder(long).last_hidden_state
    windows.take_short_windows(encoder)
    assert torch.equal(encoder(long).last_hidden_state, before)
    short = encoder(long[..., :150]).last_hidden_state
    assert short.shape[1] == 75
    assert torch.allclose(short, _by_hand(encoder, long[..., :150]), atol=1e-6)
    assert torch.equal(encoder(long).last_hidden_state, before)


@torch.no_grad()
def test_the_standard_window_comes_back_after_an_error(model):
    encoder = model.get_encoder()
    long = torch.randn(1, encoder.num_mel_bins, 2 * encoder.config.max_source_positions)
    windows.take_short_windows(encoder)
    with pytest.raises(RuntimeError):
        encoder(torch.randn(1, encoder.num_mel_bins + 1, 150))
    assert encoder(long).last_hidden_state.shape[1] == encoder.config.max_source_positions


def test_the_window_ends_a_second_after_the_longest_clip_and_never_beyond_the_standard_one():
    assert windows.short_frames([120, 310], longest=3000) == 450
    assert windows.short_frames([2950], longest=3000) == 3000


def test_a_share_of_the_batches_is_standard_and_the_same_batch_always():
    batches = [[[number, 5], [7]] for number in range(2_000)]
    drawn = [windows.is_standard(labels) for labels in batches]
    assert 0.12 < np.mean(drawn) < 0.18
    assert drawn == [windows.is_standard(labels) for labels in batches]


@torch.no_grad()
def test_only_batches_to_train_on_are_short(task, model, clips_path, monkeypatch):
    task.speed_up(model.requires_grad_(True))
    store, clips = FeatureStore(task), tiny.read_clips(clips_path)[:2]
    assert store.batch(clips)["input_features"].shape[-1] == 3000
    monkeypatch.setattr(windows, "is_standard", lambda labels: False)
    assert store.training_batch(clips)["input_features"].shape[-1] < 400
    monkeypatch.setattr(windows, "is_standard", lambda labels: True)
    assert torch.equal(store.training_batch(clips)["input_features"], store.batch(clips)["input_features"])


@torch.no_grad()
def test_a_reused_encoder_has_heard_the_standard_window(task, model, clips_path, monkeypatch):
    assert task.speed_up(model.requires_grad_(False))
    store, clips = FeatureStore(task), tiny.read_clips(clips_path)[:2]
    whole = store.batch(clips)["encoder_outputs"].last_hidden_state
    monkeypatch.setattr(windows, "is_standard", lambda labels: False)
    short = store.training_batch(clips)["encoder_outputs"].last_hidden_state
    assert short.shape[1] < 200
    assert torch.equal(short, whole[:, : short.shape[1]])


@pytest.fixture
def ast(tmp_path: Path) -> ASTForAudioClassification:
    return ASTForAudioClassification.from_pretrained(tones.make_ast(tmp_path / "ast")).eval()


def test_short_patches_have_the_positions_of_their_time_and_the_standard_ones_are_untouched(ast):
    embeddings = ast.audio_spectrogram_transformer.embeddings
    sound = torch.randn(2, 64, 32)
    whole = embeddings(sound)
    windows.take_short_patches(embeddings)
    assert torch.equal(embeddings(sound), whole)
    n_bands, n_times = embeddings.get_shape(ast.config)
    short = embeddings(sound[:, :44])
    n = (44 - ast.config.patch_size) // ast.config.time_stride + 1
    assert short.shape[1] == 2 + n_bands * n
    patches = whole[:, 2:].unflatten(1, (n_bands, n_times))[:, :, :n].flatten(1, 2)
    assert torch.allclose(short, torch.cat((whole[:, :2], patches), dim=1), atol=1e-6)
    short.sum().backward()
    assert embeddings.position_embeddings.grad.abs().sum() > 0  # also when all of the model is trained


@torch.no_grad()
@pytest.mark.parametrize("make", [tones.make_ast, tones.make_whisper])
def test_a_classifier_trains_in_short_windows_and_is_measured_in_the_standard_one(
    make, tmp_path, monkeypatch
):
    path = make(tmp_path / "model")
    config = families.read_config(path)
    known = families.CLASSIFIERS[config["model_type"]]
    model = getattr(transformers, known.model_class).from_pretrained(path).eval()
    task = ClassificationTask(path, config, is_windowed=True)
    clips = task.read_clips(tones.write_tones(tmp_path / "tones", n_train=4, n_validation=2)).train
    task.prepare(model, ClipSets(clips, [], {}))
    store = FeatureStore(task)
    standard = store.batch(clips)
    expected = model(**standard).logits
    assert torch.equal(store.training_batch(clips)["labels"], standard["labels"])
    assert not task.speed_up(model)
    monkeypatch.setattr(windows, "_MARGIN_FRAMES", 0)
    monkeypatch.setattr(windows, "_ROUND_FRAMES", 10)
    monkeypatch.setattr(windows, "is_standard", lambda labels: False)
    name = task.feature_extractor.model_input_names[0]
    short = store.training_batch(clips)
    time = 1 if name == "input_values" else 2
    assert short[name].shape[time] < standard[name].shape[time]
    assert torch.isfinite(model(**short).logits).all()
    assert torch.equal(store.batch(clips)[name], standard[name])
    assert torch.equal(model(**standard).logits, expected)


def test_a_long_clip_fills_asts_window_to_its_last_frame(tmp_path):
    path = tones.make_ast(tmp_path / "model")
    task = ClassificationTask(path, families.read_config(path), is_windowed=True)
    sound = np.random.default_rng(0).standard_normal(2 * tiny.RATE).astype(np.float32)
    stock = task.feature_extractor(sound, sampling_rate=tiny.RATE, return_tensors="np")["input_values"][0]
    found = task.collate([task.features(sound)], [[0]])["input_values"][0]
    assert np.array_equal(found.numpy(), stock)
