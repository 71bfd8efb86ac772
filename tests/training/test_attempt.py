"""How an attempt begins and ends around its work, whatever the disk does."""

import errno
from pathlib import Path
from typing import Any

import pytest

from qlora_studio.contracts.enums import ExitReason
from qlora_studio.contracts.events import EXIT_DISK_FULL, ResultFile
from qlora_studio.contracts.spec import WorkerSpec
from qlora_studio.storage import atomic
from qlora_studio.training import attempt
from tests.training import tiny

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def spec(tmp_path: Path) -> WorkerSpec:
    return tiny.make_spec(tmp_path, tmp_path / "model", tmp_path / "clips.jsonl")


def _run(spec: WorkerSpec, done: list[str]) -> int:
    def body(_: attempt.Attempt) -> ResultFile:
        done.append("worked")
        return ResultFile(reason=ExitReason.OK, step=1)

    return attempt.run_attempt(spec, body, device="cpu", versions={})


def test_a_full_disk_at_the_start_is_told_as_that(spec: WorkerSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    real, done = Path.write_bytes, []

    def write_bytes(path: Path, data: bytes) -> int:
        if path.name == ".reserve":
            real(path, data[:10])
            raise FULL
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    assert _run(spec, done) == 1
    assert not done
    result = ResultFile.model_validate_json((spec.attempt_path / "result.json").read_text())
    assert result.reason is ExitReason.DISK_FULL
    assert result.message.startswith("The disk is full.")
    assert not (spec.attempt_path / ".reserve").exists()
    assert tiny.read_events(spec, "error")[0]["reason"] == "disk_full"


def test_a_disk_without_room_for_the_result_is_told_by_the_exit_status(
    spec: WorkerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_text(*_: Any) -> None:
        raise FULL

    monkeypatch.setattr(atomic, "write_text", write_text)
    assert _run(spec, []) == EXIT_DISK_FULL
