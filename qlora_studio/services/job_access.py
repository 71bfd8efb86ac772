"""Whose job it is, who may change one, and what is told when somebody does."""

from typing import Any

from sqlmodel import Session

from qlora_studio.db.commits import after_commit
from qlora_studio.db.models import Job, User
from qlora_studio.jobs import queue, stamps, supervisor
from qlora_studio.services import access, audit
from qlora_studio.services.access import Action


def get_job(session: Session, *, actor: User, job_id: str, action: Action = Action.HOLD) -> Job:
    """Return a job that the actor may do this to; without an action: one of their own.

    Raises:
        NotFound: it isn't there, or is private to somebody else.
        Forbidden: the actor sees it, and may not do this.
    """
    return access.get(session, Job, job_id, actor=actor, action=action)


def require_trainer(actor: User) -> None:
    """Raise `Forbidden` for those who may only look."""
    access.require_role(actor, of="job")


def announce(session: Session, *job_ids: str) -> None:
    """Once this is on disk, tell those who watch the jobs, and have the supervisor look at the queue."""

    def tell() -> None:
        for job_id in job_ids:
            stamps.touch(job_id)
        supervisor.wake()

    after_commit(session, tell)


def expect_launch(session: Session, *, actor: User) -> None:
    """Prepare for the actor's launching a job soon, which would start at once."""
    require_trainer(actor)
    if queue.is_idle(session):
        supervisor.expect()


def audit_job(session: Session, actor: User, action: str, job: Job, **details: Any) -> None:
    """Write down who did what to a job."""
    audit.record(
        session,
        actor=actor,
        action=action,
        object_type="job",
        object_id=job.id,
        object_name=job.name,
        details=details,
    )
