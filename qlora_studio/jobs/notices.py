"""What a job's owner is told when it has ended, in the transaction that ends it.

The jobs of a sweep are told of together, by the last of them that ends.
"""

from collections import Counter
from collections.abc import Collection, Sequence

from sqlmodel import Session, col, desc, select

from qlora_studio.contracts.enums import TERMINAL_STATUSES, JobStatus, Role
from qlora_studio.contracts.metrics import first_of
from qlora_studio.contracts.notices import NoticeKind
from qlora_studio.db import notices
from qlora_studio.db.models import Adapter, Job, JobGroup, User
from qlora_studio.db.models.audit import AuditEvent

_TOLD = {
    JobStatus.SUCCEEDED: (NoticeKind.JOB_SUCCEEDED, "has finished"),
    JobStatus.FAILED: (NoticeKind.JOB_FAILED, "has failed"),
    JobStatus.LOST: (NoticeKind.JOB_LOST, "was lost"),
    JobStatus.STOPPED: (NoticeKind.JOB_STOPPED, "was stopped"),
}

_YOU_CAN = "You can, on the Training page."


def tell(session: Session, job_id: str) -> None:
    """Tell the job's owner how it has ended. Who stopped their job themselves knows already.

    Call it in the transaction that moved the job to its final state, and only if it did.
    """
    session.flush()
    job = session.get(Job, job_id, populate_existing=True)
    if job is None or job.status not in _TOLD:
        return
    stopper = _stopper(session, job) if job.status is JobStatus.STOPPED else None
    if stopper is not None and stopper.actor_id == job.owner_id:
        return
    group = session.get(JobGroup, job.group_id) if job.group_id else None
    if group is not None:
        _tell_of_sweep(session, group)
        return
    kind, verb = _TOLD[job.status]
    by = f" by {stopper.actor_name}" if stopper is not None and stopper.actor_name else ""
    notices.add(
        session,
        user_id=job.owner_id,
        kind=kind,
        title=f"“{job.name}” {verb}{by}",
        body=_result(job) if job.status is JobStatus.SUCCEEDED else job.message or "",
        href=_page_of_job(job.id),
        job_id=job.id,
    )


def tell_of_hold(session: Session, *, owners: Collection[str], why: str) -> None:
    """Tell those whose jobs wait that the queue is held, and the admins, who can let it go on."""
    admins = set(
        session.exec(select(User.id).where(col(User.role) == Role.ADMIN, col(User.disabled_at).is_(None)))
    )
    for user_id in sorted(admins | set(owners)):
        notices.add(
            session,
            user_id=user_id,
            kind=NoticeKind.QUEUE_HELD,
            title="The queue waits",
            body=f"{why} {_YOU_CAN if user_id in admins or not admins else 'An admin can.'}",
            href="/training",
        )


def tell_of_broken_default(session: Session, adapter: Adapter, *, model_name: str) -> None:
    """Tell an adapter's owner that it is no longer its base model's default, since it has broken."""
    notices.add(
        session,
        user_id=adapter.owner_id,
        kind=NoticeKind.ADAPTER_BROKEN,
        title=f"“{adapter.name}” is no longer the default",
        body=f"Its training went on, and its new certificate says that it is broken. “{model_name}” is used "
        "without an adapter until you choose one.",
        href=f"/adapters/{adapter.id}",
    )


def pages_of(session: Session, job_id: str) -> frozenset[str]:
    """The pages that what is told of a job's end leads to: the job's own and its sweep's."""
    job = session.get(Job, job_id)
    sweep = {_page_of_sweep(job.group_id)} if job is not None and job.group_id else set()
    return frozenset({_page_of_job(job_id)} | sweep)


def _page_of_job(job_id: str) -> str:
    return f"/training/{job_id}"


def _page_of_sweep(group_id: str) -> str:
    return f"/training/sweeps/{group_id}"


def _tell_of_sweep(session: Session, group: JobGroup) -> None:
    """Tell how a sweep went, once all of its jobs have ended."""
    jobs = session.exec(select(Job).where(col(Job.group_id) == group.id)).all()
    if any(job.status not in TERMINAL_STATUSES for job in jobs):
        return
    counts = Counter(job.status for job in jobs)
    parts = [f"{counts[status]} {status.value}" for status in TERMINAL_STATUSES if counts[status]]
    is_whole = not counts[JobStatus.FAILED] and not counts[JobStatus.LOST]
    notices.add(
        session,
        user_id=group.owner_id,
        kind=NoticeKind.JOB_SUCCEEDED if is_whole else NoticeKind.JOB_FAILED,
        title=f"The sweep “{group.name}” is over",
        body=f"{', '.join(parts)}. {_best(jobs)}".strip(),
        href=_page_of_sweep(group.id),
    )


def _best(jobs: Sequence[Job]) -> str:
    """`Best: WER 40.1 % (“rank 16”).`, or nothing where nothing was measured."""
    measured = [job for job in jobs if job.status is JobStatus.SUCCEEDED and job.best_metrics]
    metric = first_of({key: value for job in measured for key, value in job.best_metrics.items()})
    found = {job.name: job.best_metrics.get(metric.key) for job in measured}
    values = {name: value for name, value in found.items() if isinstance(value, int | float)}
    if not values:
        return ""
    name = (max if metric.is_higher_better else min)(values, key=lambda key: values[key])
    return f"Best: {metric.short} {metric.text(values[name])} (“{name}”)."


def _stopper(session: Session, job: Job) -> AuditEvent | None:
    """The line of whoever asked for this attempt's end; None if nobody did so here."""
    query = select(AuditEvent).where(
        col(AuditEvent.object_id) == job.id, col(AuditEvent.action).in_(["job.stop", "job.resume"])
    )
    last = session.exec(query.order_by(desc(col(AuditEvent.id))).limit(1)).first()
    return last if last is not None and last.action == "job.stop" else None


def _result(job: Job) -> str:
    """`WER 58.7 %, was 95.0 %.`, or what there is of it."""
    metric = first_of(job.best_metrics)
    now, before = job.best_metrics.get(metric.key), job.base_metrics.get(metric.key)
    if now is None:
        return job.message or ""
    was = f", was {metric.text(before)}" if before is not None else ""
    return f"{metric.short} {metric.text(now)}{was}."
