"""MusicGen on a tiny model: the layout of its labels, what is adapted, what is heard, and a whole run."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from peft import PeftModel
from transformers import BitsAndBytesConfig, MusicgenForConditionalGeneration

from qlora_studio.contracts.enums import ExitReason
from qlora_studio.training import families, loop, models, quantize, sound_quality
from qlora_studio.training.attempt import Attempt, run_attempt
from qlora_studio.training.failures import BadData, ModelNotUsable
from qlora_studio.training.feature_store import FeatureStore
from qlora_studio.training.stopping import StopRequested
from qlora_studio.training.tasks import delay
from qlora_studio.training.tasks.base import without_adapter_wrapper
from qlora_studio.training.tasks.musicgen import MusicgenTask
from tests.training import melodies, tiny
from tests.training.running import adapter_bytes, losses, run, stop_at

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return melodies.make_musicgen(tmp_path_factory.mktemp("musicgen"))


@pytest.fixture(scope="module")
def clips_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return melodies.write_melodies(tmp_path_factory.mktemp("melodies"))


def _adapted(root: Path, model_path: Path, clips_path: Path, **settings: Any) -> tuple[MusicgenTask, Any]:
    """(task, model with a fresh adapter)"""
    spec = melodies.make_spec(root, model_path, clips_path, **settings)
    config = families.read_config(model_path)
    family = families.family_of(config, spec.task)
    models.seed_everything(0)
    task = models.make_task(spec, family, config)
    assert isinstance(task, MusicgenTask)
    base = models.load_base(spec, family, "cpu")
    task.prepare(base, task.read_clips(clips_path))
    return task, models.make_trainable(base, spec, family)


def _batch(task: MusicgenTask, clips_path: Path, n_clips: int = 3) -> dict[str, Any]:
    return FeatureStore(task).batch(tiny.read_clips(clips_path)[:n_clips])


def test_the_delay_pattern_is_the_librarys_own(model_path: Path) -> None:
    model = MusicgenForConditionalGeneration.from_pretrained(model_path)
    n_codebooks, n_frames, padding = 4, 6, melodies.CODEBOOK_SIZE
    codes = torch.arange(n_codebooks * n_frames).reshape(n_codebooks, n_frames) % melodies.CODEBOOK_SIZE
    start = torch.full((n_codebooks, 1), padding)
    _, theirs = model.decoder.build_delay_pattern_mask(
        torch.cat([start, codes], dim=1), pad_token_id=padding, max_length=n_frames + n_codebooks
    )
    ours = torch.from_numpy(delay.delay(codes.numpy())).T
    shown = torch.where(ours == delay.IGNORED, padding, ours)
    assert torch.equal(theirs, torch.cat([start, shown], dim=1))


def test_the_loss_is_the_models_own_on_hand_made_codes(
    tmp_path: Path, model_path: Path, clips_path: Path
) -> None:
    """Cross entropy of each codebook at the steps where the delay pattern has a code, averaged by hand."""
    task, model = _adapted(tmp_path, model_path, clips_path)
    codes = np.arange(40).reshape(4, 10) % melodies.CODEBOOK_SIZE
    batch = task.collate([{"codes": codes.astype(np.int16)}], [task.encode("a low tone")])
    assert batch["labels"].shape == (1, 13, 4)
    model.eval()
    with torch.no_grad():
        output = model(**batch)
        by_hand = 0.0
        for codebook in range(4):
            logits = output.logits[codebook, codebook : codebook + 10]  # (codebooks, steps, codes) of a clip
            target = torch.from_numpy(codes[codebook])
            by_hand += float(torch.nn.functional.cross_entropy(logits, target)) / 4
        assert float(output.loss) == pytest.approx(by_hand, abs=1e-5)
        assert task.predict(model, batch).loss == pytest.approx(by_hand, abs=1e-5)
    assert by_hand == pytest.approx(math.log(melodies.CODEBOOK_SIZE), abs=0.2)


def test_prompts_are_kept_while_there_is_room(
    tmp_path: Path, model_path: Path, clips_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, model = _adapted(tmp_path, model_path, clips_path)
    task.speed_up(model)
    first, second = tuple(task.encode("low")), tuple(task.encode("a high tone"))
    said = task._say(first)
    assert task._say(first) is said
    task._room_bytes = said.nbytes - 1
    later = task._say(second)
    assert task._say(second) is not later
    assert torch.equal(task._say(second), later)


def test_only_random_weights_have_an_expected_first_loss(tmp_path: Path, model_path: Path) -> None:
    config = families.read_config(model_path)
    assert MusicgenTask(model_path, config).expected_first_loss() is None
    bare = melodies.make_musicgen(tmp_path / "bare", with_weights=False)
    assert MusicgenTask(bare, config).expected_first_loss() == pytest.approx(math.log(64))


def test_layouts_that_the_model_would_take_for_music_are_refused() -> None:
    right = delay.pad([delay.delay(np.ones((4, 4), dtype=np.int16))])
    delay.check(right, n_codebooks=4, codebook_size=64)
    undelayed = np.ones((1, 7, 4), dtype=np.int64)
    wrong = {"transposed": right.transpose(0, 2, 1), "undelayed": undelayed, "other codes": right * 64}
    for name, labels in wrong.items():
        with pytest.raises(ValueError, match=r"codebook|codes"):
            delay.check(labels, n_codebooks=4, codebook_size=64)
            pytest.fail(name)


def test_only_the_decoder_is_adapted_and_heads_keep_their_precision(
    tmp_path: Path, model_path: Path, clips_path: Path
) -> None:
    task, model = _adapted(tmp_path, model_path, clips_path)
    packed = quantize.quantised_layers(model)
    ends = {name.rsplit(".", 1)[-1].replace("base_layer", "") for name in packed}
    assert not ends & {"wo", "enc_to_dec_proj"}
    assert not [name for name in packed if "lm_heads" in name or "audio_encoder" in name]
    assert any("text_encoder" in name for name in packed)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert all("decoder.model.decoder.layers" in name and "lora_" in name for name in trained)
    model.train()
    task.loss(model, _batch(task, clips_path)).backward()
    assert not [name for name, p in trained.items() if p.grad is None or not p.grad.isfinite().all()]
    base = without_adapter_wrapper(model)
    assert not base.text_encoder.training  # its dropout would make every prompt another one


def test_prompts_are_dropped_as_guidance_drops_them(
    tmp_path: Path, model_path: Path, clips_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, model = _adapted(tmp_path, model_path, clips_path)
    batch = _batch(task, clips_path, 2)
    base = without_adapter_wrapper(model)
    monkeypatch.setattr("qlora_studio.training.tasks.musicgen.DROPPED_PROMPTS", 1.0)
    model.train()
    loss = task.loss(model, batch)
    loss.backward()
    grads = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(grad is not None and grad.isfinite().all() for grad in grads)
    without = base.get_unconditional_inputs(num_samples=2)
    expected = model(
        encoder_outputs=without.encoder_outputs,
        attention_mask=without.attention_mask,
        labels=batch["labels"],
    ).loss
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    monkeypatch.setattr("qlora_studio.training.tasks.musicgen.DROPPED_PROMPTS", 0.0)
    assert task.loss(model, batch).item() == pytest.approx(model(**batch).loss.item())
    assert task.loss(model, batch).item() != pytest.approx(loss.item(), abs=1e-6)


def test_a_reused_text_encoder_says_the_same(tmp_path: Path, model_path: Path, clips_path: Path) -> None:
    task, model = _adapted(tmp_path, model_path, clips_path)
    model.eval()
    with torch.no_grad():
        plain = model(**_batch(task, clips_path)).logits
        assert task.speed_up(model)
        batch = _batch(task, clips_path)
        assert "input_ids" not in batch
        assert torch.allclose(model(**batch).logits, plain, atol=1e-5)


def test_codes_are_the_codecs_own_and_long_clips_are_cut(
    tmp_path: Path, model_path: Path, clips_path: Path
) -> None:
    task, model = _adapted(tmp_path, model_path, clips_path)
    sound = melodies.tone(500.0, seconds=0.5)
    codes = task.features(sound)["codes"]
    assert codes.shape == (4, 25)
    codec = without_adapter_wrapper(model).audio_encoder
    with torch.no_grad():
        theirs = codec.encode(torch.from_numpy(sound)[None, None]).audio_codes[0, 0]
    assert np.array_equal(codes, theirs.numpy())
    assert len(np.unique(codes)) > 4
    task.max_clip_s = 0.2
    assert task.features(sound)["codes"].shape == (4, 10)


@pytest.mark.slow
def test_generation_is_the_same_for_a_seed_tells_how_far_it_is_and_can_be_ended(
    tmp_path: Path, model_path: Path, clips_path: Path
) -> None:
    task, model = _adapted(tmp_path, model_path, clips_path)
    model.eval()
    before = torch.get_rng_state()
    told: list[tuple[int, int]] = []
    first = task.generate(
        model, ["a low tone", "x"], seconds=0.3, seed=7, on_step=lambda *at: told.append(at)
    )
    assert [sound.shape for sound in first] == [(4800,), (4800,)]
    assert told == [(n, 18) for n in range(1, 19)]
    assert torch.equal(torch.get_rng_state(), before)
    again = task.generate(model, ["a low tone", "x"], seconds=0.3, seed=7)
    other = task.generate(model, ["a low tone", "x"], seconds=0.3, seed=8)
    assert np.array_equal(first[0], again[0])
    assert not np.array_equal(first[0], other[0])

    def end(done: int, _in_all: int) -> None:
        if done == 3:
            raise StopRequested

    with pytest.raises(StopRequested):
        task.generate(model, ["x"], seconds=0.3, seed=7, on_step=end)


def test_models_that_cannot_be_trained_are_refused_with_the_reason(tmp_path: Path, clips_path: Path) -> None:
    stereo = melodies.make_musicgen(tmp_path / "stereo", audio_channels=2)
    with pytest.raises(ModelNotUsable, match="stereo"):
        _adapted(tmp_path / "r", stereo, clips_path)
    odd = melodies.make_musicgen(tmp_path / "odd", num_codebooks=3)
    with pytest.raises(ModelNotUsable, match="4 codes of 64, its decoder says 3 of 64"):
        _adapted(tmp_path / "r", odd, clips_path)


def test_clips_without_a_prompt_are_left_out(tmp_path: Path, model_path: Path, clips_path: Path) -> None:
    clips = tiny.read_clips(clips_path)
    listing = melodies.write_listing(
        tmp_path / "clips.jsonl", [clips[0], clips[1].model_copy(update={"text": " "})]
    )
    task = MusicgenTask(model_path, families.read_config(model_path))
    assert task.read_clips(listing).dropped == {"without text": 1}
    melodies.write_listing(listing, [clip.model_copy(update={"text": None}) for clip in clips])
    with pytest.raises(BadData, match="without text"):
        task.read_clips(listing)


@pytest.mark.slow
def test_mel_distance_is_in_decibels_and_zero_for_the_same_sound() -> None:
    low, high = melodies.tone(250.0, seconds=0.5), melodies.tone(2000.0, seconds=0.5)
    assert sound_quality.mel_distance(low, low, tiny.RATE) == 0.0
    half = sound_quality.mel_distance(low, low / 2, tiny.RATE)
    far = sound_quality.mel_distance(low, high, tiny.RATE)
    assert 0 < half <= 6.03  # 20 log10 2, less where both lie under the floor
    assert far > 2 * half
    longer = np.concatenate([low, high])
    assert sound_quality.mel_distance(low, longer, tiny.RATE) == pytest.approx(0.0, abs=1.5)
    assert sound_quality.mel_distance(low[:0], low, tiny.RATE) == 80.0


@pytest.mark.slow
def test_the_first_losses_are_the_golden_ones(tmp_path: Path, model_path: Path, clips_path: Path) -> None:
    settings = {"max_steps": 4, "mode": "exact"}
    spec = melodies.make_spec(
        tmp_path, model_path, clips_path, optimization=settings, evaluation={"n_samples": 0}
    )
    run(spec)
    assert losses(spec) == pytest.approx(GOLDEN, abs=2e-3)


GOLDEN = [4.1888, 4.2004, 4.1815, 4.1573]


@pytest.mark.slow
def test_a_run_learns_leaves_its_base_alone_and_reloads_in_plain_peft(
    tmp_path: Path, model_path: Path, clips_path: Path
) -> None:
    spec = melodies.make_spec(
        tmp_path, model_path, clips_path, optimization={"max_steps": 20}, evaluation={"every_steps": 10}
    )
    tiny.write_spec(spec)
    kept: list[loop.TrainingRun] = []

    def body(attempt: Attempt) -> Any:
        kept.append(loop.TrainingRun(attempt, "cpu"))
        return kept[0].run()

    assert run_attempt(spec, body, device="cpu", versions={}) == 0
    finished = kept[0]
    seen = losses(spec)
    assert sum(seen[-5:]) < 0.9 * sum(seen[:5])
    assert finished.state.last_values["loss"] < finished.state.base_values["loss"]
    assert set(finished.state.last_values) == {"mel_distance", "loss"}
    assert (
        "transformers import MusicgenForConditionalGeneration"
        in (spec.run_path / "adapter" / "README.md").read_text()
    )

    about = json.loads((spec.run_path / "adapter" / "qlora_studio.json").read_text())
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        llm_int8_skip_modules=about["quantization"]["llm_int8_skip_modules"],
    )
    fresh = MusicgenForConditionalGeneration.from_pretrained(
        model_path, dtype=torch.float32, quantization_config=config, device_map={"": "cpu"}
    )
    trained = without_adapter_wrapper(finished.model).state_dict()
    frozen = {name.replace(".base_layer", ""): tensor for name, tensor in trained.items()}
    assert all(torch.equal(tensor, frozen[name]) for name, tensor in fresh.state_dict().items())
    fresh.config.decoder.decoder_start_token_id = fresh.config.decoder.bos_token_id
    quantize.keep_weights_unpacked(fresh)
    reloaded = PeftModel.from_pretrained(fresh, spec.run_path / "adapter").eval()
    batch = finished.store.batch(finished.clips.validation)
    finished.model.eval()
    with torch.no_grad():
        assert torch.equal(reloaded(**batch).logits, finished.model(**batch).logits)

    samples = tiny.read_events(spec, "sample")
    assert {(s["step"], s["sound"]) for s in samples} >= {(0, "samples/base/0.flac")}
    for sample in samples:
        info = soundfile.info(spec.run_path / sample["sound"])
        assert (info.samplerate, info.channels, info.format) == (tiny.RATE, 1, "FLAC")
        assert sample["base_sound"] == f"samples/base/{Path(sample['sound']).name}"
        assert sample["error"] > 0


@pytest.mark.slow
def test_a_stopped_run_resumed_ends_with_the_same_adapter(
    tmp_path: Path, model_path: Path, clips_path: Path
) -> None:
    settings: dict[str, Any] = {"optimization": {"max_steps": 6}, "evaluation": {"n_samples": 1}}
    whole = melodies.make_spec(tmp_path / "whole", model_path, clips_path, **settings)
    assert run(whole).reason is ExitReason.OK
    first = melodies.make_spec(tmp_path / "halves", model_path, clips_path, **settings)
    assert run(first, on_attempt=stop_at(4)).reason is ExitReason.USER_STOP
    second = melodies.make_spec(
        tmp_path / "halves", model_path, clips_path, attempt=2, resume=True, **settings
    )
    assert run(second).reason is ExitReason.OK
    assert adapter_bytes(whole) == adapter_bytes(second)
