"""The queue before the inference process: one at a time, called off, crashed, idle, too many."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from qlora_studio.core.errors import Conflict, InvalidInput, TooManyTries, Unavailable
from qlora_studio.launchers import local
from qlora_studio.services import engine_host
from qlora_studio.services.engine_host import EngineHost, Ticket
from tests.waiting import wait_for

COMMAND = (sys.executable, str(Path(__file__).with_name("engine_stub.py")))


def ticket(what: str, owner: str = "usr_ada") -> Ticket:
    request = {
        "task": "speech-to-text",
        "model_path": f"/models/{what}",
        "samples_path": "/none",
        "sample_rate": 16_000,
        "variants": [{}],
    }
    return Ticket(owner_id=owner, request=request)


@pytest.fixture
def host(data_folder: Path) -> Iterator[EngineHost]:
    made = EngineHost(COMMAND, idle_s=60.0)
    yield made
    made._end_child()


def pid_of(host: EngineHost) -> int:
    asked = ticket("cpu")
    host.submit(asked)
    return int(asked.result(30).heard[0].text or "0")


def test_one_process_answers_one_request_after_the_other(host: EngineHost) -> None:
    assert not host.is_warm
    first = pid_of(host)
    assert pid_of(host) == first
    assert host.is_warm
    assert os.getsid(first) == first, "it has a session of its own"


def test_a_refusal_is_told_as_it_is(host: EngineHost) -> None:
    asked = ticket("refuse")
    host.submit(asked)
    with pytest.raises(InvalidInput, match=r"No\."):
        asked.result(30)


def test_a_crash_costs_one_request(host: EngineHost) -> None:
    before = pid_of(host)
    asked = ticket("crash")
    host.submit(asked)
    with pytest.raises(Unavailable, match="exit code 3"):
        asked.result(30)
    assert pid_of(host) != before


def test_killed_in_the_middle_the_request_fails_and_the_next_one_works(host: EngineHost) -> None:
    before = pid_of(host)
    asked = ticket("hang")
    host.submit(asked)
    wait_for(lambda: asked.percent == 40)
    os.kill(before, signal.SIGKILL)
    with pytest.raises(Unavailable, match="ended unexpectedly"):
        asked.result(30)
    assert pid_of(host) != before


def test_cancel_ends_a_request_and_keeps_the_process(host: EngineHost) -> None:
    before = pid_of(host)
    asked, behind = ticket("hang"), ticket("cpu")
    host.submit(asked)
    host.submit(behind)
    wait_for(lambda: asked.status == "running")
    asked.cancel()
    with pytest.raises(Conflict, match="Cancelled"):
        asked.result(30)
    assert int(behind.result(30).heard[0].text or "0") == before


def test_a_cancel_that_is_not_heeded_ends_the_process(
    host: EngineHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_host, "_HEED_WITHIN_S", 0.2)
    before = pid_of(host)
    asked = ticket("deaf")
    host.submit(asked)
    wait_for(lambda: asked.percent == 40)
    asked.cancel()
    with pytest.raises(Conflict, match="Cancelled"):
        asked.result(30)
    assert not psutil.pid_exists(before)


def test_a_waiting_request_is_called_off_before_its_turn(host: EngineHost) -> None:
    running, waiting = ticket("hang"), ticket("cpu")
    host.submit(running)
    host.submit(waiting)
    wait_for(lambda: running.percent == 40)
    told: list[str] = []
    waiting.when_ended(lambda: told.append("it has ended"))
    waiting.cancel()
    with pytest.raises(Conflict, match="Cancelled"):
        waiting.result(0)
    assert told == ["it has ended"]
    assert not running.ended.is_set()
    behind = ticket("cpu")
    host.submit(behind)  # the one that was called off no longer counts
    running.cancel()
    assert behind.result(30).device == "cpu"


def test_nobody_can_fill_the_queue(host: EngineHost) -> None:
    mine = [ticket("hang") for _ in range(engine_host.MAX_WAITING_EACH)]
    for asked in mine:
        host.submit(asked)
    with pytest.raises(TooManyTries):
        host.submit(ticket("cpu"))
    other = ticket("cpu", owner="usr_eve")
    host.submit(other)
    for asked in mine:
        asked.cancel()
    assert other.result(30).device == "cpu"


@pytest.mark.slow
def test_an_idle_process_is_ended(data_folder: Path) -> None:
    host = EngineHost(COMMAND, idle_s=0.2)
    pid = pid_of(host)
    wait_for(lambda: not psutil.pid_exists(pid))
    assert pid_of(host) != pid
    wait_for(lambda: not host.is_warm)


@pytest.mark.slow
def test_a_training_gets_the_gpu_that_an_idle_process_holds(data_folder: Path) -> None:
    is_training: list[bool] = []
    host = EngineHost(COMMAND, idle_s=60.0, must_leave_gpu=lambda: bool(is_training))
    asked = ticket("cuda")
    host.submit(asked)
    asked.result(30)
    assert host.is_warm
    is_training.append(True)
    wait_for(lambda: not host.is_warm)


@pytest.mark.slow
def test_a_training_gets_the_gpu_of_a_process_that_was_only_asked_to_use_it(data_folder: Path) -> None:
    is_training: list[bool] = []
    host = EngineHost(COMMAND, idle_s=60.0, must_leave_gpu=lambda: bool(is_training))
    asked = ticket("hang")
    host.submit(asked)
    wait_for(lambda: asked.percent == 40)
    asked.cancel()
    asked.ended.wait(30)
    assert host.is_warm
    is_training.append(True)
    wait_for(lambda: not host.is_warm)


def test_what_comes_after_a_training_has_begun_does_not_keep_the_gpu(data_folder: Path) -> None:
    is_training: list[bool] = []
    host = EngineHost(COMMAND, idle_s=60.0, must_leave_gpu=lambda: bool(is_training))
    first, second, third = ticket("cuda"), ticket("cpu"), ticket("cpu")
    host.submit(first)
    first.result(30)
    holder = host._child
    is_training.append(True)
    host.submit(second)
    second.result(30)
    assert host._child is not holder
    assert second.request["device"] == "cpu"
    host.submit(third)
    assert third.result(30).heard[0].text == second.result().heard[0].text, "it may stay: it has no GPU"
    host._end_child()


@pytest.mark.slow
def test_a_look_that_fails_does_not_stop_the_queue(data_folder: Path) -> None:
    looks: list[int] = []

    def look() -> bool:
        looks.append(1)
        raise OSError("the database is gone")

    host = EngineHost(COMMAND, idle_s=60.0, must_leave_gpu=look)
    pid_of(host)
    host._has_machine_gpu = True
    before = len(looks)
    wait_for(lambda: len(looks) > before)
    assert pid_of(host)
    host._end_child()


def test_the_engines_threads_sleep_while_they_wait_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    assert local.engine_environment()["OMP_WAIT_POLICY"] == "passive"
    assert "GOMP_SPINCOUNT" not in local.engine_environment()
    assert local.worker_environment()["GOMP_SPINCOUNT"] == "10000"
    assert "OMP_WAIT_POLICY" not in local.worker_environment()
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert local.engine_environment()["OMP_WAIT_POLICY"] == "active"
    assert "GOMP_SPINCOUNT" not in local.worker_environment()
