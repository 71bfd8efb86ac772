"""Kill servers, shims and whole machines; each test is one line of the table of faults (F2, F3, …)."""

import contextlib
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time

import pytest

from qlora_studio import serve
from qlora_studio.contracts.enums import ExitReason, JobStatus
from qlora_studio.core.settings import get_settings
from qlora_studio.db.engine import BUSY_TIMEOUT_S, DatabaseBusy, read, write
from qlora_studio.db.models import Job, QueueState
from qlora_studio.jobs import liveness
from qlora_studio.services import taking_up
from qlora_studio.storage import checkpoints, holding, layout
from tests.faults.conftest import TOY
from tests.faults.harness import (
    ADOPTED_WITHIN_S,
    DETECTED_WITHIN_S,
    STOPPED_WITHIN_S,
    adapter_of,
    events,
    is_gone,
    load,
    long,
    loss_steps,
    resume,
    shim_record,
    stop,
    wait_for,
    wait_for_end,
    wait_for_status,
    wait_for_step,
    written_steps,
)
from tests.faults.studio import StudioProcess

pytestmark = pytest.mark.slow


@pytest.mark.fault(
    "F2",
    "kill -9 the server during a job",
    "the same process trains on as fast; no point is missing",
)
def test_f2_server_killed_during_a_job(supervisor, launch, saw):
    job = launch(100)
    supervisor.start()
    wait_for_step(job.id, 30)
    worker = shim_record(job.id)["worker_pid"]
    supervisor.kill()
    killed_at = time.time()
    before = len(written_steps(job.id))
    wait_for(lambda: len(written_steps(job.id)) >= before + 30, within_s=20, what="the worker goes on")
    assert not is_gone(worker)
    supervisor.start()
    done = wait_for_end(job.id)
    assert (done.status, done.attempt, done.pid) == (JobStatus.SUCCEEDED, 1, worker)
    assert loss_steps(job.id) == list(range(1, 101))
    times = [event["ts"] for event in events(job.id) if event["type"] == "metric"]
    with_server = step_s([t for t in times if t <= killed_at])
    alone = step_s([t for t in times if t > killed_at][:30])
    assert alone < 1.5 * with_server
    saw(f"{1000 * with_server:.0f} ms a step with a server, {1000 * alone:.0f} ms without")


def step_s(times):
    return statistics.median(later - earlier for earlier, later in itertools.pairwise(times))


@pytest.mark.fault(
    "F3",
    "restart the server after 0, 20, 60 s",
    "shown running within 3 s of the supervisor's start, still attempt 1, all points of the gap there, "
    "Stop works",
)
@pytest.mark.parametrize("down_s", [0, 20, pytest.param(60, marks=long)])
def test_f3_server_back_after_a_while(supervisor, launch, user, saw, down_s):
    job = launch(4_000)
    supervisor.start()
    wait_for_step(job.id, 10)
    supervisor.kill()
    gap_from = load(job.id).step
    down_until = time.monotonic() + down_s
    wait_for(lambda: time.monotonic() >= down_until, within_s=down_s + 5, what="the time to pass")
    gap_to = written_steps(job.id)[-1]
    assert gap_to >= gap_from + 5 * down_s
    supervisor.start()
    took_s = wait_for(lambda: load(job.id).step >= gap_to, within_s=ADOPTED_WITHIN_S, what="adopted")
    adopted = load(job.id)
    assert (adopted.status, adopted.attempt) == (JobStatus.RUNNING, 1)
    assert set(range(1, gap_to + 1)) <= set(loss_steps(job.id))
    stop(user, job.id)
    stopped = wait_for_end(job.id, STOPPED_WITHIN_S)
    assert (stopped.status, stopped.reason) == (JobStatus.STOPPED, ExitReason.USER_STOP)
    steps = loss_steps(job.id)
    assert steps == list(range(1, len(steps) + 1))
    saw(f"after {down_s} s: adopted in {took_s:.2f} s with the {gap_to - gap_from} steps of the gap")


@pytest.mark.fault("F4", "the worker ends while nobody looks", "0, 1 or a signal: its true outcome")
@pytest.mark.parametrize(
    ("fail", "status", "reason"),
    [
        ("", JobStatus.SUCCEEDED, ExitReason.OK),
        ("bad_data", JobStatus.FAILED, ExitReason.BAD_DATA),
        ("crash@30", JobStatus.FAILED, ExitReason.KILLED),
    ],
)
def test_f4_worker_ends_while_the_server_is_down(supervisor, launch, fail, status, reason):
    job = launch(40)
    supervisor.start(QLORA_STUDIO_TOY_FAIL=fail)
    attempt = layout.attempt_path(job.id, 1)
    wait_for(lambda: liveness.was_claimed(attempt), within_s=20, what="started")
    supervisor.kill()
    wait_for((attempt / "exit.json").exists, within_s=30, what="exit.json")
    supervisor.start()
    done = wait_for_end(job.id)
    assert (done.status, done.reason) == (status, reason)


@pytest.mark.fault("F4", "shim and worker killed while nobody looks", "lost, not succeeded; attempt 2 runs")
def test_f4_without_any_record_the_job_is_lost(supervisor, launch, user):
    job = launch(4_000)
    supervisor.start()
    wait_for_step(job.id, 5)
    supervisor.kill()
    record = shim_record(job.id)
    os.kill(record["shim_pid"], signal.SIGKILL)
    wait_for(lambda: is_gone(record["worker_pid"]), within_s=5, what="the worker ends with its shim")
    supervisor.start()
    assert wait_for_end(job.id).status is JobStatus.LOST
    assert adapter_of(job.id) is None
    resume(user, job.id)
    assert wait_for_status(job.id, JobStatus.RUNNING).attempt == 2


@pytest.mark.fault("F5", "kill -9 the shim", "its worker is gone before the next job starts")
def test_f5_shim_killed_and_its_worker_ends_before_anything_else_starts(supervisor, launch):
    first, second = launch(4_000), launch(5, "next")
    supervisor.start()
    wait_for_step(first.id, 3)
    record = shim_record(first.id)
    killed_at = time.monotonic()
    os.kill(record["shim_pid"], signal.SIGKILL)
    wait_for_status(first.id, JobStatus.LOST)
    assert time.monotonic() - killed_at < DETECTED_WITHIN_S
    assert is_gone(record["worker_pid"])
    assert wait_for_end(second.id).status is JobStatus.SUCCEEDED


@pytest.mark.fault(
    "F6",
    "all processes gone and another boot id",
    "lost (reboot), resumable; nothing starts by itself; the queue keeps its order",
)
def test_f6_the_machine_was_restarted(supervisor, launch, user):
    first = launch(4_000, "first")
    waiting = [launch(3, name) for name in ("second", "third")]
    supervisor.start()
    wait_for_step(first.id, 12)
    supervisor.kill()
    record = shim_record(first.id)
    os.kill(record["shim_pid"], signal.SIGKILL)
    wait_for(lambda: is_gone(record["worker_pid"]), within_s=5, what="all processes gone")
    with write() as session:  # as if the row were from the boot before this one
        row = session.get_one(Job, first.id)
        assert row.boot_id == liveness.boot_id()
        state = session.get_one(QueueState, 1)
        row.boot_id = state.boot_id = "00000000-0000-0000-0000-000000000000"
        session.add_all([row, state])
    supervisor.start()
    lost = wait_for_end(first.id)
    assert (lost.status, lost.reason, lost.attempt) == (JobStatus.LOST, ExitReason.REBOOT, 1)

    def is_paused():
        with read() as session:
            return session.get_one(QueueState, 1).is_paused

    wait_for(is_paused, within_s=5, what="the queue is held")
    assert [load(job.id).status for job in waiting] == [JobStatus.QUEUED] * 2
    with write() as session:
        session.get_one(QueueState, 1).is_paused = False
    done = [wait_for_end(job.id) for job in waiting]
    assert [job.status for job in done] == [JobStatus.SUCCEEDED] * 2
    assert done[0].finished_at <= done[1].started_at
    assert load(first.id).status is JobStatus.LOST
    newest = checkpoints.find_newest(layout.run_path(first.id) / "checkpoints")
    resume(user, first.id)
    wait_for(lambda: written_steps(first.id, 2), within_s=30, what="the next attempt")
    assert written_steps(first.id, 2)[0] == newest.step + 1


@pytest.mark.fault("F7", "a record names another process's pid", "lost; the process lives on")
def test_f7_an_innocent_process_with_the_recorded_pid_is_left_alone(supervisor, launch):
    innocent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        job = launch(10)
        attempt = layout.attempt_path(job.id, 1)
        attempt.mkdir()
        (attempt / "shim.lock").touch()
        record = {"shim_pid": innocent.pid, "worker_pid": innocent.pid, "boot_id": liveness.boot_id()}
        (attempt / "shim.json").write_text(json.dumps(record))
        with write() as session:
            row = session.get_one(Job, job.id)
            row.status, row.pid, row.boot_id = JobStatus.STOPPING, innocent.pid, liveness.boot_id()
            session.add(row)
        (attempt / "stop.json").write_text('{"mode": "save"}')
        supervisor.start()
        assert wait_for_end(job.id).status is JobStatus.LOST
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()


@contextlib.contextmanager
def database_held_by_another(for_s):
    """Another process holds the write lock of the database for so many seconds."""
    code = (
        "import sqlite3, sys, time\n"
        "held = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "held.execute('BEGIN IMMEDIATE')\n"
        "print('held', flush=True)\n"
        "time.sleep(float(sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", code, str(layout.data_path() / "studio.db"), str(for_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield
        assert holder.wait(for_s + 10) == 0


@pytest.mark.fault(
    "F11",
    "another process holds the database for 1, 5, 30 s",
    "training and its live curve go on; who writes waits, or is told that it is busy; nothing is lost",
)
@pytest.mark.parametrize("held_s", [1, 5, pytest.param(30, marks=long)])
def test_f11_another_process_holds_the_database(supervisor, launch, user, saw, held_s):
    job, other = launch(4_000), launch(4_000, "other")
    supervisor.start(QLORA_STUDIO_SLOTS="2")
    wait_for_step(job.id, 10)
    wait_for_step(other.id, 10)
    with database_held_by_another(held_s):
        until = time.monotonic() + held_s
        longest = {job.id: 0.0, other.id: 0.0}
        last = {job_id: (loss_steps(job_id)[-1], time.monotonic()) for job_id in longest}
        answers: list[str] = []
        asked = threading.Thread(target=stop_when_told, args=(user, other.id, answers))
        asked.start()
        while time.monotonic() < until:
            for job_id, (step, since) in last.items():
                newest = loss_steps(job_id)[-1]
                longest[job_id] = max(longest[job_id], time.monotonic() - since)
                if newest > step:
                    last[job_id] = (newest, time.monotonic())
            time.sleep(0.02)
    asked.join()
    assert max(longest.values()) < 2.5, "the curves stood still"
    assert answers == (["busy"] if held_s > BUSY_TIMEOUT_S else ["stopped"])
    if answers == ["busy"]:
        stop(user, other.id)
    stop(user, job.id)
    for job_id in longest:
        done = wait_for_end(job_id, STOPPED_WITHIN_S)
        assert done.status is JobStatus.STOPPED
        steps = loss_steps(job_id)
        assert steps == written_steps(job_id) == list(range(1, done.step + 1))
    saw(f"{held_s} s: the curve paused {max(longest.values()):.1f} s at most, Stop was answered {answers[0]}")


def stop_when_told(user, job_id, answers):
    try:
        stop(user, job_id)
        answers.append("stopped")
    except DatabaseBusy:
        answers.append("busy")


def test_settings_of_the_harness_are_those_of_the_data_folder(data_folder):
    assert get_settings().data_path == data_folder.resolve()


@pytest.mark.fault(
    "F26",
    "a second server on the same data folder, by `make run` and by `reflex run`",
    "refuses, naming the holder's process and port; free again when the holder is killed",
)
def test_f26_a_second_server_is_refused(data_folder, zygote):
    studio = StudioProcess(zygote, data_folder, TOY | {"QLORA_STUDIO_PORT": "4321"})
    studio.start()
    studio.wait_until_it_answers()
    holder = f"process {studio.pid}, port 4321"
    with pytest.raises(SystemExit, match=holder):
        serve.serve()
    with pytest.raises(holding.HeldByAnother, match=holder):  # the start of the app under `reflex run`
        taking_up.begin()
    studio.kill()
    holding.hold(layout.data_path(), port=4322, wait_s=2)
    with pytest.raises(AssertionError, match="port 4322"):
        studio.start()
        studio.wait_until_it_answers()
    holding.let_go(layout.data_path())
