import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlmodel import Session

from qlora_studio.contracts.enums import JobStatus, Task, TrainingType
from qlora_studio.contracts.spec import TrainSpec
from qlora_studio.core import devices
from qlora_studio.db.models import BaseAudioModel, Clip, Dataset, Job, User
from qlora_studio.services import models
from qlora_studio.services.forecast import (
    ClipStats,
    Forecast,
    Machine,
    count_steps,
    count_trainable,
    forecast_job,
    read_clip_stats,
    weight_bytes,
)
from qlora_studio.services.forecast_machine import look_at_machine

CLIPS = ClipStats(n_train=402, n_validation=120, mean_s=2.0, longest_s=12.0)
MACHINE = Machine(device="cpu", n_cores=2, free_bytes=20 * 2**30, free_disk_bytes=50 * 2**30)


def whisper_tiny() -> BaseAudioModel:
    """The sizes of the real thing."""

    def kind(name: str, n_in: int, n_out: int, n_layers: int) -> dict[str, Any]:
        return {"name": name, "n_in": n_in, "n_out": n_out, "n_layers": n_layers}

    linear = [kind(name, 384, 384, 12) for name in ("q_proj", "k_proj", "v_proj", "out_proj")]
    linear += [kind("fc1", 384, 1536, 8), kind("fc2", 1536, 384, 8)]
    return BaseAudioModel(
        owner_id="usr_x",
        name="tiny",
        task=Task.SPEECH_TO_TEXT,
        n_parameters=37_760_256,
        max_duration_s=30.0,
        details={
            "family": "whisper",
            "hidden_size": 384,
            "n_hidden_layers": 8,
            "vocab_size": 51_864,
            "frames_per_s": 50.0,
            "layers": {
                "n_linear_parameters": 16_515_072,
                "linear": linear,
                "presets": {"auto": ["q_proj", "v_proj"], "all-linear": [k["name"] for k in linear]},
            },
        },
    )


def spec(**parts: Any) -> TrainSpec:
    return TrainSpec.model_validate({"name": "n", "dataset_id": "d", "model_id": "m", **parts})


def forecast(parts: dict[str, Any], clips: ClipStats = CLIPS, machine: Machine = MACHINE) -> Forecast:
    dataset = Dataset(owner_id="usr_x", name="d", task=Task.SPEECH_TO_TEXT, n_clips=522, duration_s=1044)
    return forecast_job(
        spec=spec(**parts), model=whisper_tiny(), dataset=dataset, clips=clips, machine=machine
    )


def test_memory_is_within_a_third_of_what_was_measured() -> None:
    found = forecast({"qlora": {"rank": 8}, "optimization": {"batch_size": 8, "mode": "exact"}})
    measured = 3_411 * 2**20
    assert measured / 1.35 < found.memory.total_bytes < measured * 1.35
    assert found.memory.weights_bytes == pytest.approx(93.5e6, rel=0.05)
    assert found.memory.fits


def test_fast_mode_holds_two_standard_windows_at_a_time() -> None:
    memory = {
        (mode, n): forecast({"optimization": {"batch_size": n, "mode": mode}}).memory.activations_bytes
        for mode in ("fast", "exact")
        for n in (2, 16)
    }
    assert memory["fast", 16] < 0.4 * memory["exact", 16]
    assert memory["fast", 2] == memory["exact", 2]


@pytest.mark.parametrize(
    ("measured_mb", "longest_s", "batch_size", "kind"),
    [(945, 2.0, 4, TrainingType.QLORA), (1388, 10.0, 4, TrainingType.QLORA),
     (1283, 2.0, 8, TrainingType.PREFERENCE)],
)  # fmt: skip
def test_memory_of_a_musicgen_is_within_a_fifth_of_what_was_measured(
    measured_mb: int, longest_s: float, batch_size: int, kind: TrainingType, session: Session, user: User
) -> None:
    model = models.add_starter(session, actor=user, which="sound")
    asked = spec(training_type=kind, optimization={"batch_size": batch_size, "max_steps": 4})
    clips = ClipStats(n_train=16, n_validation=4, mean_s=0.9 * longest_s, longest_s=longest_s)
    dataset = Dataset(owner_id=user.id, name="sounds", task=Task.TEXT_TO_AUDIO)
    found = forecast_job(spec=asked, model=model, dataset=dataset, clips=clips, machine=MACHINE)
    assert found.memory.total_bytes == pytest.approx(measured_mb * 1e6, rel=0.2)
    on_card = replace(MACHINE, device="cuda")
    there = forecast_job(spec=asked, model=model, dataset=dataset, clips=clips, machine=on_card)
    assert there.memory.runtime_bytes == 900 * 2**20, "what measures sounds takes no memory of the card"


def test_speed_is_within_a_factor_of_what_was_measured() -> None:
    fast = forecast({"optimization": {"batch_size": 8, "epochs": 1}})
    decoder = {"qlora": {"target_modules": "decoder"}, "optimization": {"batch_size": 8, "epochs": 1}}
    cached = forecast(decoder)
    found = forecast({"optimization": {"batch_size": 8, "epochs": 1, "mode": "exact"}})
    assert 2 < fast.time.samples_per_s < 9, "most windows are short"
    assert 9 < cached.time.samples_per_s < 60, "the encoder runs once a clip"
    assert cached.memory.total_bytes < found.memory.total_bytes
    assert fast.time.total_s < found.time.total_s
    assert 0.5 < found.time.samples_per_s < 2
    assert found.time.low_s < found.time.total_s < found.time.high_s
    assert found.time.total_steps == 51


def test_parameters_of_the_adapter_are_counted() -> None:
    assert count_trainable(
        spec(qlora={"rank": 8}, optimization={"mode": "exact"}), whisper_tiny()
    ) == 8 * 24 * (384 + 384)
    picked = spec(qlora={"rank": 1, "target_modules": ["fc1"]})
    assert count_trainable(picked, whisper_tiny()) == 8 * (384 + 1536)
    assert count_trainable(spec(training_type="pretraining"), whisper_tiny()) == 37_760_256


@pytest.mark.parametrize(
    ("optimization", "steps"),
    [
        ({"max_steps": 7}, 7),
        ({"epochs": 2, "batch_size": 8}, 102),
        ({"epochs": 1, "batch_size": 8, "gradient_accumulation": 2}, 26),
        ({"epochs": 0.001}, 1),
        ({"batch_size": 8}, 153),
    ],
)
def test_steps_are_counted(optimization: dict[str, Any], steps: int) -> None:
    assert count_steps(spec(optimization=optimization), whisper_tiny(), 402) == steps


def test_more_of_anything_costs_more() -> None:
    small = forecast({"optimization": {"batch_size": 4}})
    for parts in (
        {"optimization": {"batch_size": 16}},
        {"training_type": "lora", "qlora": {"bits": 32}, "optimization": {"batch_size": 4}},
        {"qlora": {"rank": 256, "target_modules": "all-linear"}, "optimization": {"batch_size": 4}},
    ):
        assert forecast(parts).memory.total_bytes > small.memory.total_bytes
    checkpointed = forecast({"optimization": {"batch_size": 4, "gradient_checkpointing": True}})
    assert checkpointed.memory.total_bytes < small.memory.total_bytes
    assert checkpointed.time.total_s > small.time.total_s


def test_devices_share_the_clips_and_not_the_weights() -> None:
    card = Machine(device="cuda", n_cores=8, free_bytes=8 * 2**30, free_disk_bytes=50 * 2**30)
    one, two = (
        forecast({"optimization": {"batch_size": 8, "devices": n, "mode": "exact"}}, machine=card)
        for n in (1, 2)
    )
    assert two.memory.weights_bytes == one.memory.weights_bytes
    assert two.memory.activations_bytes == pytest.approx(one.memory.activations_bytes / 2, rel=0.01)
    assert two.time.total_steps == one.time.total_steps
    assert 0.5 < two.time.total_s / one.time.total_s < 1  # what only one of them does takes as long


def test_processes_on_one_processor_share_its_memory_and_win_no_time() -> None:
    one, two = (forecast({"optimization": {"batch_size": 8, "devices": n}}) for n in (1, 2))
    assert two.time.samples_per_s == pytest.approx(one.time.samples_per_s, rel=0.01)
    assert two.time.samples_per_s <= one.time.samples_per_s
    tight = Machine(**{**vars(MACHINE), "free_bytes": two.memory.total_bytes * 3 // 2})
    assert not forecast({"optimization": {"batch_size": 8, "devices": 2}}, machine=tight).memory.fits


def test_what_does_not_fit_is_said_with_a_way_out() -> None:
    poor = Machine(device="cpu", n_cores=2, free_bytes=2**30, free_disk_bytes=2**20)
    found = forecast({"optimization": {"mode": "exact"}}, machine=poor)
    assert not found.memory.fits
    assert not found.disk.fits
    assert "Halve the batch size" in found.warnings[0]


@pytest.mark.parametrize(
    ("optimization", "advice"),
    [
        ({"batch_size": 2, "mode": "fast"}, "Halve the batch size"),  # two windows at a time become one
        ({"batch_size": 8, "mode": "fast"}, "Turn on gradient checkpointing, or choose a smaller model."),
        ({"batch_size": 1, "mode": "exact"}, "Turn on gradient checkpointing, or choose a smaller model."),
        ({"batch_size": 8, "mode": "fast", "gradient_checkpointing": True}, "Choose a smaller model."),
        (
            {"batch_size": 8, "mode": "fast", "devices": 2, "gradient_checkpointing": True},
            "Give fewer devices",
        ),
    ],
)
def test_the_way_out_of_too_little_memory_is_one_that_helps(
    optimization: dict[str, Any], advice: str
) -> None:
    poor = Machine(device="cpu", n_cores=2, free_bytes=2**20, free_disk_bytes=2**40)
    found = forecast({"optimization": optimization}, machine=poor)
    assert advice in found.warnings[0]
    halved = {**optimization, "batch_size": max(1, optimization["batch_size"] // 2)}
    saved = found.memory.activations_bytes - forecast({"optimization": halved}).memory.activations_bytes
    assert (saved > 0.4 * found.memory.activations_bytes) == advice.startswith("Halve")


def test_layers_of_odd_shapes_are_counted_in_32_bits() -> None:
    even, odd = whisper_tiny(), whisper_tiny()
    odd.details["layers"]["linear"][4]["n_in"] = 96  # of fc1, 384 before
    odd.details["layers"]["n_linear_parameters"] -= (384 - 96) * 1536 * 8
    n_odd = 96 * 1536 * 8
    as_if_packed = weight_bytes(spec(), even) - (384 - 96) * 1536 * 8 * (0.5 + 1 / 64 + 4 / (64 * 256) - 4)
    assert weight_bytes(spec(), odd) == pytest.approx(as_if_packed + n_odd * (4 - 0.516), rel=1e-3)


def test_an_encoder_that_stays_whole_is_counted_in_32_bits() -> None:
    n_encoder = 4 * (4 * 384 * 384 + 2 * 384 * 1536)
    more = weight_bytes(spec(qlora={"whole_encoder": True}), whisper_tiny()) - weight_bytes(
        spec(), whisper_tiny()
    )
    assert more == pytest.approx(n_encoder * (4 - 0.516), rel=1e-3)


class _Driver:
    """An NVIDIA driver with three cards; gigabytes free: 8, 2 and 4."""

    NVMLError = RuntimeError

    def __init__(self) -> None:
        self.nvmlInit = self.nvmlShutdown = lambda: None
        self.nvmlDeviceGetCount = lambda: 3
        self.nvmlDeviceGetHandleByIndex = lambda index: index
        self.nvmlDeviceGetUUID = lambda index: f"GPU-{'abc'[index]}1234"
        self.nvmlDeviceGetMemoryInfo = lambda index: SimpleNamespace(free=(8, 2, 4)[index] * 2**30)


@pytest.mark.parametrize(
    ("visible", "n_devices", "free_gb"),
    [
        (None, 1, 8),
        (None, 2, 4),
        ("1", 1, 2),
        ("2,1", 1, 4),
        ("GPU-b1,GPU-c1", 2, 2),
        ("2,7,0", 1, 4),
        ("", 1, None),
        ("-1", 1, None),
    ],
)
def test_only_cards_that_jobs_may_use_are_looked_at(
    visible: str | None,
    n_devices: int,
    free_gb: int | None,
    monkeypatch: pytest.MonkeyPatch,
    data_folder: Path,
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", _Driver())
    monkeypatch.setattr(devices, "_count_cards", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    machine = look_at_machine(n_devices)
    assert machine.device == ("cpu" if free_gb is None else "cuda")
    if free_gb is not None:
        assert machine.free_bytes == free_gb * 2**30


def test_clips_too_long_for_the_model_are_said() -> None:
    found = forecast({}, clips=ClipStats(10, 2, 20.0, 45.0))
    assert any("30 s" in warning for warning in found.warnings)


def test_clips_and_earlier_jobs_are_read_from_the_database(
    session: Session, user: User, tmp_path: Path
) -> None:
    model = whisper_tiny()
    model.owner_id = user.id
    dataset = Dataset(owner_id=user.id, name="d", task=Task.SPEECH_TO_TEXT)
    session.add_all([model, dataset])
    session.flush()
    for position in range(10):
        split = "train" if position < 8 else "validation"
        session.add(Clip(dataset_id=dataset.id, position=position, filename="x", duration_s=3.0, split=split))
    asked = spec(optimization={"batch_size": 2, "epochs": 1})
    session.flush()
    rough = forecast_job(spec=asked, model=model, dataset=dataset, machine=MACHINE)
    assert rough.time.total_steps == 4
    assert "table" in rough.time.basis
    session.add(
        Job(
            owner_id=user.id,
            name="before",
            training_type=TrainingType.QLORA,
            dataset_id=dataset.id,
            model_id=model.id,
            status=JobStatus.SUCCEEDED,
            samples_per_s=12.5,
            actual={"peak_rss_bytes": 3 * 10**9},
            spec=asked.model_dump(mode="json"),
        )
    )
    session.flush()
    known = forecast_job(spec=asked, model=model, dataset=dataset, machine=MACHINE)
    assert known.time.samples_per_s == 12.5
    assert "earlier" in known.time.basis
    assert known.time.high_s - known.time.low_s < rough.time.high_s - rough.time.low_s
    assert "earlier" not in rough.memory.basis
    assert known.memory.total_bytes == 3 * 10**9
    assert "earlier" in known.memory.basis
    parts = known.memory.model_dump(exclude={"total_bytes", "free_bytes"})
    assert sum(size for name, size in parts.items() if name.endswith("_bytes")) == 3 * 10**9


@pytest.mark.parametrize(
    "change",
    [
        {"optimization": {"batch_size": 4}},
        {"optimization": {"batch_size": 2, "gradient_checkpointing": True}},
        {"optimization": {"batch_size": 2}, "qlora": {"rank": 64}},
        {"optimization": {"batch_size": 2}, "qlora": {"target_modules": "all-linear"}},
    ],
    ids=str,
)
def test_memory_does_not_rest_on_a_job_that_was_another(
    session: Session, user: User, change: dict[str, Any]
) -> None:
    model = whisper_tiny()
    model.owner_id = user.id
    dataset = Dataset(owner_id=user.id, name="d", task=Task.SPEECH_TO_TEXT, n_clips=10, duration_s=30)
    session.add_all([model, dataset])
    session.flush()
    session.add(
        Job(
            owner_id=user.id,
            name="before",
            training_type=TrainingType.QLORA,
            dataset_id=dataset.id,
            model_id=model.id,
            status=JobStatus.SUCCEEDED,
            actual={"peak_rss_bytes": 3 * 10**9},
            spec=spec(optimization={"batch_size": 2}).model_dump(mode="json"),
        )
    )
    session.flush()
    found = forecast_job(spec=spec(**change), model=model, dataset=dataset, machine=MACHINE)
    assert "earlier" not in found.memory.basis


def test_this_machine_can_be_looked_at(data_folder: Path) -> None:
    dataset = Dataset(owner_id="u", name="d", task=Task.SPEECH_TO_TEXT, n_clips=10, duration_s=20)
    found = forecast_job(spec=spec(), model=whisper_tiny(), dataset=dataset)
    assert found.disk.free_bytes > 0
    assert found.memory.free_bytes is None or found.memory.free_bytes > 0


def test_long_recordings_of_speakers_count_as_their_pieces(session: Session, user: User) -> None:
    dataset = Dataset(owner_id=user.id, name="d", task=Task.SPEAKER_DIARIZATION)
    session.add(dataset)
    session.flush()
    for position, duration_s in enumerate((10.0, 50.0, 20.0, 41.0)):
        split = "validation" if position == 3 else "train"
        session.add(
            Clip(dataset_id=dataset.id, position=position, filename="x", duration_s=duration_s, split=split)
        )
    session.flush()
    found = read_clip_stats(session, dataset)
    assert (found.n_train, found.n_validation, found.longest_s) == (1 + 3 + 1, 3, 20.0)
    assert found.mean_s == pytest.approx(121 / 8)
