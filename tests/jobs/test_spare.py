"""A worker that waits for its attempt: it becomes the job's, or leaves."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from qlora_studio.contracts.enums import TERMINAL_STATUSES, ExitReason, JobStatus, StopMode
from qlora_studio.core.settings import get_settings
from qlora_studio.db.models import Job
from qlora_studio.jobs import liveness, outcome
from qlora_studio.jobs.liveness import Liveness
from qlora_studio.jobs.supervisor import Supervisor
from qlora_studio.launchers import local, spare
from qlora_studio.launchers.local import LocalLauncher
from qlora_studio.storage import layout
from tests.jobs.conftest import give_real_files, load, tick_until
from tests.waiting import wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def waiting(data_folder: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], psutil.Process]]:
    """Have a toy wait, and return its process."""
    monkeypatch.setattr(local, "_SPARE_LEAVES_BYTES", 0)
    before = set(_spares())

    def start() -> psutil.Process:
        def is_there() -> set[psutil.Process]:
            LocalLauncher("toy").expect()  # one that is just leaving is found out at the next try
            return set(_spares()) - before

        wait_for(is_there, what="a worker that waits")
        (found,) = set(_spares()) - before
        return found

    yield start
    spare.drop()
    wait_for(lambda: not set(_spares()) - before, what="its end")


def _spares() -> list[psutil.Process]:
    """This test's processes that wait; without their shims."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if "qlora_studio.training.spare" in (process.info["cmdline"] or []):
            with contextlib.suppress(psutil.Error):  # it is leaving, or somebody else's
                if process.environ().get("QLORA_STUDIO_DATA") == str(layout.data_path()):
                    found.append(process)
    return found


def is_over(job: Job) -> Callable[[], bool]:
    return lambda: load(job.id).status in TERMINAL_STATUSES


def worker_of(job: Job) -> int:
    return json.loads((layout.attempt_path(job.id, 1) / "shim.json").read_text())["worker_pid"]


def test_the_worker_that_waited_does_the_job(make_job: Any, waiting: Any) -> None:
    process = waiting()
    job = make_job(steps=5)
    tick_until(Supervisor(LocalLauncher("toy")), is_over(job))
    done = load(job.id)
    assert (done.status, done.reason, done.step) == (JobStatus.SUCCEEDED, ExitReason.OK, 5)
    assert worker_of(job) == process.pid
    assert (layout.attempt_path(job.id, 1) / "exit.json").is_file()
    assert liveness.look(layout.attempt_path(job.id, 1)) is Liveness.DEAD


def test_it_holds_the_attempts_lock_and_can_be_stopped_and_killed(
    make_job: Any, waiting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QLORA_STUDIO_TOY_STEP_S", "0.02")
    process, job = waiting(), make_job(steps=5000)
    supervisor = Supervisor(LocalLauncher("toy"))
    tick_until(supervisor, lambda: load(job.id).step >= 2)
    attempt = layout.attempt_path(job.id, 1)
    record = json.loads((attempt / "shim.json").read_text())
    assert (record["worker_pid"], os.readlink(f"/proc/{process.pid}/cwd")) == (process.pid, str(attempt))
    os.kill(record["shim_pid"], signal.SIGKILL)
    wait_for(lambda: not process.is_running(), what="the end of the worker with its shim")
    tick_until(supervisor, is_over(job))
    assert load(job.id).status is not JobStatus.SUCCEEDED

    other = make_job("other", steps=5000)
    waiting()
    tick_until(supervisor, lambda: load(other.id).step >= 2)
    outcome.write_stop(layout.attempt_path(other.id, 1), StopMode.SAVE)
    tick_until(supervisor, is_over(other))
    assert load(other.id).status is JobStatus.STOPPED


def test_one_that_has_died_or_was_made_for_other_settings_is_made_up_for(
    make_job: Any, waiting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = waiting()
    process.kill()
    wait_for(lambda: not _is_there(process), what="its end")
    job = make_job(steps=3)
    tick_until(Supervisor(LocalLauncher("toy")), is_over(job))
    assert load(job.id).status is JobStatus.SUCCEEDED

    process = waiting()
    monkeypatch.setenv("QLORA_STUDIO_TOY_FAIL", "crash@2")
    other = make_job("other", steps=3)
    tick_until(Supervisor(LocalLauncher("toy")), is_over(other))
    assert worker_of(other) != process.pid
    assert load(other.id).status is JobStatus.FAILED
    assert not _is_there(process)


def test_a_shim_that_has_gone_is_made_up_for(make_job: Any, waiting: Any) -> None:
    process = waiting()
    process.parent().kill()  # type: ignore[union-attr]
    wait_for(lambda: not _is_there(process), what="the worker's end with its shim")
    job = make_job(steps=3)
    tick_until(Supervisor(LocalLauncher("toy")), is_over(job))
    assert load(job.id).status is JobStatus.SUCCEEDED


def test_an_attempt_that_was_stopped_before_its_start_runs_nothing(make_job: Any, waiting: Any) -> None:
    process, job = waiting(), make_job(steps=2000)
    outcome.write_stop(layout.attempt_path(job.id, 1), StopMode.SAVE)
    tick_until(Supervisor(LocalLauncher("toy")), is_over(job))
    assert (load(job.id).status, load(job.id).pid) == (JobStatus.STOPPED, None)
    wait_for(lambda: not _is_there(process), what="its end")


def test_one_waits_however_often_it_is_asked_for_and_leaves_in_time(
    waiting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spare, "IDLE_S", 4.0)
    process = waiting()
    asked = time.monotonic()
    while time.monotonic() < asked + 6:  # somebody at work is waited for longer
        assert waiting() == process
        time.sleep(0.1)
    wait_for(lambda: not _is_there(process), what="its end, with nothing to do")
    assert waiting() != process


def test_nobody_waits_where_it_would_hurt(
    data_folder: Any, waiting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(_spares())
    monkeypatch.setenv("QLORA_STUDIO_SPARE_WORKER", "false")
    get_settings.cache_clear()
    LocalLauncher("toy").expect()
    monkeypatch.delenv("QLORA_STUDIO_SPARE_WORKER")
    get_settings.cache_clear()
    monkeypatch.setattr(local, "_SPARE_LEAVES_BYTES", 2**60)
    LocalLauncher("toy").expect()
    monkeypatch.setattr(local, "_SPARE_LEAVES_BYTES", 0)
    monkeypatch.setattr(local.devices, "list_cards", lambda: ["0"])
    LocalLauncher("toy").expect()
    assert spare.take() is None
    assert set(_spares()) == before


def test_a_worker_that_waited_trains_the_same_adapter(make_job: Any, waiting: Any, tmp_path: Path) -> None:
    launcher, before, adapters = LocalLauncher("training"), set(_spares()), []
    for number in range(2):
        job = make_job(steps=3)
        give_real_files(job, tmp_path / str(number), n_train=4)
        if number:
            launcher.expect()
            wait_for(lambda: set(_spares()) - before, what="a worker that waits")
            (process,) = set(_spares()) - before
        tick_until(Supervisor(launcher), is_over(job), within_s=120)
        assert load(job.id).status is JobStatus.SUCCEEDED, load(job.id).message
        adapters.append((layout.run_path(job.id) / "adapter" / "adapter_model.safetensors").read_bytes())
    assert worker_of(job) == process.pid
    assert adapters[0] == adapters[1]


def _is_there(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
