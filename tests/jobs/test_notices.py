"""What a job's owner is told of its end: once, in their words, and only what they don't know already."""

import threading
from collections.abc import Callable

import pytest
from sqlmodel import Session, select

from qlora_studio.contracts.enums import ExitReason, JobStatus, Role
from qlora_studio.contracts.events import ErrorEvent, ExitFile, ResultFile
from qlora_studio.contracts.notices import NoticeKind
from qlora_studio.core import bell
from qlora_studio.db.engine import read, write
from qlora_studio.db.models import (
    Delivery,
    Job,
    JobGroup,
    Notification,
    NotificationChannel,
    QueueState,
    User,
)
from qlora_studio.jobs import endings, notices, queue, transitions
from qlora_studio.jobs.outcome import Records
from qlora_studio.services import audit, deliveries
from tests.conftest import make_user
from tests.jobs.conftest import load

MakeJob = Callable[..., Job]


@pytest.fixture
def running(session: Session, make_job: MakeJob) -> Job:
    job = make_job("first run")
    job.status = JobStatus.RUNNING
    session.add(job)
    session.commit()
    return job


def told() -> list[Notification]:
    with read() as session:
        return list(session.exec(select(Notification)).all())


def result(reason: ExitReason, message: str = "", **metrics: float) -> Records:
    made = ResultFile(
        reason=reason,
        message=message,
        step=10,
        metrics=metrics,
        base_metrics={"wer": 0.95} if metrics else {},
    )
    return Records(result=made)


def test_a_success_says_what_came_out(running: Job) -> None:
    before = bell.read(running.owner_id)
    endings.record(running.id, 1, result(ExitReason.OK, wer=0.587))
    (notice,) = told()
    assert (notice.kind, notice.title) == (NoticeKind.JOB_SUCCEEDED, "“first run” has finished")
    assert notice.body == "WER 58.7 %, was 95.0 %."
    assert (notice.href, notice.job_id) == (f"/training/{running.id}", running.id)
    assert (notice.user_id, notice.read_at) == (running.owner_id, None)
    assert bell.read(running.owner_id) != before


def test_what_webhooks_are_told_is_of_the_end_and_not_of_later(running: Job) -> None:
    endings.record(running.id, 1, result(ExitReason.OK, wer=0.587))
    with write() as session:
        job = session.get_one(Job, running.id)
        job.status, job.reason, job.best_metrics = JobStatus.QUEUED, None, {"wer": 0.1}
        session.add(job)
    (notice,) = told()
    parcel = deliveries.Parcel(notice, NotificationChannel(user_id=running.owner_id, kind="webhook"), "")
    assert deliveries.payload_of(parcel)["data"]["job"] == {
        "id": running.id,
        "name": "first run",
        "status": "succeeded",
        "reason": "ok",
        "metrics": {"best": {"wer": 0.587, "step": 10}, "base": {"wer": 0.95}},
    }


def test_an_end_that_is_recorded_again_is_told_once(running: Job) -> None:
    for _ in range(3):
        endings.record(running.id, 1, result(ExitReason.OK, wer=0.5))
    endings.record_failure(running.id, 1, ExitReason.INTERNAL, "too late")
    assert [notice.kind for notice in told()] == [NoticeKind.JOB_SUCCEEDED]


def test_what_is_rolled_back_was_never_told(running: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def fall_over(*_: object) -> None:
        raise OSError("the machine dies")

    before = bell.read(running.owner_id)
    monkeypatch.setattr(endings, "_register_adapter", fall_over)
    with pytest.raises(OSError, match="dies"):
        endings.record(running.id, 1, result(ExitReason.OK, wer=0.5))
    assert told() == []
    assert load(running.id).status is JobStatus.RUNNING
    assert bell.read(running.owner_id) == before
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("records", "kind", "title", "body"),
    [
        (
            Records(
                error=ErrorEvent(seq=1, ts=0, reason=ExitReason.OOM_HOST, message="Halve the batch size."),
                exit=ExitFile(returncode=1, ended_at=0),
            ),
            NoticeKind.JOB_FAILED, "“first run” has failed", "Halve the batch size.",
        ),
        (
            Records(exit=ExitFile(returncode=-9, signal=9, ended_at=0)),
            NoticeKind.JOB_FAILED, "“first run” has failed", "killed by signal 9",
        ),
        (
                Records(is_rebooted=True),
                NoticeKind.JOB_LOST, "“first run” was lost", "can be started again",
            ),
        (
            result(ExitReason.USER_STOP, "Stopped at step 10."),
            NoticeKind.JOB_STOPPED, "“first run” was stopped", "Stopped at step 10.",
        ),
    ],
    ids=["failed", "killed", "lost", "stopped from outside"],
)  # fmt: skip
def test_every_bad_end_says_why_and_what_next(
    running: Job, records: Records, kind: NoticeKind, title: str, body: str
) -> None:
    endings.record(running.id, 1, records)
    (notice,) = told()
    assert (notice.kind, notice.title) == (kind, title)
    assert body in notice.body


def test_a_job_that_never_came_to_run_is_told_too(running: Job) -> None:
    endings.record_failure(running.id, 1, ExitReason.DISK_FULL, "Make space and resume.")
    (notice,) = told()
    assert (notice.kind, notice.body) == (NoticeKind.JOB_FAILED, "Make space and resume.")


def test_who_stopped_their_own_job_knows_but_not_who_had_it_stopped(
    running: Job, session: Session, owner: User, stranger: User
) -> None:
    for actor in (owner, stranger):
        audit.record(session, actor=actor, action="job.stop", object_type="job", object_id=running.id)
        session.commit()
        with write() as other:
            transitions.move(
                other, job_id=running.id, attempt=1, from_=[JobStatus.RUNNING], to=JobStatus.STOPPED
            )
            notices.tell(other, running.id)
            other.rollback() if actor is owner else other.commit()
        assert [n.title for n in told()] == ([] if actor is owner else ["“first run” was stopped by mallory"])


def test_a_stop_of_an_earlier_attempt_is_not_taken_for_this_ones(
    running: Job, session: Session, owner: User
) -> None:
    for action in ("job.stop", "job.resume"):
        audit.record(session, actor=owner, action=action, object_type="job", object_id=running.id)
    session.commit()
    endings.record(running.id, 1, result(ExitReason.USER_STOP, "Stopped."))
    assert [notice.kind for notice in told()] == [NoticeKind.JOB_STOPPED]


def test_channels_get_what_they_want_in_the_same_transaction(
    running: Job, session: Session, owner: User, stranger: User
) -> None:
    wanted = NotificationChannel(user_id=owner.id, kind="webhook", target="a")
    chosen = NotificationChannel(user_id=owner.id, kind="webhook", target="b", kinds=["job_succeeded"])
    for channel in (
        wanted,
        chosen,
        NotificationChannel(user_id=owner.id, kind="webhook", target="c", kinds=["job_failed"]),
        NotificationChannel(user_id=owner.id, kind="webhook", target="d", is_on=False),
        NotificationChannel(user_id=stranger.id, kind="webhook", target="e"),
    ):
        session.add(channel)
    session.commit()
    endings.record(running.id, 1, result(ExitReason.OK, wer=0.5))
    with read() as other:
        rows = other.exec(select(Delivery)).all()
    assert {row.channel_id for row in rows} == {wanted.id, chosen.id}
    assert {row.status for row in rows} == {"waiting"}


def test_texts_of_people_are_inert(running: Job, session: Session) -> None:
    running.name = "<script>x</script>\x1b[31m \u202egnp.exe =cmd()"
    session.add(running)
    session.commit()
    endings.record_failure(running.id, 1, ExitReason.INTERNAL, "bad\r\nBcc: x\x00")
    (notice,) = told()
    assert not {"\x1b", "\u202e", "\r", "\x00"} & set(notice.title + notice.body)
    assert "\n" not in notice.title
    assert "<script>x</script>" in notice.title, "shown as it is, never as markup"


def test_the_jobs_of_a_sweep_are_told_of_together(session: Session, make_job: MakeJob, owner: User) -> None:
    group = JobGroup(owner_id=owner.id, name="rates", axes={})
    session.add(group)
    session.commit()
    jobs = [make_job(f"rates {n}") for n in range(3)]
    for job in jobs:
        job.status, job.group_id = JobStatus.RUNNING, group.id
        session.add(job)
    session.commit()
    endings.record(jobs[0].id, 1, result(ExitReason.OK, wer=0.5))
    endings.record(jobs[1].id, 1, result(ExitReason.OK, wer=0.4))
    assert told() == []
    endings.record_failure(jobs[2].id, 1, ExitReason.DISK_FULL, "Make space.")
    (notice,) = told()
    assert (notice.kind, notice.title) == (NoticeKind.JOB_FAILED, "The sweep “rates” is over")
    assert notice.body == "2 succeeded, 1 failed. Best: WER 40.0 % (“rates 1”)."
    assert notice.href == f"/training/sweeps/{group.id}"
    job = session.exec(select(Job).where(Job.group_id == group.id)).first()
    assert job is not None
    pages = notices.pages_of(session, job.id)
    assert pages == {f"/training/{job.id}", notice.href}, "a command that looks after one sends this, too"


def test_two_who_see_a_job_end_at_once_tell_it_once(running: Job) -> None:
    records = result(ExitReason.OK, wer=0.5)
    both = [threading.Thread(target=endings.record, args=(running.id, 1, records)) for _ in range(4)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(told()) == 1


def test_a_queue_held_after_a_restart_is_told_to_those_who_wait_and_to_the_admins(
    session: Session, make_job: MakeJob, owner: User, stranger: User
) -> None:
    admin = make_user(session, "root", Role.ADMIN)
    for name in ("first", "second"):
        make_job(name)
    session.add(QueueState(boot_id="the boot before"))
    session.commit()
    for _ in range(2):
        queue.hold_after_restart()
    assert {n.user_id: n.body for n in told()} == {
        owner.id: f"{queue.RESTARTED} An admin can.",
        admin.id: f"{queue.RESTARTED} You can, on the Training page.",
    }
    assert {n.kind for n in told()} == {NoticeKind.QUEUE_HELD}
