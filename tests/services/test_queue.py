"""The queue as people see and change it."""

from collections.abc import Callable

import pytest
from sqlmodel import Session, select

from qlora_studio.contracts.enums import JobStatus, Role
from qlora_studio.core.errors import Conflict, Forbidden, NotFound
from qlora_studio.db.models import AuditEvent, Job, User
from qlora_studio.jobs import queue as line
from qlora_studio.services import jobs, queue
from tests.conftest import make_user
from tests.jobs.workbench import make_dataset, make_model, make_spec

Submit = Callable[..., Job]


@pytest.fixture
def admin(session: Session) -> User:
    return make_user(session, "root", Role.ADMIN)


@pytest.fixture
def submit(session: Session) -> Submit:
    things = {}

    def run(owner: User, name: str, **changes: object) -> Job:
        if owner.id not in things:
            things[owner.id] = (make_dataset(session, owner), make_model(session, owner))
        job = jobs.submit(session, actor=owner, spec=make_spec(*things[owner.id], name=name, **changes))
        session.commit()
        return job

    return run


def places(session: Session, actor: User) -> list[tuple[int, str]]:
    session.commit()
    return [(item.position, item.name) for item in queue.get_queue(session, actor=actor).items]


def test_people_see_their_own_places_and_an_admin_everybodys(
    session: Session, user: User, stranger: User, admin: User, submit: Submit
) -> None:
    submit(user, "a1")
    submit(user, "a2")
    submit(stranger, "b1")
    assert places(session, user) == [(1, "a1"), (3, "a2")]
    assert places(session, stranger) == [(2, "b1")]
    assert places(session, admin) == [(1, "a1"), (2, "b1"), (3, "a2")]
    assert queue.get_queue(session, actor=user).n_queued == 3
    assert {item.owner for item in queue.get_queue(session, actor=user).items} == {"ada"}


def test_the_list_of_jobs_and_the_queue_tell_the_same_place(
    session: Session, user: User, stranger: User, submit: Submit
) -> None:
    for name in ("a1", "a2", "a3"):
        submit(user, name)
    submit(stranger, "b1")
    views, _ = jobs.list_jobs(session, actor=user)
    assert {v.job.name: v.queue_position for v in views} == {"a1": 1, "a2": 3, "a3": 4}


def test_a_job_is_moved_among_its_owners_only(
    session: Session, user: User, stranger: User, submit: Submit
) -> None:
    submit(user, "a1")
    submit(user, "a2")
    last = submit(user, "a3")
    submit(stranger, "b1")
    queue.move(session, actor=user, job_id=last.id, position=1)
    assert places(session, user) == [(1, "a3"), (3, "a1"), (4, "a2")]
    queue.move(session, actor=user, job_id=last.id, position=99)
    assert places(session, user) == [(1, "a1"), (3, "a2"), (4, "a3")]
    queue.move(session, actor=user, job_id=last.id, position=2)
    assert places(session, user) == [(1, "a1"), (3, "a3"), (4, "a2")]
    assert places(session, stranger) == [(2, "b1")]
    assert "job.move" in session.exec(select(AuditEvent.action)).all()


def test_jobs_of_the_same_rank_can_be_told_apart_by_moving(
    session: Session, user: User, submit: Submit
) -> None:
    made = [submit(user, f"a{i}") for i in range(4)]
    for job in made:
        job.rank = 5.0
        session.add(job)
    queue.move(session, actor=user, job_id=made[0].id, position=3)
    found = [name for _, name in places(session, user)]
    rest = sorted(made[1:], key=lambda j: j.id)
    assert found == [rest[0].name, rest[1].name, "a0", rest[2].name]


def test_who_may_move_what(session: Session, user: User, stranger: User, admin: User, submit: Submit) -> None:
    first, second = submit(user, "a1"), submit(user, "a2")
    with pytest.raises(NotFound):
        queue.move(session, actor=stranger, job_id=second.id, position=1)
    with pytest.raises(NotFound):
        queue.move(session, actor=admin, job_id="job_none", position=1)
    queue.move(session, actor=admin, job_id=second.id, position=1)
    assert places(session, user) == [(1, "a2"), (2, "a1")]
    first.status = JobStatus.RUNNING
    session.add(first)
    session.commit()
    with pytest.raises(Conflict, match="running"):
        queue.move(session, actor=user, job_id=first.id, position=1)
    user.role = Role.VIEWER
    with pytest.raises(Forbidden):
        queue.move(session, actor=user, job_id=second.id, position=1)


def test_only_an_admin_pauses_the_queue_and_everybody_reads_why(
    session: Session, user: User, admin: User, submit: Submit
) -> None:
    submit(user, "a1")
    with pytest.raises(Forbidden):
        queue.set_paused(session, actor=user, is_paused=True)
    queue.set_paused(session, actor=admin, is_paused=True, note="  The disk is\nexchanged. ")
    session.commit()
    seen = queue.get_queue(session, actor=user)
    assert (seen.is_paused, seen.note, seen.changed_by) == (True, "The disk is exchanged.", "root")
    with pytest.raises(Forbidden):
        queue.set_paused(session, actor=user, is_paused=False)
    queue.set_paused(session, actor=admin, is_paused=False)
    session.commit()
    assert not queue.get_queue(session, actor=user).is_paused
    actions = session.exec(select(AuditEvent.action)).all()
    assert {"queue.pause", "queue.resume"} <= set(actions)


def test_where_there_is_no_admin_a_trainer_may_let_it_go_on(session: Session, user: User) -> None:
    queue.set_paused(session, actor=user, is_paused=True)
    queue.set_paused(session, actor=user, is_paused=False)
    assert not queue.get_queue(session, actor=user).is_paused


def test_a_resumed_job_queues_up_behind_its_owners_others(
    session: Session, user: User, submit: Submit
) -> None:
    early = submit(user, "early")
    jobs.stop(session, actor=user, job_id=early.id)
    submit(user, "later")
    jobs.resume(session, actor=user, job_id=early.id)
    assert places(session, user) == [(1, "later"), (2, "early")]


def test_a_job_that_waits_for_another_comes_last_and_names_it(
    session: Session, user: User, submit: Submit
) -> None:
    first = submit(user, "first")
    submit(user, "follower", after_job_id=first.id)
    submit(user, "free")
    found = queue.get_queue(session, actor=user).items
    assert [(i.name, i.after) for i in found] == [("first", ""), ("free", ""), ("follower", "first")]
    view = next(v for v in jobs.list_jobs(session, actor=user)[0] if v.job.name == "follower")
    assert (view.queue_position, view.after_name) == (3, "first")


def test_deleting_the_first_frees_a_follower_or_ends_one_that_needed_it(
    session: Session, user: User, submit: Submit
) -> None:
    first = submit(user, "first")
    free = submit(user, "free", after_job_id=first.id)
    bound = submit(user, "bound", after_job_id=first.id, after_condition="succeeded")
    jobs.delete(session, actor=user, job_id=first.id)
    session.commit()
    session.expire_all()
    assert (free.status, bound.status) == (JobStatus.QUEUED, JobStatus.STOPPED)
    assert bound.message is not None
    assert bound.message.startswith("“first” was deleted")
    assert line.read_line(session).positions == {free.id: 1}


def test_a_follower_that_was_not_started_starts_when_somebody_resumes_it(
    session: Session, user: User, submit: Submit
) -> None:
    first = submit(user, "first")
    bound = submit(user, "bound", after_job_id=first.id, after_condition="succeeded")
    for job, status in ((first, JobStatus.FAILED), (bound, JobStatus.STOPPED)):
        job.status = status
        session.add(job)
    session.commit()
    jobs.resume(session, actor=user, job_id=bound.id)
    session.commit()
    found = line.read_line(session)
    assert [entry.id for entry in found.ready] == [bound.id]
    assert found.refused == {}


def test_a_clone_runs_after_the_same_job_while_that_has_not_ended(
    session: Session, user: User, submit: Submit
) -> None:
    first = submit(user, "first")
    follower = submit(user, "follower", after_job_id=first.id)
    assert jobs.clone(session, actor=user, job_id=follower.id).after_job_id == first.id
    jobs.stop(session, actor=user, job_id=first.id)
    assert jobs.clone(session, actor=user, job_id=follower.id).after_job_id is None
