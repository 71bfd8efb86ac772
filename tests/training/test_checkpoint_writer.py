"""Checkpoints written while the training goes on: what is in them, when they count, what failing does."""

import errno
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from qlora_studio.storage import checkpoints
from qlora_studio.training import state_files
from qlora_studio.training.checkpoint_writer import CheckpointWriter
from qlora_studio.training.failures import DiskFull
from qlora_studio.training.run_state import RunState


class _Attempt:
    """As much of an attempt as saving needs; `told` are its events."""

    def __init__(self, run_path: Path) -> None:
        self.spec = SimpleNamespace(run_path=run_path)
        self.checkpoints_path = run_path / "checkpoints"
        self.told: list[tuple[str, Any]] = []
        self.events = SimpleNamespace(emit=lambda type_, **fields: self.told.append((type_, fields)))

    def warn(self, code: str, _message: str) -> None:
        self.told.append(("warning", code))

    @property
    def saved(self) -> list[int]:
        return [step for step, _ in checkpoints.list_steps(self.checkpoints_path)]


def _make_trainer() -> Any:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    trainer = SimpleNamespace(model=model, optimizer=optimizer, lr_scheduler=scheduler)
    trainer.state = SimpleNamespace(global_step=1, log_history=[])
    _step(trainer)
    return trainer


def _step(trainer: Any) -> None:
    trainer.model(torch.ones(1, 3)).sum().backward()
    trainer.optimizer.step()
    trainer.lr_scheduler.step()


@pytest.fixture
def attempt(tmp_path: Path) -> Any:
    return _Attempt(tmp_path)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """While it is not set, no file of a checkpoint gets written."""
    opened, real = threading.Event(), state_files.write

    def write(*args: Any) -> None:
        assert opened.wait(10)
        real(*args)

    monkeypatch.setattr(state_files, "write", write)
    yield opened
    opened.set()


def test_the_training_goes_on_and_the_checkpoint_is_of_its_step(attempt: Any, gate: threading.Event) -> None:
    trainer, writer, state = _make_trainer(), CheckpointWriter(attempt), RunState(n_clips_seen=8)
    weights = trainer.model.weight.detach().clone()
    moments = {k: v.clone() for k, v in trainer.optimizer.state[trainer.model.weight].items()}
    rate, random_state = trainer.optimizer.param_groups[0]["lr"], torch.get_rng_state()

    writer.save(trainer, state, 1)
    _step(trainer)
    state.n_clips_seen = 16
    torch.rand(1)
    assert not torch.equal(trainer.model.weight, weights)
    assert (attempt.saved, attempt.told) == ([], [])  # it counts once it is whole
    gate.set()
    writer.wait()

    assert [name for name, _ in attempt.told] == ["checkpoint"]
    saved = checkpoints.find_newest(attempt.checkpoints_path)
    assert saved is not None
    assert saved.state["run"]["n_clips_seen"] == 8
    trainer_state = saved.state["trainer"]
    state_files.load_model(trainer.model, saved.path)
    state_files.load_optimizer(trainer.optimizer, saved.path, trainer_state["optimizer"])
    trainer.lr_scheduler.load_state_dict(trainer_state["scheduler"])
    state_files.load_random(saved.path, trainer_state["random"])
    assert torch.equal(trainer.model.weight, weights)
    stored = trainer.optimizer.state[trainer.model.weight]
    assert all(torch.equal(stored[key], value) for key, value in moments.items())
    assert trainer.optimizer.param_groups[0]["lr"] == rate
    assert torch.equal(torch.get_rng_state(), random_state)


def test_a_save_waits_for_the_one_before(attempt: Any, gate: threading.Event) -> None:
    trainer, writer = _make_trainer(), CheckpointWriter(attempt)
    writer.save(trainer, RunState(), 1)
    second = threading.Thread(target=writer.save, args=(trainer, RunState(), 2))
    second.start()
    second.join(0.05)
    assert second.is_alive()
    gate.set()
    second.join(10)
    writer.wait()
    assert attempt.saved == [1, 2]
    assert [fields["step"] for _, fields in attempt.told] == [1, 2]


@pytest.mark.parametrize("notice", ["raise_if_failed", "wait", "save"])
def test_a_full_disk_is_raised_at_the_next_chance(
    notice: str, attempt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, writer = _make_trainer(), CheckpointWriter(attempt)
    writer.save(trainer, RunState(), 1)
    writer.wait()

    def write(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(state_files, "write", write)
    writer.save(trainer, RunState(), 2)
    writer.settle()  # a training that ends for another reason is not disturbed
    with pytest.raises(DiskFull, match="MB"):
        writer.save(trainer, RunState(), 3) if notice == "save" else getattr(writer, notice)()
    writer.raise_if_failed()  # once
    assert attempt.saved == [1]
    assert attempt.told[-1] == ("warning", "disk_full")


def test_without_memory_for_a_copy_the_training_waits(
    attempt: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=100))
    writer = CheckpointWriter(attempt)
    for step in (1, 2):
        writer.save(_make_trainer(), RunState(), step)
        assert attempt.saved[-1] == step
    assert capsys.readouterr().out.count("little memory") == 1
