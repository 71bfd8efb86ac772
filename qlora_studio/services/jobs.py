"""Training jobs: launch them, look at them, stop, resume, clone and delete them.

A job belongs to the person who launched it; to everybody else it does not exist. What runs is looked after
by the supervisor: these functions write down what a person wants (a row, or `stop.json` in the run folder)
and wake it.
"""

import shutil
from typing import Any

from sqlalchemy import func, update
from sqlmodel import Session, col, or_, select

from qlora_studio.contracts.enums import (
    ACTIVE_STATUSES,
    TERMINAL_STATUSES,
    ExitReason,
    JobStatus,
    StopMode,
)
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import Conflict, StorageFull
from qlora_studio.core.settings import get_settings
from qlora_studio.db.commits import after_commit
from qlora_studio.db.models import Adapter, BaseAudioModel, Dataset, Job, JobGroup, User
from qlora_studio.jobs import metrics, notices, outcome, queue, transitions
from qlora_studio.services import access
from qlora_studio.services.access import Action, Shelf
from qlora_studio.services.datasets import order_by
from qlora_studio.services.job_access import announce, audit_job, get_job, require_trainer
from qlora_studio.services.job_checks import parse_spec, validate
from qlora_studio.services.job_schemas import JobView
from qlora_studio.services.launches import require_room, submit
from qlora_studio.storage import layout

__all__ = [
    "clone",
    "count_by_status",
    "delete",
    "get_job",
    "get_view",
    "list_group",
    "list_jobs",
    "parse_spec",
    "resume",
    "stop",
    "submit",
    "validate",
]
_SORTS: dict[str, Any] = {
    "name": func.lower(col(Job.name)),
    "status": col(Job.status),
    "created_at": col(Job.created_at),
    "started_at": col(Job.started_at),
    "finished_at": col(Job.finished_at),
    "model": func.lower(col(BaseAudioModel.name)),
    "dataset": func.lower(col(Dataset.name)),
}


# -- looking ------------------------------------------------------------------------------------------------


def get_view(session: Session, *, actor: User, job_id: str) -> JobView:
    """Return one of the actor's jobs with the names of what it uses.

    Raises:
        NotFound: it isn't there, or isn't the actor's.
    """
    job = get_job(session, actor=actor, job_id=job_id, action=Action.SEE)
    return _views(session, [job])[0]


def list_jobs(
    session: Session,
    *,
    actor: User,
    query: str = "",
    status: JobStatus | None = None,
    statuses: tuple[JobStatus, ...] = (),
    group_id: str | None = None,
    sort: str = "-created_at",
    page: int = 1,
    page_size: int = 25,
    shelf: Shelf = Shelf.MINE,
    action: Action = Action.SEE,
) -> tuple[list[JobView], int]:
    """Return one page of the actor's jobs and how many there are in all.

    Args:
        query: part of the job's name, its id, or the name of its model or dataset.
        status: only this status.
        statuses: only these, when given.
        group_id: only those of this sweep.

    Raises:
        InvalidInput: `sort` isn't a column that can be sorted by.
    """
    where = [access.within(Job, actor=actor, shelf=shelf, action=action)]
    wanted = (status,) if status is not None else statuses
    if wanted:
        where.append(col(Job.status).in_(wanted))
    if group_id is not None:
        where.append(col(Job.group_id) == group_id)
    if text := query.strip():
        columns = (col(Job.name), col(Job.id), col(BaseAudioModel.name), col(Dataset.name))
        where.append(or_(*(c.icontains(text, autoescape=True) for c in columns)))
    joined = (
        select(Job)
        .join(BaseAudioModel, col(BaseAudioModel.id) == Job.model_id)
        .join(Dataset, col(Dataset.id) == Job.dataset_id)
        .where(*where)
    )
    total = session.exec(select(func.count()).select_from(joined.subquery())).one()
    rows = joined.order_by(*order_by(sort, _SORTS, tie=col(Job.id)))
    jobs = session.exec(rows.offset((page - 1) * page_size).limit(page_size))
    return _views(session, list(jobs)), total


def list_group(session: Session, *, group_id: str) -> list[JobView]:
    """Return all jobs of a sweep in the order in which they were queued. The caller checks who asks."""
    query = select(Job).where(col(Job.group_id) == group_id).order_by(col(Job.created_at), col(Job.id))
    return _views(session, list(session.exec(query)))


def count_by_status(session: Session, *, actor: User) -> dict[JobStatus, int]:
    """How many jobs the actor has in each status."""
    query = select(Job.status, func.count()).where(col(Job.owner_id) == actor.id).group_by(col(Job.status))
    found = dict(session.exec(query).all())
    return {status: int(found.get(status, 0)) for status in JobStatus}


def _views(session: Session, jobs: list[Job]) -> list[JobView]:
    """Add names, adapters and places in the queue: a few queries whatever the number of jobs."""
    ids = [job.id for job in jobs]
    model_names = _names(session, BaseAudioModel, {job.model_id for job in jobs})
    dataset_names = _names(session, Dataset, {job.dataset_id for job in jobs})
    adapters = dict(
        session.exec(select(Adapter.job_id, Adapter.id).where(col(Adapter.job_id).in_(ids))).all()
    )
    positions: dict[str, int] = {}
    if any(job.status is JobStatus.QUEUED for job in jobs):
        positions = queue.read_line(session).positions
    groups = _names(session, JobGroup, {job.group_id for job in jobs if job.group_id})
    befores = _names(session, Job, {job.after_job_id for job in jobs if job.after_job_id})
    return [
        JobView(
            job=job,
            model_name=model_names.get(job.model_id, ""),
            dataset_name=dataset_names.get(job.dataset_id, ""),
            adapter_id=adapters.get(job.id),
            queue_position=positions.get(job.id),
            group_name=groups.get(job.group_id or "", ""),
            after_name=befores.get(job.after_job_id or "", ""),
        )
        for job in jobs
    ]


def _names(session: Session, table: Any, ids: set[str]) -> dict[str, str]:
    if not ids:
        return {}
    return dict(session.exec(select(table.id, table.name).where(table.id.in_(ids))).all())


# -- changing -----------------------------------------------------------------------------------------------


def stop(session: Session, *, actor: User, job_id: str, mode: StopMode = StopMode.SAVE) -> Job:
    """Ask a job to stop; a queued one is stopped at once. Asking again is harmless; a kill overrules a save.

    Raises:
        NotFound: it isn't the actor's.
        Conflict: it has finished already.
    """
    require_trainer(actor)
    job = get_job(session, actor=actor, job_id=job_id)
    if job.status in TERMINAL_STATUSES:
        raise Conflict(f"This job has already ended: {job.status.value}.")
    if job.status is JobStatus.QUEUED:
        _move(
            session,
            job,
            [JobStatus.QUEUED],
            JobStatus.STOPPED,
            reason=ExitReason.USER_STOP,
            message="Stopped before it began.",
            finished_at=utc_now(),
        )
    else:
        _write_stop(job, mode)
        _move(session, job, [JobStatus.STARTING, JobStatus.RUNNING], JobStatus.STOPPING)
    audit_job(session, actor, "job.stop", job, mode=mode.value)
    announce(session, job.id)
    return job


def resume(session: Session, *, actor: User, job_id: str) -> Job:
    """Queue the next attempt of a job that ended early: it goes on from its newest whole checkpoint.

    It queues up behind its owner's other jobs.

    Raises:
        NotFound: it isn't the actor's.
        Conflict: it has not ended, or has succeeded.
        TooLarge: the actor has as many jobs in the queue as one may have.
    """
    require_trainer(actor)
    job = get_job(session, actor=actor, job_id=job_id)
    resumable = [JobStatus.STOPPED, JobStatus.FAILED, JobStatus.LOST]
    if job.status is JobStatus.SUCCEEDED:
        raise Conflict("This job has finished. Clone it to train again.")
    if job.status in resumable:
        require_room(session, actor=actor)
    fresh: dict[str, Any] = {
        "reason": None,
        "message": None,
        "finished_at": None,
        "pid": None,
        "event_offset": 0,
        "last_seq": 0,
    }
    if not _has_to_wait(session, job.after_job_id):
        fresh["after_job_id"] = None  # however that one ended, somebody wants this one now
    if not transitions.reopen(session, job_id=job.id, attempt=job.attempt, from_=resumable, **fresh):
        raise Conflict(f"This job is {job.status.value}; only one that has ended can be resumed.")
    session.expire(job)
    audit_job(session, actor, "job.resume", job)
    announce(session, job.id)
    return job


def clone(
    session: Session,
    *,
    actor: User,
    job_id: str,
    changes: dict[str, Any] | None = None,
    launch_key: str | None = None,
    group_id: str | None = None,
) -> Job:
    """Queue a new job with the same spec; `changes` replace top-level keys, or keys of one of its parts.

    It runs after the same job as the first one, where that one has not ended yet. It is part of no sweep but
    of that which `group_id` names.

    Raises:
        NotFound: it isn't the actor's.
        InvalidInput: the changed spec is wrong.
    """
    job = get_job(session, actor=actor, job_id=job_id, action=Action.TRAIN)
    after = job.after_job_id if _has_to_wait(session, job.after_job_id) else None
    data = {**job.spec, "name": f"{job.name[:110]} (copy)", "after_job_id": after}
    for key, value in (changes or {}).items():
        is_part = isinstance(value, dict) and isinstance(data.get(key), dict)
        data[key] = {**data[key], **value} if is_part else value
    return submit(session, actor=actor, spec=parse_spec(data), launch_key=launch_key, group_id=group_id)


def delete(session: Session, *, actor: User, job_id: str) -> None:
    """Delete a job and its run folder.

    Raises:
        NotFound: it isn't the actor's.
        Conflict: it is running, or an adapter was made by it.
    """
    require_trainer(actor)
    job = get_job(session, actor=actor, job_id=job_id)
    if job.status in ACTIVE_STATUSES:
        raise Conflict("This job is running. Stop it first.")
    adapters = session.exec(select(Adapter.name).where(col(Adapter.job_id) == job_id)).all()
    if adapters:
        raise Conflict(
            "Its adapter is kept in this job's folder. Delete the adapter first.", users_of=adapters
        )
    _release_followers(session, job)
    audit_job(session, actor, "job.delete", job)
    session.delete(job)
    _delete_empty_group(session, job)
    folder = layout.run_path(job_id)
    after_commit(session, lambda: shutil.rmtree(folder, ignore_errors=True))


def _delete_empty_group(session: Session, job: Job) -> None:
    """A sweep goes with its last job."""
    if job.group_id is None:
        return
    session.flush()
    if session.exec(select(Job.id).where(col(Job.group_id) == job.group_id)).first() is None:
        session.delete(session.get_one(JobGroup, job.group_id))


def _has_to_wait(session: Session, before_id: str | None) -> bool:
    """Whether the job to run after is there and has not ended."""
    before = session.get(Job, before_id) if before_id else None
    return before is not None and before.status not in TERMINAL_STATUSES


def _release_followers(session: Session, job: Job) -> None:
    """Let the jobs that wait for one about to be deleted go; end those that needed it to succeed."""
    waiting = select(Job).where(col(Job.after_job_id) == job.id, Job.status == JobStatus.QUEUED)
    for follower in session.exec(waiting):
        if job.status is not JobStatus.SUCCEEDED and follower.spec.get("after_condition") == "succeeded":
            is_ended = _move(
                session,
                follower,
                [JobStatus.QUEUED],
                JobStatus.STOPPED,
                message=queue.not_started(job.name, None),
                finished_at=utc_now(),
            )
            if is_ended:
                notices.tell(session, follower.id)
                announce(session, follower.id)
    session.execute(update(Job).where(col(Job.after_job_id) == job.id).values(after_job_id=None))


def _write_stop(job: Job, mode: StopMode) -> None:
    """Write the wish down. A worker whose steps are long gets the time for two of them."""
    step_s = metrics.recent_interval_s(layout.run_path(job.id) / "metrics", "loss")
    grace_s = 2 * step_s + 10 if step_s and 2 * step_s + 10 > get_settings().stop_grace_s else None
    try:
        outcome.write_stop(layout.attempt_path(job.id, job.attempt), mode, grace_s=grace_s)
    except OSError as error:
        raise StorageFull(
            "The disk is full, so the wish to stop could not be stored. Free some space."
        ) from error


def _move(session: Session, job: Job, from_: list[JobStatus], to: JobStatus, **values: Any) -> bool:
    """Move the job if it is still where it was, and say whether; the row is read again either way."""
    is_moved = transitions.move(session, job_id=job.id, attempt=job.attempt, from_=from_, to=to, **values)
    session.expire(job)
    return is_moved
