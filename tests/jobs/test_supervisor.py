"""Jobs from queued to their end, with real processes."""

import json
import os
import signal
import time

import pytest
from sqlmodel import select

from qlora_studio.contracts.enums import TERMINAL_STATUSES, ExitReason, JobStatus, StopMode
from qlora_studio.db.engine import read, write
from qlora_studio.db.models import Adapter, Job, JobSample
from qlora_studio.jobs import liveness, metrics, outcome, transitions
from qlora_studio.jobs.liveness import Liveness
from qlora_studio.jobs.lock import Lock
from qlora_studio.jobs.supervisor import Supervisor, run_until_done
from qlora_studio.launchers.base import LaunchFailed
from qlora_studio.launchers.local import LocalLauncher
from qlora_studio.storage import layout
from tests.jobs.conftest import change_setting, is_gone, load, tick_until


def is_over(job_id):
    return lambda: load(job_id).status in TERMINAL_STATUSES


def loss_steps(job_id):
    points = metrics.read_all(layout.run_path(job_id) / "metrics", "loss")[:]
    return points["step"].tolist()


def shim_file(job_id, attempt=1):
    return json.loads((layout.attempt_path(job_id, attempt) / "shim.json").read_text())


def test_a_job_runs_to_its_end_and_leaves_an_adapter(supervisor, make_job):
    job = make_job(steps=12)
    tick_until(supervisor, is_over(job.id))
    done = load(job.id)
    assert (done.status, done.reason) == (JobStatus.SUCCEEDED, ExitReason.OK)
    assert (done.step, done.total_steps, done.attempt) == (12, 12, 1)
    assert done.base_metrics["wer"] > done.best_metrics["wer"]
    assert done.started_at <= done.finished_at
    assert done.report == {"n_train": 3}
    assert loss_steps(job.id) == list(range(1, 13))
    with read() as session:
        adapter = session.exec(select(Adapter).where(Adapter.job_id == job.id)).one()
        samples = session.exec(select(JobSample).where(JobSample.job_id == job.id)).all()
    assert adapter.name == job.name
    assert adapter.size_bytes > 0
    assert {s.step for s in samples} == {0, 5, 10, 12}


@pytest.mark.slow
def test_one_slot_runs_one_job_and_keeps_the_order(supervisor, make_job):
    first, second = make_job("first", steps=4), make_job("second", steps=4)
    supervisor.tick(review=True)
    assert (load(first.id).status, load(second.id).status) == (JobStatus.STARTING, JobStatus.QUEUED)
    tick_until(supervisor, is_over(second.id))
    assert load(first.id).finished_at <= load(second.id).started_at


@pytest.mark.slow
def test_a_job_waits_for_the_one_it_comes_after(supervisor, make_job, monkeypatch):
    change_setting(monkeypatch, "SLOTS", "2")
    first = make_job("first", steps=4)
    second = make_job("second", steps=4, after_job_id=first.id)
    tick_until(supervisor, is_over(second.id))
    assert load(first.id).finished_at <= load(second.id).started_at


@pytest.mark.slow
def test_stop_keeps_an_adapter(supervisor, make_job, monkeypatch):
    monkeypatch.setenv("QLORA_STUDIO_TOY_STEP_S", "0.05")
    job = make_job(steps=2000)
    tick_until(supervisor, lambda: load(job.id).step >= 2)
    outcome.write_stop(layout.attempt_path(job.id, 1), StopMode.SAVE)
    tick_until(supervisor, is_over(job.id))
    done = load(job.id)
    assert (done.status, done.reason) == (JobStatus.STOPPED, ExitReason.USER_STOP)
    with read() as session:
        assert session.exec(select(Adapter).where(Adapter.job_id == job.id)).one()


@pytest.mark.slow
def test_kill_leaves_no_process(supervisor, make_job, monkeypatch):
    monkeypatch.setenv("QLORA_STUDIO_TOY_STEP_S", "0.05")
    job = make_job(steps=2000)
    tick_until(supervisor, lambda: load(job.id).step >= 1)
    pid = shim_file(job.id)["worker_pid"]
    outcome.write_stop(layout.attempt_path(job.id, 1), StopMode.KILL)
    tick_until(supervisor, is_over(job.id))
    assert load(job.id).status is JobStatus.STOPPED
    assert is_gone(pid)


@pytest.mark.slow
def test_a_worker_that_ignores_stop_is_ended_and_it_says_so(supervisor, make_job, monkeypatch):
    monkeypatch.setenv("QLORA_STUDIO_TOY_STEP_S", "0.05")
    monkeypatch.setenv("QLORA_STUDIO_TOY_FAIL", "ignore_term")
    change_setting(monkeypatch, "STOP_GRACE_S", "0.5")
    job = make_job(steps=2000)
    tick_until(supervisor, lambda: load(job.id).step >= 1)
    outcome.write_stop(layout.attempt_path(job.id, 1), StopMode.SAVE)
    tick_until(supervisor, is_over(job.id))
    done = load(job.id)
    assert done.status is JobStatus.STOPPED
    assert "by force" in done.message


def test_a_killed_worker_is_a_failure_that_names_the_signal(supervisor, make_job, monkeypatch):
    monkeypatch.setenv("QLORA_STUDIO_TOY_FAIL", "crash@3")
    job = make_job(steps=10)
    tick_until(supervisor, is_over(job.id))
    done = load(job.id)
    assert (done.status, done.reason) == (JobStatus.FAILED, ExitReason.KILLED)
    assert "signal 9" in done.message


@pytest.mark.slow
def test_a_worker_that_reports_an_error_fails_with_its_sentence(supervisor, make_job, monkeypatch):
    monkeypatch.setenv("QLORA_STUDIO_TOY_FAIL", "nan@3")
    job = make_job(steps=10)
    tick_until(supervisor, is_over(job.id))
    done = load(job.id)
    assert (done.status, done.reason) == (JobStatus.FAILED, ExitReason.NAN_LOSS)
    assert "step 3" in done.message


@pytest.mark.slow
def test_killing_the_shim_ends_its_worker_and_the_job_is_lost(supervisor, make_job, monkeypatch):
    monkeypatch.setenv("QLORA_STUDIO_TOY_STEP_S", "0.05")
    job = make_job(steps=2000)
    tick_until(supervisor, lambda: load(job.id).step >= 1)
    record = shim_file(job.id)
    os.kill(record["shim_pid"], signal.SIGKILL)
    tick_until(supervisor, is_over(job.id))
    assert load(job.id).status is JobStatus.LOST
    assert is_gone(record["worker_pid"])


@pytest.mark.slow
def test_a_new_supervisor_adopts_the_running_job(supervisor, make_job, monkeypatch):
    monkeypatch.setenv("QLORA_STUDIO_TOY_STEP_S", "0.02")
    job = make_job(steps=60)
    tick_until(supervisor, lambda: load(job.id).step >= 3)
    pid = load(job.id).pid
    time.sleep(0.3)  # the worker goes on with nobody looking
    second = Supervisor(LocalLauncher("toy"))
    tick_until(second, is_over(job.id))
    done = load(job.id)
    assert (done.status, done.attempt, done.pid) == (JobStatus.SUCCEEDED, 1, pid)
    assert loss_steps(job.id) == list(range(1, 61))


@pytest.mark.slow
def test_a_start_that_a_crash_interrupted_goes_on(supervisor, make_job):
    job = make_job(steps=4)
    with write() as session:
        transitions.move(
            session,
            job_id=job.id,
            attempt=1,
            from_=[JobStatus.QUEUED],
            to=JobStatus.STARTING,
            boot_id=liveness.boot_id(),
        )
    tick_until(supervisor, is_over(job.id))
    assert (load(job.id).status, load(job.id).attempt) == (JobStatus.SUCCEEDED, 1)


def test_after_a_reboot_a_job_is_lost_and_nothing_starts_by_itself(supervisor, make_job):
    job = make_job(steps=4)
    with write() as session:
        transitions.move(
            session,
            job_id=job.id,
            attempt=1,
            from_=[JobStatus.QUEUED],
            to=JobStatus.STARTING,
            boot_id="other",
        )
    supervisor.tick(review=True)
    done = load(job.id)
    assert (done.status, done.reason) == (JobStatus.LOST, ExitReason.REBOOT)


@pytest.mark.slow
def test_an_attempt_is_started_once(supervisor, make_job):
    job = make_job(steps=4)
    tick_until(supervisor, is_over(job.id))
    attempt = layout.attempt_path(job.id, 1)
    before = (attempt / "events.jsonl").read_bytes()
    LocalLauncher("toy").launch(attempt)
    assert liveness.look(attempt) is Liveness.DEAD
    assert (attempt / "events.jsonl").read_bytes() == before


def test_a_stop_before_the_worker_was_started_ends_the_job(supervisor, make_job):
    job = make_job(steps=2000)
    outcome.write_stop(layout.attempt_path(job.id, 1), StopMode.SAVE)
    tick_until(supervisor, is_over(job.id), within_s=5)
    assert (load(job.id).status, load(job.id).pid) == (JobStatus.STOPPED, None)
    assert not (layout.attempt_path(job.id, 1) / "events.jsonl").exists()


@pytest.mark.slow
def test_a_resumed_attempt_has_each_step_once(supervisor, make_job, monkeypatch):
    monkeypatch.setenv("QLORA_STUDIO_TOY_FAIL", "crash@8")
    job = make_job(steps=12)
    tick_until(supervisor, is_over(job.id))
    assert load(job.id).status is JobStatus.FAILED
    monkeypatch.delenv("QLORA_STUDIO_TOY_FAIL")
    with write() as session:
        assert transitions.reopen(
            session, job_id=job.id, attempt=1, from_=[JobStatus.FAILED], event_offset=0, last_seq=0
        )
    tick_until(supervisor, is_over(job.id))
    assert (load(job.id).status, load(job.id).attempt) == (JobStatus.SUCCEEDED, 2)
    assert loss_steps(job.id) == list(range(1, 13))


def test_an_innocent_process_with_the_recorded_pid_is_left_alone(supervisor, make_job):
    job = make_job(steps=4)
    attempt = layout.attempt_path(job.id, 1)
    attempt.mkdir(parents=True)
    (attempt / "shim.lock").touch()
    (attempt / "shim.json").write_text(json.dumps({"shim_pid": os.getpid(), "worker_pid": os.getpid()}))
    with write() as session:
        row = session.get_one(Job, job.id)
        row.status, row.pid, row.boot_id = JobStatus.RUNNING, os.getpid(), liveness.boot_id()
        session.add(row)
    supervisor.tick(review=True)
    assert load(job.id).status is JobStatus.LOST


@pytest.mark.slow
def test_run_until_done_reports_every_event(data_folder, make_job, monkeypatch):
    monkeypatch.setenv("QLORA_STUDIO_TOY_STEP_S", "0.005")
    job = make_job(steps=6)
    seen = []
    [done] = run_until_done(
        [job.id], on_event=lambda _, event: seen.append(event), launcher=LocalLauncher("toy")
    )
    assert done.status is JobStatus.SUCCEEDED
    assert [e.step for e in seen if e.type == "progress"] == [1, 2, 3, 4, 5, 6]
    assert seen[-1].type == "finished"


def test_only_one_holds_the_lock(data_folder):
    first, second = Lock(), Lock()
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    second.release()


@pytest.mark.parametrize(
    ("error", "reason", "sentence"),
    [
        (OSError(28, "No space left on device"), ExitReason.DISK_FULL, "Make space and resume"),
        (PermissionError(13, "Permission denied"), ExitReason.INTERNAL, "Permission denied"),
    ],
)
def test_a_launch_that_fails_is_the_jobs_failure(make_job, error, reason, sentence):
    class Broken:
        def launch(self, attempt_path):
            raise error

    job = make_job()
    Supervisor(Broken()).tick(review=True)
    ended = load(job.id)
    assert (ended.status, ended.reason) == (JobStatus.FAILED, reason)
    assert sentence in ended.message


@pytest.mark.slow
def test_a_launch_that_seemed_to_fail_is_looked_after_when_something_runs(make_job, monkeypatch):
    """The process that starts the shim may be killed just after it has: no second worker may come of that."""
    monkeypatch.setenv("QLORA_STUDIO_TOY_STEP_S", "0.02")

    class KilledAtTheEnd(LocalLauncher):
        def launch(self, attempt_path):
            super().launch(attempt_path)
            raise LaunchFailed("The training process could not be started: -9.")

    job = make_job(steps=6)
    supervisor = Supervisor(KilledAtTheEnd("toy"))
    supervisor.tick(review=True)
    assert load(job.id).status is not JobStatus.FAILED
    tick_until(supervisor, is_over(job.id))
    assert (load(job.id).status, load(job.id).attempt) == (JobStatus.SUCCEEDED, 1)
