"""One click after a failure, as a signed-in tab clicks it."""

from sqlmodel import Session, select

from qlora_studio.contracts.enums import ExitReason, JobStatus
from qlora_studio.db.models import Job, User
from qlora_studio.services import jobs
from qlora_studio.state.job import JobState
from tests.jobs.workbench import make_dataset, make_model, make_spec
from tests.state.calling import Opener, call


async def test_the_click_queues_the_changed_job_and_shows_it(
    opened: Opener, session: Session, user: User
) -> None:
    spec = make_spec(make_dataset(session, user), make_model(session, user))
    failed = jobs.submit(session, actor=user, spec=spec)
    failed.status, failed.reason = JobStatus.FAILED, ExitReason.NAN_LOSS
    session.add(failed)
    session.commit()
    state = opened(JobState, job_id=failed.id)
    for _ in range(2):
        sent = " ".join(await call(state, "take_next_action"))
        session.expire_all()
        others = [job for job in session.exec(select(Job)) if job.id != failed.id]
        assert [job.spec["optimization"]["learning_rate"] for job in others] == [0.00017]
        assert f"/training/{others[0].id}" in sent
        assert not state.is_sending


async def test_the_click_that_resumes_stays_on_the_page(opened: Opener, session: Session, user: User) -> None:
    spec = make_spec(make_dataset(session, user), make_model(session, user))
    lost = jobs.submit(session, actor=user, spec=spec)
    lost.status = JobStatus.LOST
    session.add(lost)
    session.commit()
    state = opened(JobState, job_id=lost.id)
    sent = " ".join(await call(state, "take_next_action"))
    session.expire_all()
    assert (lost.status, lost.attempt) == (JobStatus.QUEUED, 2)
    assert "/training/" not in sent
