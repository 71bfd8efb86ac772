"""A job on two devices under the shim: whatever dies, nothing is left, and the true reason is told."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from qlora_studio.contracts.enums import ExitReason, JobStatus, StopMode
from qlora_studio.db.models import Job
from qlora_studio.jobs import liveness, outcome
from qlora_studio.jobs.liveness import Liveness
from qlora_studio.jobs.supervisor import Supervisor
from qlora_studio.launchers.local import LocalLauncher
from qlora_studio.storage import layout
from tests.faults.harness import kill_leftovers
from tests.jobs.conftest import give_real_files, load, tick_until

pytestmark = pytest.mark.slow


@pytest.fixture
def running(make_job: Any, tmp_path: Path, data_folder: Path) -> Iterator[tuple[Job, Supervisor]]:
    """A job on two processes that has made its first steps, and its supervisor."""
    job = make_job(steps=5000)
    give_real_files(job, tmp_path, n_train=8, optimization={"devices": 2, "batch_size": 4})
    supervisor = Supervisor(LocalLauncher("training"))
    tick_until(supervisor, lambda: load(job.id).step >= 2, within_s=120, what="the first steps")
    yield job, supervisor
    kill_leftovers(data_folder)


def _processes(job: Job) -> tuple[int, list[psutil.Process]]:
    """The shim's pid, and the launcher with all it has started."""
    shim = json.loads((layout.attempt_path(job.id, 1) / "shim.json").read_text())
    launcher = psutil.Process(shim["worker_pid"])
    return shim["shim_pid"], [launcher, *launcher.children(recursive=True)]


def _assert_gone(job: Job, processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive
    assert liveness.look(layout.attempt_path(job.id, 1)) is Liveness.DEAD


def _wait_for(supervisor: Supervisor, job: Job, status: JobStatus, within_s: float = 20) -> Job:
    tick_until(supervisor, lambda: load(job.id).status is status, within_s=within_s, what=status.value)
    return load(job.id)


def test_a_killed_process_fails_the_job_with_its_signal(running: tuple[Job, Supervisor]) -> None:
    job, supervisor = running
    _, processes = _processes(job)
    assert len(processes) == 3
    processes[-1].kill()
    done = _wait_for(supervisor, job, JobStatus.FAILED, within_s=10)
    assert done.reason is ExitReason.KILLED
    assert "signal 9" in done.message
    _assert_gone(job, processes)


def test_a_killed_shim_takes_all_of_them_along(running: tuple[Job, Supervisor]) -> None:
    job, supervisor = running
    shim, processes = _processes(job)
    os.kill(shim, signal.SIGKILL)
    _assert_gone(job, processes)
    _wait_for(supervisor, job, JobStatus.LOST)


def test_another_server_adopts_it_and_stops_it(running: tuple[Job, Supervisor]) -> None:
    job, _ = running
    _, processes = _processes(job)
    adopted = Supervisor(LocalLauncher("training"))  # as after a restart: it knows nothing
    tick_until(adopted, lambda: load(job.id).step >= 5, within_s=60, what="more steps")
    assert load(job.id).attempt == 1
    outcome.write_stop(layout.attempt_path(job.id, 1), StopMode.SAVE)
    done = _wait_for(adopted, job, JobStatus.STOPPED, within_s=60)
    assert done.reason is ExitReason.USER_STOP
    assert "is kept" in done.message
    assert (layout.run_path(job.id) / "adapter" / "adapter_model.safetensors").is_file()
    _assert_gone(job, processes)


def test_ended_at_once_nothing_is_left(running: tuple[Job, Supervisor]) -> None:
    job, supervisor = running
    _, processes = _processes(job)
    outcome.write_stop(layout.attempt_path(job.id, 1), StopMode.KILL)
    _wait_for(supervisor, job, JobStatus.STOPPED)
    _assert_gone(job, processes)
