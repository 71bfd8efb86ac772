"""Launching, finding, stopping, resuming, cloning and deleting jobs."""

import json
from pathlib import Path

import pytest
from sqlmodel import select

from qlora_studio.contracts.enums import (
    ExitReason,
    JobStatus,
    Role,
    StopMode,
    TrainingType,
)
from qlora_studio.core.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    StorageFull,
    TooLarge,
    Unavailable,
)
from qlora_studio.core.settings import get_settings
from qlora_studio.db.engine import write
from qlora_studio.db.models import Adapter, AuditEvent, Job, JobSample, Notification
from qlora_studio.jobs import metrics, notices, outcome
from qlora_studio.services import job_access, job_logs, job_reading, jobs
from qlora_studio.storage import layout
from tests.conftest import make_user
from tests.jobs.workbench import make_dataset, make_model, make_spec


def set_status(session, job, status, **values):
    job.status = status
    for key, value in values.items():
        setattr(job, key, value)
    session.add(job)
    session.commit()


def test_a_launched_job_is_on_disk_and_queued(session, submit):
    job = submit()
    assert job.status is JobStatus.QUEUED
    run = layout.run_path(job.id)
    clips = [json.loads(line) for line in (run / "clips.jsonl").read_text().splitlines()]
    assert [c["split"] for c in clips] == ["train"] * 6 + ["validation"] * 3
    assert "max_steps: 8" in (run / "config.yaml").read_text()
    assert job.forecast
    assert session.exec(select(AuditEvent.action)).all() == ["job.create"]


def test_launching_twice_by_accident_makes_one_job(session, submit):
    first, second = submit("k1"), submit("k1")
    assert first.id == second.id
    assert len(session.exec(select(Job)).all()) == 1
    assert submit("k2").id != first.id


def test_two_people_may_use_the_same_launch_key(session, submit, stranger):
    first = submit("k1")
    theirs = make_spec(make_dataset(session, stranger), make_model(session, stranger))
    second = jobs.submit(session, actor=stranger, spec=theirs, launch_key="k1")
    assert second.id != first.id


def test_a_model_swapped_after_its_check_does_not_train(submit, session, model):
    (Path(model.path) / "config.json").write_text('{"auto_map": "elsewhere"}')
    with pytest.raises(Conflict, match="changed since they were checked"):
        submit()
    assert session.exec(select(Job)).all() == []


def test_a_full_disk_says_so_and_leaves_nothing(submit, session, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("qlora_studio.jobs.run_files.atomic.write_text", full)
    with pytest.raises(StorageFull):
        submit()
    session.rollback()
    assert not list((layout.data_path() / "runs").glob("job_*"))
    assert not session.exec(select(Job)).all()


def test_a_folder_that_can_not_be_written_is_not_called_a_full_disk(submit, session, monkeypatch):
    def denied(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied", "/a/path/of/the/server")

    monkeypatch.setattr("qlora_studio.jobs.run_files.atomic.write_text", denied)
    with pytest.raises(Unavailable) as caught:
        submit()
    session.rollback()
    assert "Permission denied" in caught.value.message
    assert not any(word in caught.value.message for word in ("full", "/a/path"))
    assert not list((layout.data_path() / "runs").glob("job_*"))


def test_a_job_over_the_limit_of_the_queue_is_refused(submit, session, stranger, monkeypatch):
    monkeypatch.setenv("QLORA_STUDIO_MAX_QUEUED_JOBS", "2")
    get_settings.cache_clear()
    first = submit(launch_key="a")
    submit()
    with pytest.raises(TooLarge, match="2 of your jobs are in the queue; one more would be over the limit"):
        submit()
    assert submit(launch_key="a").id == first.id, "asked for twice, made once"
    set_status(session, first, JobStatus.SUCCEEDED)
    submit()


def test_a_resumed_job_counts_as_one_more_in_the_queue(submit, session, user, monkeypatch):
    monkeypatch.setenv("QLORA_STUDIO_MAX_QUEUED_JOBS", "1")
    get_settings.cache_clear()
    ended = submit()
    set_status(session, ended, JobStatus.FAILED)
    waiting = submit()
    with pytest.raises(TooLarge, match="one more would be over the limit"):
        jobs.resume(session, actor=user, job_id=ended.id)
    with pytest.raises(Conflict, match="queued"):  # which is what is wrong, however full the queue
        jobs.resume(session, actor=user, job_id=waiting.id)
    set_status(session, waiting, JobStatus.SUCCEEDED)
    assert jobs.resume(session, actor=user, job_id=ended.id).status is JobStatus.QUEUED


def test_a_launch_that_is_not_committed_leaves_nothing(data_folder, user, dataset, model):
    spec = make_spec(dataset, model)
    with pytest.raises(RuntimeError), write() as own:
        jobs.submit(own, actor=user, spec=spec)
        raise RuntimeError("the commit finds no room")
    assert list((data_folder / "runs").iterdir()) == []
    with write() as own:
        kept = jobs.submit(own, actor=user, spec=spec)
    assert [path.name for path in (data_folder / "runs").iterdir()] == [kept.id]


def test_a_viewer_can_not_launch(session, dataset, model):
    viewer = make_user(session, "vera", Role.VIEWER)
    with pytest.raises(Forbidden):
        jobs.submit(session, actor=viewer, spec=make_spec(dataset, model))


def test_anothers_job_is_not_there(session, submit, stranger):
    job = submit()
    for call in (jobs.get_job, jobs.get_view, jobs.stop, jobs.resume, jobs.delete, jobs.clone):
        with pytest.raises(NotFound):
            call(session, actor=stranger, job_id=job.id)
    for call in (job_reading.get_metrics, job_logs.read, job_logs.stream, job_reading.list_samples):
        with pytest.raises(NotFound):
            call(session, actor=stranger, job_id=job.id)
    assert jobs.list_jobs(session, actor=stranger) == ([], 0)


def test_jobs_are_searched_filtered_sorted_and_paged(session, user, submit):
    names = ["beta", "alpha", "gamma 100%"]
    made = [submit(name=name) for name in names]
    set_status(session, made[0], JobStatus.SUCCEEDED)
    listed, total = jobs.list_jobs(session, actor=user, sort="name", page_size=2)
    assert ([v.job.name for v in listed], total) == (["alpha", "beta"], 3)
    assert jobs.list_jobs(session, actor=user, query="100%")[0][0].job.name == "gamma 100%"
    assert jobs.list_jobs(session, actor=user, query="%%")[1] == 0
    assert jobs.list_jobs(session, actor=user, query="call centre")[1] == 3
    assert jobs.list_jobs(session, actor=user, status=JobStatus.SUCCEEDED)[1] == 1
    positions = {v.job.name: v.queue_position for v in jobs.list_jobs(session, actor=user)[0]}
    assert positions == {"beta": None, "alpha": 1, "gamma 100%": 2}
    assert jobs.count_by_status(session, actor=user)[JobStatus.QUEUED] == 2
    with pytest.raises(InvalidInput):
        jobs.list_jobs(session, actor=user, sort="owner_id")


def test_a_queued_job_stops_at_once(session, user, submit):
    job = jobs.stop(session, actor=user, job_id=submit().id)
    assert (job.status, job.reason) == (JobStatus.STOPPED, ExitReason.USER_STOP)
    with pytest.raises(Conflict):
        jobs.stop(session, actor=user, job_id=job.id)


def test_stop_can_be_asked_ten_times_and_kill_overrules(session, user, submit):
    job = submit()
    set_status(session, job, JobStatus.RUNNING)
    attempt = layout.attempt_path(job.id, 1)
    attempt.mkdir()
    for _ in range(10):
        assert jobs.stop(session, actor=user, job_id=job.id).status is JobStatus.STOPPING
    assert outcome.read_stop(attempt) is StopMode.SAVE
    jobs.stop(session, actor=user, job_id=job.id, mode=StopMode.KILL)
    assert outcome.read_stop(attempt) is StopMode.KILL


def test_a_worker_with_long_steps_gets_the_time_for_two(session, user, submit):
    job = submit()
    set_status(session, job, JobStatus.RUNNING)
    writer = metrics.MetricsWriter(layout.run_path(job.id) / "metrics")
    writer.append({"loss": [(metrics.sequence(1, i), i, 40.0 * i, 1.0) for i in range(1, 4)]})
    jobs.stop(session, actor=user, job_id=job.id)
    wish = json.loads((layout.attempt_path(job.id, 1) / "stop.json").read_text())
    assert wish == {"mode": "save", "grace_s": 90.0}


@pytest.mark.parametrize("status", [JobStatus.SUCCEEDED, JobStatus.STOPPED, JobStatus.FAILED, JobStatus.LOST])
def test_a_finished_job_can_not_be_stopped(session, user, submit, status):
    job = submit()
    set_status(session, job, status)
    with pytest.raises(Conflict):
        jobs.stop(session, actor=user, job_id=job.id)
    assert not (layout.attempt_path(job.id, 1) / "stop.json").exists()


def test_a_failed_job_resumes_as_its_next_attempt(session, user, submit):
    job = submit()
    failed = {"reason": ExitReason.KILLED, "message": "x", "event_offset": 9, "last_seq": 9, "pid": 1}
    set_status(session, job, JobStatus.FAILED, **failed)
    job = jobs.resume(session, actor=user, job_id=job.id)
    assert (job.status, job.attempt, job.reason, job.event_offset, job.pid) == (
        JobStatus.QUEUED,
        2,
        None,
        0,
        None,
    )
    with pytest.raises(Conflict):
        jobs.resume(session, actor=user, job_id=job.id)


@pytest.mark.parametrize("status", [JobStatus.SUCCEEDED, JobStatus.RUNNING, JobStatus.QUEUED])
def test_what_has_not_ended_early_can_not_be_resumed(session, user, submit, status):
    job = submit()
    set_status(session, job, status)
    with pytest.raises(Conflict):
        jobs.resume(session, actor=user, job_id=job.id)


def test_a_clone_takes_changes(session, user, submit):
    job = submit()
    copy = jobs.clone(session, actor=user, job_id=job.id, changes={"qlora": {"rank": 4}, "name": "r4"})
    assert (copy.id != job.id, copy.name, copy.spec["qlora"]["rank"]) == (True, "r4", 4)
    assert copy.spec["qlora"]["alpha"] == job.spec["qlora"]["alpha"]
    with pytest.raises(InvalidInput):
        jobs.clone(session, actor=user, job_id=job.id, changes={"qlora": {"rank": -1}})


def test_a_deleted_job_takes_its_folder_along(session, user, submit):
    first = submit()
    second = submit(after_job_id=first.id)
    set_status(session, first, JobStatus.FAILED)
    jobs.delete(session, actor=user, job_id=first.id)
    assert layout.run_path(first.id).exists()
    session.commit()
    assert not layout.run_path(first.id).exists()
    session.refresh(second)
    assert second.after_job_id is None


def test_a_job_in_use_is_not_deleted(session, user, submit):
    job = submit()
    set_status(session, job, JobStatus.RUNNING)
    with pytest.raises(Conflict, match="Stop it first"):
        jobs.delete(session, actor=user, job_id=job.id)
    set_status(session, job, JobStatus.SUCCEEDED)
    session.add(Adapter(owner_id=user.id, name="mine", job_id=job.id, base_model_id=job.model_id, path="x"))
    session.commit()
    with pytest.raises(Conflict) as caught:
        jobs.delete(session, actor=user, job_id=job.id)
    assert caught.value.users_of == ["mine"]


def test_kinds_of_training_are_kept(submit):
    assert submit(training_type="lora", qlora={"bits": 32}).training_type is TrainingType.LORA


def test_curves_logs_and_samples_are_read(session, user, submit):
    job = submit()
    writer = metrics.MetricsWriter(layout.run_path(job.id) / "metrics")
    writer.append({"loss": [(metrics.sequence(1, i), i, float(i), 1 / i) for i in range(1, 10)]})
    attempt = layout.attempt_path(job.id, 1)
    attempt.mkdir()
    (attempt / "worker.log").write_text("one\n\x1b[31mERROR two\x1b[0m\nHF_TOKEN=hf_secret\n")
    for step, error in ((0, 0.1), (5, 0.2), (5, 0.9)):
        session.add(
            JobSample(job_id=job.id, step=step, clip_id=f"c{error}", reference="a", now="b", error=error)
        )
    session.commit()
    found = job_reading.get_metrics(session, actor=user, job_id=job.id, from_step=3, to_step=5)
    assert found["loss"].step == [3, 4, 5]
    log = job_logs.read(session, actor=user, job_id=job.id)
    assert [line.text for line in log.lines] == ["one", "ERROR two", "HF_TOKEN=[redacted]"]
    errors = job_logs.read(session, actor=user, job_id=job.id, level="warning")
    assert [line.text for line in errors.lines] == ["ERROR two"]
    assert [s.error for s in job_reading.list_samples(session, actor=user, job_id=job.id)] == [0.9, 0.2]
    assert job_reading.list_sample_steps(session, actor=user, job_id=job.id) == [0, 5]
    csv = b"".join(job_reading.write_metrics_csv(job.id)).decode()
    assert csv.splitlines()[0:2] == ["key,step,time,value", "loss,1,1.0,1.0"]


def test_a_followers_end_is_told_once_though_what_it_followed_is_deleted(session, user, submit):
    first = submit()
    conditions = {"after_job_id": first.id, "after_condition": "succeeded"}
    ended, waiting = submit(**conditions), submit(**conditions)
    set_status(session, first, JobStatus.FAILED)
    set_status(session, ended, JobStatus.FAILED, message="The loss is no number.")
    notices.tell(session, ended.id)
    jobs.delete(session, actor=user, job_id=first.id)
    session.commit()
    told = [found.job_id for found in session.exec(select(Notification))]
    assert sorted(told) == sorted([ended.id, waiting.id])
    session.refresh(waiting)
    assert (waiting.status, waiting.after_job_id) == (JobStatus.STOPPED, None)


def test_a_launch_is_prepared_for_only_when_it_would_start_at_once(session, user, submit, monkeypatch):
    prepared = []
    monkeypatch.setattr(job_access.supervisor, "expect", lambda: prepared.append(1))
    job_access.expect_launch(session, actor=user)
    assert len(prepared) == 1
    job = submit()
    job_access.expect_launch(session, actor=user)  # another one waits
    set_status(session, job, JobStatus.RUNNING)
    job_access.expect_launch(session, actor=user)
    assert len(prepared) == 1
    set_status(session, job, JobStatus.SUCCEEDED)
    job_access.expect_launch(session, actor=user)
    assert len(prepared) == 2
    with pytest.raises(Forbidden):
        job_access.expect_launch(session, actor=make_user(session, "vera", Role.VIEWER))
