"""Adapters on a warm base: the same outputs as plain peft, whatever was on it before."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qlora_studio.audio.turns import Turn
from qlora_studio.contracts.enums import Task
from qlora_studio.contracts.inference import SoundWish
from qlora_studio.engine import adapter_files
from qlora_studio.engine.answers import ANSWERS
from qlora_studio.engine.refusals import Refused
from qlora_studio.engine.warm import KEPT_ADAPTERS, BaseKey, WarmModel
from qlora_studio.training.failures import ModelNotUsable
from tests.engine import adapters
from tests.training import melodies, tiny, tones, voices

# The library deprecates a name that it uses itself; the engine's log may have it.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
SOUND = np.sin(np.arange(tiny.RATE) * 0.3).astype(np.float32) * 0.3


def _warm(model_path: Path, task: Task = Task.SPEECH_TO_TEXT) -> WarmModel:
    return WarmModel(BaseKey(task, model_path, "", "cpu", adapter_files.BaseNeeds()))


def _logits(warm: WarmModel, adapter: Path | None, strength: float = 1.0) -> torch.Tensor:
    files = None if adapter is None else adapter_files.read(adapter)
    with warm.using(files, strength) as model, torch.no_grad():
        return _heard_by(warm.task, model)


def _heard_by(task: Any, model: Any) -> torch.Tensor:
    batch = task.collate([task.features(SOUND)], [[0]])
    del batch["labels"]
    if "input_features" in batch and hasattr(model, "generate") and model.config.is_encoder_decoder:
        batch["decoder_input_ids"] = torch.zeros(1, 4, dtype=torch.long)
    return model(**batch).logits


@pytest.fixture(scope="module")
def ctc(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(model, clips)"""
    root = tmp_path_factory.mktemp("ctc")
    return tiny.make_waveform_ctc(root / "model", "wav2vec2"), tiny.write_clips(root / "clips", n_train=2)


@pytest.fixture(scope="module")
def trained(ctc: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Any, Any]]:
    """Two adapters of the CTC model, each with its task and its model in plain peft."""
    root = tmp_path_factory.mktemp("adapters")
    made = []
    for seed in (1, 2):
        path = root / str(seed)
        spec = tiny.make_spec(root, *ctc)
        made.append((path, *adapters.make_adapter(spec, path, seed=seed)))
    return made


def test_swapping_gives_what_plain_peft_gives(ctc: tuple[Path, Path], trained: list[Any]) -> None:
    warm = _warm(ctc[0])
    alone = _logits(warm, None)
    for _ in range(2):
        for path, task, model in trained:
            with torch.no_grad():
                assert torch.equal(_logits(warm, path), _heard_by(task, model))
        assert torch.equal(_logits(warm, None), alone)


def test_an_adapter_meets_the_whole_encoder_that_it_was_trained_on(
    ctc: tuple[Path, Path], tmp_path: Path
) -> None:
    model_path = tiny.make_whisper(tmp_path / "model")
    path = tmp_path / "adapter"
    spec = tiny.make_spec(tmp_path, model_path, ctc[1], qlora={"whole_encoder": True})
    task, model = adapters.make_adapter(spec, path)
    warm = WarmModel(BaseKey(spec.task, model_path, "", "cpu", adapter_files.read(path).needs))
    with torch.no_grad():
        assert torch.equal(_logits(warm, path), _heard_by(task, model))
    packed = _warm(model_path)
    assert not torch.equal(_logits(packed, path), _logits(warm, path))


def test_strength_goes_from_the_base_to_the_adapter(ctc: tuple[Path, Path], trained: list[Any]) -> None:
    warm, path = _warm(ctc[0]), trained[0][0]
    alone, whole = _logits(warm, None), _logits(warm, path)
    assert torch.equal(_logits(warm, path, 0.0), alone)
    half = _logits(warm, path, 0.5)
    assert not torch.allclose(half, alone, atol=1e-3)
    assert not torch.allclose(half, whole, atol=1e-3)
    assert torch.equal(_logits(warm, path), whole)


@pytest.mark.slow
def test_adapters_used_long_ago_are_let_go(
    ctc: tuple[Path, Path], trained: list[Any], tmp_path: Path
) -> None:
    warm, first = _warm(ctc[0]), trained[0][0]
    before = _logits(warm, first)
    for index in range(KEPT_ADAPTERS):
        path = tmp_path / str(index)
        path.mkdir()
        for file in trained[1][0].iterdir():
            (path / file.name).write_bytes(file.read_bytes())
        _logits(warm, path)
    assert len(warm._adapted.peft_config) == KEPT_ADAPTERS
    assert torch.equal(_logits(warm, first), before)


@pytest.mark.slow
def test_an_adapter_of_another_model_is_refused_and_the_base_stays(
    ctc: tuple[Path, Path], trained: list[Any], tmp_path: Path
) -> None:
    other = tiny.make_wav2vec2_bert(tmp_path / "other")
    foreign = tmp_path / "foreign"
    adapters.make_adapter(tiny.make_spec(tmp_path, other, ctc[1]), foreign)
    warm = _warm(ctc[0])
    alone = _logits(warm, None)
    with pytest.raises(Refused, match="does not fit"):
        _logits(warm, foreign)
    assert torch.equal(_logits(warm, None), alone)
    assert not torch.equal(_logits(warm, trained[0][0]), alone)


def _cut_short(weights: bytes) -> bytes:
    return weights[: len(weights) // 2]


def _with_giant_header(weights: bytes) -> bytes:
    return (2**40).to_bytes(8, "little") + weights[8:]


def _not_a_number(weights: bytes) -> bytes:
    start = 8 + int.from_bytes(weights[:8], "little")
    return weights[:start] + b"\x00\x00\xc0\x7f" * ((len(weights) - start) // 4)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(_cut_short, "can't be read"), (_with_giant_header, "can't be read"), (_not_a_number, "no numbers")],
)
def test_spoilt_weights_are_said_and_others_answer_as_before(
    spoil: Callable[[bytes], bytes], said: str, ctc: tuple[Path, Path], trained: list[Any], tmp_path: Path
) -> None:
    spoilt = shutil.copytree(trained[0][0], tmp_path / "spoilt")
    weights = spoilt / adapter_files.WEIGHTS
    weights.write_bytes(spoil(weights.read_bytes()))
    warm = _warm(ctc[0])
    alone = _logits(warm, None)
    before = [_logits(warm, path) for path, *_ in trained]
    with pytest.raises(Refused, match=said):
        _logits(warm, spoilt)
    assert torch.equal(_logits(warm, None), alone)
    assert all(torch.equal(_logits(warm, p), b) for (p, *_), b in zip(trained, before, strict=True))


def test_numbers_that_overflow_are_said(tmp_path: Path) -> None:
    model_path = melodies.make_musicgen(tmp_path / "model")
    warm = _warm(model_path, Task.TEXT_TO_AUDIO)
    wish = SoundWish(prompt="abc", seconds=0.3, seed=2, path=tmp_path / "a.wav")
    with warm.using(None, 1.0) as model, torch.no_grad():
        model.decoder.lm_heads[0].weight.fill_(float("inf"))
        with pytest.raises(Refused, match="overflowed"):
            ANSWERS[Task.TEXT_TO_AUDIO](warm.task, model, wish, lambda _: None, lambda: False)


def test_pickled_weights_are_never_looked_at(ctc: tuple[Path, Path], trained: list[Any]) -> None:
    path = trained[1][0]
    weights = path / adapter_files.WEIGHTS
    kept = weights.read_bytes()
    (path / "adapter_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    weights.unlink()
    try:
        with pytest.raises(Refused):
            adapter_files.read(path)
    finally:
        weights.write_bytes(kept)
        (path / "adapter_model.bin").unlink()


@pytest.mark.slow
@pytest.mark.parametrize("make", [tiny.make_whisper, tiny.make_moonshine])
def test_models_that_write_do_so_with_and_without(
    make: Callable[[Path], Path], ctc: tuple[Path, Path], tmp_path: Path
) -> None:
    model_path = make(tmp_path / "model")
    adapters.make_adapter(tiny.make_spec(tmp_path, model_path, ctc[1]), tmp_path / "adapter")
    warm = _warm(model_path)
    texts = []
    for adapter in (None, tmp_path / "adapter"):
        files = None if adapter is None else adapter_files.read(adapter)
        words = iter(range(100))
        with warm.using(files, 1.0) as model, torch.inference_mode():
            said = ANSWERS[Task.SPEECH_TO_TEXT](
                warm.task, model, SOUND, lambda _: None, lambda words=words: next(words) > 8
            )
        texts.append(said["text"])
    assert texts[0] != texts[1]


@pytest.mark.slow
def test_windows_of_another_kind_are_refused(ctc: tuple[Path, Path], tmp_path: Path) -> None:
    model_path = tiny.make_whisper(tmp_path / "model")
    adapters.make_adapter(tiny.make_spec(tmp_path, model_path, ctc[1]), tmp_path / "adapter")
    adapters.change_about(tmp_path / "adapter", inference={"window": "trimmed"})
    with pytest.raises(ModelNotUsable, match="windows"):
        _logits(_warm(model_path), tmp_path / "adapter")


def test_classes_are_those_of_the_adapter_and_then_the_models_own_again(tmp_path: Path) -> None:
    model_path = tones.make_ast(tmp_path / "model")
    labels = {"ab": ("low", "high"), "abc": ("low", "middle", "high")}
    made = {}
    for name, some in labels.items():
        clips = tones.write_tones(tmp_path / f"clips-{name}", n_train=6, n_validation=0, labels=some)
        spec = tones.make_spec(tmp_path, model_path, clips)
        made[name] = adapters.make_adapter(spec, tmp_path / name, seed=3)
    warm = _warm(model_path, Task.AUDIO_CLASSIFICATION)
    alone = _logits(warm, None)
    assert alone.shape == (1, 4)
    for name in ("ab", "abc", "ab"):
        task, model = made[name]
        with torch.no_grad():
            assert torch.equal(_logits(warm, tmp_path / name), _heard_by(task, model))
        assert warm.task.classes == sorted(labels[name])
    assert torch.equal(_logits(warm, None), alone)


@pytest.mark.slow
def test_speakers_are_told_apart_by_adapters_for_as_many_as_each_knows(
    tmp_path: Path, ctc: tuple[Path, Path]
) -> None:
    rng = np.random.default_rng(0)
    long = (0.3 * rng.standard_normal(31 * tiny.RATE)).astype(np.float32)
    paths = []
    for n_speakers in (2, 3):
        folder = tmp_path / str(n_speakers)
        said = [Turn(0.2 * index, 0.4, f"s{index}") for index in range(n_speakers)]
        clip = voices.write_recording(folder, "a", said, 1.5)
        listing = tones.write_listing(folder / "clips.jsonl", [clip])
        paths.append(folder / "adapter")
        adapters.make_adapter(voices.make_spec(folder, ctc[0], listing), paths[-1], seed=n_speakers)
    warm = _warm(ctc[0], Task.SPEAKER_DIARIZATION)
    answer = ANSWERS[Task.SPEAKER_DIARIZATION]
    progress: list[float] = []
    for path, n_speakers in ((paths[0], 2), (paths[1], 3), (paths[0], 2)):
        with warm.using(adapter_files.read(path), 1.0) as model, torch.inference_mode():
            assert warm.task.diarize(model, long).activity.shape == (1549, n_speakers)
            said = answer(warm.task, model, long, progress.append, lambda: False)["segments"]
        assert all(segment.start_s + segment.duration_s <= 31.0 for segment in said)
    assert progress == [0.0, 0.5] * 3


@pytest.mark.slow
def test_a_speaking_model_keeps_the_voice_of_its_adapter(tmp_path: Path) -> None:
    model_path = melodies.make_speecht5(tmp_path / "model")
    clips = melodies.write_melodies(tmp_path / "clips", n_train=4, n_validation=0)
    spec = melodies.make_spec(tmp_path, model_path, clips)
    task, model = adapters.make_adapter(spec, tmp_path / "adapter", seed=1)
    warm = _warm(model_path, Task.TEXT_TO_AUDIO)
    wish = SoundWish(prompt="abc", seconds=0.3, seed=2, path=tmp_path / "a.wav")
    with warm.using(adapter_files.read(tmp_path / "adapter"), 1.0) as adapted:
        said = ANSWERS[Task.TEXT_TO_AUDIO](warm.task, adapted, wish, lambda _: None, lambda: False)
    expected = task.generate(model, ["abc"], seconds=0.3, seed=2)[0]
    assert np.array_equal(said["sound"], expected)
