"""Kill, freeze and confuse what runs jobs; each test is one line of the table of faults (F1, F2, …)."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from sqlmodel import Session, select

from qlora_studio.contracts.enums import ExitReason, JobStatus, StopMode
from qlora_studio.core.errors import Conflict
from qlora_studio.core.settings import get_settings
from qlora_studio.db.engine import get_engine, read, write
from qlora_studio.db.models import Adapter, Job
from qlora_studio.jobs import liveness
from qlora_studio.services import jobs
from qlora_studio.storage import layout
from tests.faults.harness import (
    ADOPTED_WITHIN_S,
    DETECTED_WITHIN_S,
    STOPPED_WITHIN_S,
    is_gone,
    load,
    loss_steps,
    shim_record,
    wait_for,
    wait_for_end,
    wait_for_status,
    wait_for_step,
    written_steps,
)
from tests.jobs.workbench import make_dataset, make_model, make_spec

pytestmark = pytest.mark.slow


def stop(user, job_id, mode=StopMode.SAVE):
    with write() as session:
        jobs.stop(session, actor=user, job_id=job_id, mode=mode)


def resume(user, job_id):
    with write() as session:
        jobs.resume(session, actor=user, job_id=job_id)


def adapter_of(job_id):
    with read() as session:
        return session.exec(select(Adapter).where(Adapter.job_id == job_id)).first()


def test_f1_worker_killed_in_the_middle_of_an_epoch(supervisor, launch, user):
    control, job = launch(40, "control"), launch(40)
    supervisor.start()
    wait_for_end(control.id)
    wait_for_step(job.id, 15)
    killed_at = time.monotonic()
    os.kill(shim_record(job.id)["worker_pid"], signal.SIGKILL)
    failed = wait_for_status(job.id, JobStatus.FAILED)
    assert time.monotonic() - killed_at < DETECTED_WITHIN_S
    assert failed.reason is ExitReason.KILLED
    assert "killed by signal 9" in failed.message
    resume(user, job.id)
    done = wait_for_end(job.id)
    assert (done.status, done.attempt) == (JobStatus.SUCCEEDED, 2)
    assert written_steps(job.id, 2)[0] % 10 == 1  # from a checkpoint, not from the start
    assert written_steps(job.id, 2)[0] > 1
    assert loss_steps(job.id) == list(range(1, 41))
    adapters = [layout.run_path(j.id) / "adapter" / "adapter_model.safetensors" for j in (control, job)]
    assert adapters[0].read_bytes() == adapters[1].read_bytes()


def test_f2_server_killed_during_a_job(supervisor, launch):
    job = launch(120)
    supervisor.start()
    wait_for_step(job.id, 10)
    worker = shim_record(job.id)["worker_pid"]
    supervisor.kill()
    before = len(written_steps(job.id))
    wait_for(lambda: len(written_steps(job.id)) >= before + 20, within_s=10, what="the worker goes on")
    assert not is_gone(worker)
    supervisor.start()
    done = wait_for_end(job.id)
    assert (done.status, done.attempt, done.pid) == (JobStatus.SUCCEEDED, 1, worker)
    assert loss_steps(job.id) == list(range(1, 121))


def test_f3_server_back_after_twenty_seconds(supervisor, launch, user):
    job = launch(4_000)
    supervisor.start()
    wait_for_step(job.id, 10)
    supervisor.kill()
    gap_from = load(job.id).step
    down_until = time.monotonic() + 20
    wait_for(lambda: time.monotonic() > down_until, within_s=25, what="twenty seconds")
    gap_to = written_steps(job.id)[-1]
    assert gap_to > gap_from + 100
    supervisor.start()
    supervisor.wait_until_it_works()
    took_s = wait_for(lambda: load(job.id).step >= gap_to, within_s=ADOPTED_WITHIN_S, what="adopted")
    assert took_s < ADOPTED_WITHIN_S
    adopted = load(job.id)
    assert (adopted.status, adopted.attempt) == (JobStatus.RUNNING, 1)
    assert set(range(1, gap_to + 1)) <= set(loss_steps(job.id))
    stop(user, job.id)
    stopped = wait_for_end(job.id, STOPPED_WITHIN_S)
    assert (stopped.status, stopped.reason) == (JobStatus.STOPPED, ExitReason.USER_STOP)
    steps = loss_steps(job.id)
    assert steps == list(range(1, len(steps) + 1))


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


def test_f12_two_launches_at_once_on_one_slot(supervisor, launch):
    supervisor.start()
    made = [launch(3, f"job {i}") for i in range(6)]
    most = 0

    def are_over():
        nonlocal most
        found = [load(job.id).status for job in made]
        most = max(most, sum(s in (JobStatus.STARTING, JobStatus.RUNNING) for s in found))
        return all(s is JobStatus.SUCCEEDED for s in found)

    wait_for(are_over, within_s=60, what="all six")
    assert most == 1
    started = [load(job.id).started_at for job in made]
    assert started == sorted(started)


def test_f13_a_launch_sent_by_ten_clicks_makes_one_job(data_folder, session, user):
    spec = make_spec(make_dataset(session, user), make_model(session, user))
    ids: list[str] = []
    barrier = threading.Barrier(10)

    def click():
        barrier.wait()
        with write() as own:
            ids.append(jobs.submit(own, actor=user, spec=spec, launch_key="draft-1").id)

    threads = [threading.Thread(target=click) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 10
    assert len(set(ids)) == 1
    with Session(get_engine()) as own:
        assert len(own.exec(select(Job)).all()) == 1
    assert len(list((data_folder / "runs").glob("job_*"))) == 1


def test_f13_events_taken_in_twice_change_nothing(supervisor, launch):
    job = launch(400)
    supervisor.start()
    wait_for_step(job.id, 30)
    supervisor.kill()
    with write() as session:  # as if the last commits had been lost in a crash
        row = session.get_one(Job, job.id)
        row.event_offset, row.last_seq = 0, 0
        session.add(row)
    supervisor.start()
    assert wait_for_end(job.id).status is JobStatus.SUCCEEDED
    assert loss_steps(job.id) == list(range(1, 401))


def test_f14_stop_ten_times_with_the_server_killed_in_between(supervisor, launch, user):
    job = launch(4_000)
    supervisor.start()
    wait_for_step(job.id, 25)
    record = shim_record(job.id)
    for i in range(10):
        stop(user, job.id)
        if i == 4:
            supervisor.kill()
    supervisor.start()
    done = wait_for_end(job.id, STOPPED_WITHIN_S)
    assert (done.status, done.reason) == (JobStatus.STOPPED, ExitReason.USER_STOP)
    assert is_gone(record["worker_pid"])
    with pytest.raises(ProcessLookupError):
        os.killpg(record["worker_pid"], 0)
    adapter = adapter_of(job.id)
    assert adapter is not None
    result = json.loads((layout.attempt_path(job.id, 1) / "result.json").read_text())
    assert result["step"] == loss_steps(job.id)[-1]
    assert (layout.run_path(job.id) / "adapter" / "adapter_model.safetensors").stat().st_size > 0


def test_f14_stop_during_start_at_the_last_step_and_after_the_end(supervisor, launch, user):
    early, late = launch(4_000, "early"), launch(30, "late")
    supervisor.start()
    wait_for(lambda: load(early.id).status is not JobStatus.QUEUED, within_s=20, what="started")
    stop(user, early.id)
    assert wait_for_end(early.id, STOPPED_WITHIN_S).status is JobStatus.STOPPED
    wait_for_step(late.id, 28)
    with contextlib.suppress(Conflict):  # it may have been quicker
        stop(user, late.id)
    done = wait_for_end(late.id, STOPPED_WITHIN_S)
    assert done.status in (JobStatus.STOPPED, JobStatus.SUCCEEDED)
    assert adapter_of(late.id) is not None
    with pytest.raises(Conflict):
        stop(user, late.id)
    assert load(late.id).status is done.status


def test_f14_kill_proves_that_the_process_tree_is_gone(supervisor, launch, user):
    job = launch(4_000)
    supervisor.start()
    wait_for_step(job.id, 5)
    record = shim_record(job.id)
    asked_at = time.monotonic()
    stop(user, job.id, StopMode.KILL)
    assert wait_for_end(job.id).status is JobStatus.STOPPED
    assert time.monotonic() - asked_at < DETECTED_WITHIN_S
    assert is_gone(record["worker_pid"])
    assert is_gone(record["shim_pid"])


def test_f15_a_frozen_worker_is_stopped_by_force_and_it_says_so(supervisor, launch, user):
    job = launch(4_000)
    supervisor.start()
    wait_for_step(job.id, 12)
    record = shim_record(job.id)
    os.kill(record["worker_pid"], signal.SIGSTOP)
    stop(user, job.id)
    done = wait_for_end(job.id, STOPPED_WITHIN_S)
    assert done.status is JobStatus.STOPPED
    assert "by force" in done.message
    assert is_gone(record["worker_pid"])


def test_f27_a_worker_that_logs_without_end_is_capped(tmp_path):
    attempt = tmp_path / "attempt-1"
    attempt.mkdir()
    code = "import sys; [sys.stdout.buffer.write(b'x' * 10_000_000 + b'\\n') for _ in range(10)]"
    launch_file = {"command": [sys.executable, "-c", code], "log_max_bytes": 4_000_000}
    (attempt / "launch.json").write_text(json.dumps(launch_file))
    shim = [sys.executable, "-m", "qlora_studio.jobs.shim", str(attempt)]
    assert subprocess.run(shim, check=False, timeout=30).returncode == 0
    wait_for((attempt / "exit.json").exists, within_s=30, what="exit.json")
    assert json.loads((attempt / "exit.json").read_text())["returncode"] == 0
    assert sum(p.stat().st_size for p in attempt.glob("worker.log*")) <= 8_100_000
    assert subprocess.run(shim, check=False, timeout=30).returncode == 3  # an attempt is used once


def test_settings_of_the_harness_are_those_of_the_data_folder(data_folder):
    assert get_settings().data_path == data_folder.resolve()
