"""Which device a process sees, and what is told of an attempt whose processes have ended."""

import os
from pathlib import Path

import pytest

from qlora_studio.contracts.enums import ExitReason
from qlora_studio.contracts.events import ResultFile
from qlora_studio.contracts.spec import WorkerSpec
from qlora_studio.training import following, launching
from qlora_studio.training.attempt import PARTED
from qlora_studio.training.failures import BadData, RanksParted
from tests.training import tiny


@pytest.fixture
def spec(tmp_path: Path) -> WorkerSpec:
    spec = tiny.make_spec(tmp_path, tmp_path, tmp_path, optimization={"devices": 2})
    spec.attempt_path.mkdir(parents=True)
    return spec


@pytest.mark.parametrize(
    ("cards", "visible", "rank", "seen"),
    [
        (["2", "3"], None, 0, "2"),
        (["2", "3"], "0,1,2,3", 1, "3"),
        ([], None, 1, "1"),
        ([], "5,7", 1, "7"),
        ([], "5", 1, ""),
        ([], "", 0, ""),
    ],
)
def test_a_process_sees_its_own_device_only(
    monkeypatch: pytest.MonkeyPatch,
    spec: WorkerSpec,
    cards: list[str],
    visible: str | None,
    rank: int,
    seen: str,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible or "")
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    launching.take_card(spec.model_copy(update={"cards": cards}), rank)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == seen


def _fail(_: object) -> None:
    raise BadData("Clip clip_7 cannot be read.")


def _part(_: object) -> None:
    raise RanksParted("connection closed")


def test_the_reason_of_one_beside_the_first_becomes_the_job_s(spec: WorkerSpec) -> None:
    assert following.follow(spec, _fail, 1, 2) == 1
    assert launching._end(spec, 2, failed=1) == 1
    result = ResultFile.model_validate_json((spec.attempt_path / "result.json").read_text())
    assert (result.reason, result.message) == (ExitReason.BAD_DATA, "Clip clip_7 cannot be read.")
    assert [event["type"] for event in tiny.read_events(spec)] == ["error", "finished"]


def test_who_is_left_behind_tells_nothing(spec: WorkerSpec) -> None:
    assert following.follow(spec, _part, 1, 2) == PARTED
    assert launching._end(spec, 2, failed=PARTED) == PARTED
    assert not (spec.attempt_path / "result.json").exists()


@pytest.mark.parametrize(("reason", "status"), [("ok", 0), ("user_stop", 0), ("nan_loss", 1)])
def test_the_first_one_s_result_is_what_counts(spec: WorkerSpec, reason: str, status: int) -> None:
    result = ResultFile(reason=ExitReason(reason), step=3)
    (spec.attempt_path / "result.json").write_text(result.model_dump_json())
    assert launching._end(spec, 2, failed=PARTED) == status
    assert following.follow(spec, _part, 1, 2) == 0
