"""Doing the one thing that may help after a failure, in one go."""

from sqlmodel import Session

from qlora_studio.contracts.enums import ACTIVE_STATUSES, JobStatus
from qlora_studio.core.errors import Conflict
from qlora_studio.db.models import Job, User
from qlora_studio.services import jobs
from qlora_studio.services.job_access import get_job, require_trainer
from qlora_studio.services.remedies import find_kind


def apply(session: Session, *, actor: User, job_id: str) -> Job:
    """Do what is offered after a job's failure: resume it, or train again with something changed.

    Doing it twice does it once: the second time gives the job that the first time queued.

    Returns:
        The job that is queued now: the same one, or a new one.

    Raises:
        NotFound: it isn't the actor's.
        Forbidden: the actor may not train.
        Conflict: it has not failed, or what helps is up to a person; the message says what.
    """
    require_trainer(actor)
    job = get_job(session, actor=actor, job_id=job_id)
    if job.attempt > 1 and job.status in (JobStatus.QUEUED, *ACTIVE_STATUSES):
        return job  # it was resumed a moment ago
    action = find_kind(job)  # whether there is a checkpoint, the worker sees
    if action is None:
        raise Conflict(f"This job is {job.status.value}; there is nothing to put right.")
    if action.kind == "open":
        raise Conflict(f"{action.label} ({action.href}): this has to be looked at by a person.")
    if action.kind == "resume":
        return jobs.resume(session, actor=actor, job_id=job_id)
    return jobs.clone(
        session,
        actor=actor,
        job_id=job_id,
        changes=action.changes,
        launch_key=f"{job.id}/next-{job.attempt}",
        group_id=job.group_id,
    )
