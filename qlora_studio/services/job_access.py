"""Whose job it is, who may change one, and what is told when somebody does."""

from typing import Any

from sqlmodel import Session

from qlora_studio.contracts.enums import Role
from qlora_studio.core.errors import Forbidden, NotFound
from qlora_studio.db.commits import after_commit
from qlora_studio.db.models import Job, User
from qlora_studio.jobs import stamps, supervisor
from qlora_studio.services import audit


def get_job(session: Session, *, actor: User, job_id: str) -> Job:
    """Return one of the actor's jobs.

    Raises:
        NotFound: it isn't there, or isn't the actor's.
    """
    job = session.get(Job, job_id)
    if job is None or job.owner_id != actor.id:
        raise NotFound("There is no such job.")
    return job


def require_trainer(actor: User) -> None:
    """Raise `Forbidden` for those who may only look."""
    if actor.role not in (Role.ADMIN, Role.TRAINER):
        raise Forbidden("Your role can look at jobs but not change them.")


def announce(session: Session, *job_ids: str) -> None:
    """Once this is on disk, tell those who watch the jobs, and have the supervisor look at the queue."""

    def tell() -> None:
        for job_id in job_ids:
            stamps.touch(job_id)
        supervisor.wake()

    after_commit(session, tell)


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
