"""SpeechT5 on a tiny model: frames and their masks, voices, what is heard, and whole runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.numpy import save_file
from transformers import BitsAndBytesConfig, SpeechT5ForTextToSpeech

from qlora_studio.contracts.enums import ExitReason
from qlora_studio.training import families, loop, models, quantize
from qlora_studio.training.attempt import Attempt, run_attempt
from qlora_studio.training.clips import ClipSets
from qlora_studio.training.failures import ModelNotUsable
from qlora_studio.training.feature_store import FeatureStore
from qlora_studio.training.preference import PreferenceRun
from qlora_studio.training.stopping import StopRequested
from qlora_studio.training.tasks import voices
from qlora_studio.training.tasks.base import without_adapter_wrapper
from qlora_studio.training.tasks.speecht5 import SpeechT5Task
from tests.training import melodies, tiny
from tests.training.running import losses, run

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning",
    "ignore::DeprecationWarning",
    "ignore:The following generation flags",
)


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return melodies.make_speecht5(tmp_path_factory.mktemp("speecht5"))


@pytest.fixture(scope="module")
def clips_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return melodies.write_melodies(tmp_path_factory.mktemp("melodies"))


def _adapted(root: Path, model_path: Path, clips_path: Path) -> tuple[SpeechT5Task, Any]:
    """(task, model with a fresh adapter)"""
    spec = melodies.make_spec(root, model_path, clips_path)
    config = families.read_config(model_path)
    family = families.family_of(config, spec.task)
    models.seed_everything(0)
    task = models.make_task(spec, family, config)
    assert isinstance(task, SpeechT5Task)
    base = models.load_base(spec, family, "cpu")
    task.prepare(base, task.read_clips(clips_path))
    return task, models.make_trainable(base, spec, family)


def test_without_clips_and_voices_there_is_one_that_the_adapters_own_take_the_place_of(
    tmp_path: Path, model_path: Path
) -> None:
    config = families.read_config(model_path)
    task, base = SpeechT5Task(model_path, config), SpeechT5ForTextToSpeech.from_pretrained(model_path)
    assert task.prepare(base, ClipSets([], [], {})) == []
    assert task.voices.names == ["default"]
    voices.write(tmp_path, voices.Voices(["ann"], np.zeros((1, 64), dtype=np.float32)))
    task.adopt(base, {"adapter_path": str(tmp_path)})
    assert task.voices.names == ["ann"]


@pytest.mark.slow
def test_a_model_that_says_no_numbers_makes_silence(
    model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = SpeechT5Task(model_path, families.read_config(model_path))
    sound = task._to_sound(np.full((20, 80), np.nan, dtype=np.float32), seed=0)
    assert np.isfinite(sound).all()
    monkeypatch.setattr(task, "generate", lambda *_, **__: [np.full(8000, np.nan, dtype=np.float32)])
    (made,) = task.sounds(None, ["a"], [np.zeros(8000, dtype=np.float32)])
    assert made.figures["mel_distance"] == 0.0  # to a silent recording


def test_labels_are_whole_steps_and_masked_beyond_the_end(
    tmp_path: Path, model_path: Path, clips_path: Path
) -> None:
    task, model = _adapted(tmp_path, model_path, clips_path)
    store = FeatureStore(task)
    clips = sorted(tiny.read_clips(clips_path), key=lambda clip: clip.duration_s)
    batch = store.batch([clips[0], clips[-1]])
    lengths = [len(store.features(clip)["frames"]) for clip in (clips[0], clips[-1])]
    assert all(length % 2 == 0 for length in lengths)
    assert batch["labels"].shape == (2, lengths[1], 80)
    assert (batch["labels"][0, lengths[0] :] == -100).all()
    assert (batch["labels"][0, : lengths[0]] != -100).all()
    assert task.count_steps(batch).tolist() == lengths
    model.eval()
    with torch.no_grad():
        told = task.log_likelihood(model, batch)
    assert (told[0, lengths[0] :] == 0).all()
    assert (told[:, : lengths[0]] < 0).all()


def test_held_out_losses_are_steady_though_the_model_always_drops_out(
    tmp_path: Path, model_path: Path, clips_path: Path
) -> None:
    task, model = _adapted(tmp_path, model_path, clips_path)
    batch = FeatureStore(task).batch(tiny.read_clips(clips_path)[:2])
    model.eval()
    with torch.no_grad():
        loose = {float(model(**batch).loss) for _ in range(3)}
        before = torch.get_rng_state()
        steady = {task.predict(model, batch).loss for _ in range(3)}
    assert len(loose) == 3
    assert len(steady) == 1
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_adapted_and_what_stands_still(tmp_path: Path, model_path: Path, clips_path: Path) -> None:
    task, model = _adapted(tmp_path, model_path, clips_path)
    assert not [n for n in quantize.quantised_layers(model) if "feat_out" in n or "prob_out" in n]
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm1d)]
    before = [norm.running_mean.clone() for norm in norms if norm.running_mean is not None]
    model.train()
    model(**FeatureStore(task).batch(tiny.read_clips(clips_path)[:2])).loss.backward()
    without = [name for name, p in trained.items() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []
    after = [norm.running_mean for norm in norms]
    assert before
    assert all(torch.equal(b, a) for b, a in zip(before, after, strict=True))  # type: ignore[arg-type]


def test_voices_come_from_a_file_or_from_the_clips(
    tmp_path: Path, model_path: Path, clips_path: Path
) -> None:
    clips = tiny.read_clips(clips_path)
    two = [c.model_copy(update={"speaker": "ann" if "low" in (c.text or "") else "bob"}) for c in clips[:11]]
    task, _ = _adapted(tmp_path, model_path, clips_path)
    made = voices.derive(two, task.features, rate=tiny.RATE, width=64)
    assert made.names == ["ann", "bob"], "the commonest first"
    assert np.allclose(np.linalg.norm(made.vectors, axis=1), 1, atol=1e-5)
    assert np.array_equal(made.vectors, voices.derive(two, task.features, rate=tiny.RATE, width=64).vectors)
    assert np.abs(made.vectors[0] - made.vectors[1]).max() > 0.02
    assert (made.number("bob"), made.number("carl"), made.number(None)) == (1, 0, 0)
    assert made.unknown([two[0], two[0].model_copy(update={"speaker": "carl"})]) == ["carl"]
    voices.write(tmp_path, made)
    read = voices.read(tmp_path, width=64)
    assert read is not None
    assert (read.names, read.vectors.tolist()) == (made.names, made.vectors.tolist())
    assert voices.read(model_path, width=64) is None
    save_file({"x": np.zeros(3, dtype=np.float32)}, tmp_path / voices.FILE)
    with pytest.raises(ModelNotUsable, match="vectors of 64 numbers"):
        voices.read(tmp_path, width=64)


def test_speech_is_the_same_for_a_seed_tells_how_far_it_is_and_can_be_ended(
    tmp_path: Path, model_path: Path, clips_path: Path
) -> None:
    task, model = _adapted(tmp_path, model_path, clips_path)
    model.eval()
    told: list[tuple[int, int]] = []
    first = task.generate(
        model, ["a low tone", "x"], seconds=0.4, seed=3, on_step=lambda *at: told.append(at)
    )
    again = task.generate(model, ["a low tone"], seconds=0.4, seed=3)
    assert len(first) == 2
    assert all(sound.dtype == np.float32 and 0 < len(sound) <= 6400 for sound in first)
    assert np.array_equal(first[0], again[0])
    assert told
    assert told == sorted(told)
    assert all(n_steps == 24 for _, n_steps in told)

    def end(_done: int, _in_all: int) -> None:
        raise StopRequested

    with pytest.raises(StopRequested):
        task.generate(model, ["x"], seconds=0.4, seed=3, on_step=end)


def test_frames_turn_back_into_their_tone(tmp_path: Path, model_path: Path, clips_path: Path) -> None:
    task, _ = _adapted(tmp_path, model_path, clips_path)
    frames = task.features(melodies.tone(500.0, seconds=0.6))["frames"]
    sound = task._to_sound(frames, 0)
    spectrum = np.abs(np.fft.rfft(sound))
    assert np.argmax(spectrum) * tiny.RATE / len(sound) == pytest.approx(500, abs=30)


@pytest.mark.slow
def test_a_run_learns_leaves_its_base_alone_and_reloads_with_its_voices(
    tmp_path: Path, model_path: Path, clips_path: Path
) -> None:
    spec = melodies.make_spec(
        tmp_path,
        model_path,
        clips_path,
        optimization={"max_steps": 20, "learning_rate": 2e-2},
        evaluation={"every_steps": 10},
    )
    tiny.write_spec(spec)
    kept: list[loop.TrainingRun] = []

    def body(attempt: Attempt) -> Any:
        kept.append(loop.TrainingRun(attempt, "cpu"))
        return kept[0].run()

    assert run_attempt(spec, body, device="cpu", versions={}) == 0
    finished = kept[0]
    seen = losses(spec)
    assert sum(seen[-5:]) < 0.97 * sum(seen[:5])  # the layers that make frames are random and frozen
    assert finished.state.last_values["loss"] < finished.state.base_values["loss"]
    adapter = spec.run_path / "adapter"
    about = json.loads((adapter / "qlora_studio.json").read_text())
    assert about["inference"]["voices"] == ["default"]
    assert voices.read(adapter, width=64) is not None
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        llm_int8_skip_modules=about["quantization"]["llm_int8_skip_modules"],
    )
    fresh = SpeechT5ForTextToSpeech.from_pretrained(
        model_path, dtype=torch.float32, quantization_config=config, device_map={"": "cpu"}
    )
    trained = without_adapter_wrapper(finished.model).state_dict()
    frozen = {name.replace(".base_layer", ""): tensor for name, tensor in trained.items()}
    assert all(torch.equal(tensor, frozen[name]) for name, tensor in fresh.state_dict().items())
    quantize.keep_weights_unpacked(fresh)
    reloaded = PeftModel.from_pretrained(fresh, adapter).eval()
    batch = finished.store.batch(finished.clips.validation)
    finished.model.eval()
    task: Any = finished.task
    with torch.no_grad():
        assert torch.equal(task.log_likelihood(reloaded, batch), task.log_likelihood(finished.model, batch))


def test_the_first_losses_are_the_golden_ones(tmp_path: Path, model_path: Path, clips_path: Path) -> None:
    settings = {"max_steps": 4, "mode": "exact"}
    spec = melodies.make_spec(
        tmp_path, model_path, clips_path, optimization=settings, evaluation={"n_samples": 0}
    )
    run(spec)
    assert losses(spec) == pytest.approx(GOLDEN, abs=5e-3)


GOLDEN = [16.3866, 14.7120, 16.4539, 14.4614]


@pytest.mark.slow
def test_it_learns_from_preferences(tmp_path: Path, model_path: Path) -> None:
    listing = melodies.write_pairs(tmp_path / "pairs")
    settings: dict[str, Any] = {
        "optimization": {"max_steps": 30, "learning_rate": 1e-2, "warmup_ratio": 0.0},
        "evaluation": {"n_samples": 0, "every_steps": 15},
    }
    spec = melodies.make_preference_spec(
        tmp_path / "run", model_path, listing, preference={"beta": 0.2}, **settings
    )
    tiny.write_spec(spec)
    ended: list[Any] = []

    def body(attempt: Attempt) -> Any:
        ended.append(PreferenceRun(attempt, "cpu").run())
        return ended[0]

    assert run_attempt(spec, body, device="cpu", versions={}) == 0
    assert ended[0].reason is ExitReason.OK
    assert ended[0].metrics["reward_margin"] > 0.3
    assert ended[0].metrics["reward_accuracy"] > 0.8
