"""Changes of a job's state: compare-and-set on (id, status, attempt), so that no writer overrules another."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import update
from sqlmodel import Session, col

from qlora_studio.contracts.enums import TERMINAL_STATUSES, JobStatus
from qlora_studio.core.clock import utc_now
from qlora_studio.db.models import Job


def move(
    session: Session,
    *,
    job_id: str,
    attempt: int,
    from_: Collection[JobStatus],
    to: JobStatus,
    **values: Any,
) -> bool:
    """Set the status if the job is still in one of `from_` at this attempt; say whether it was.

    Other columns may be set in the same stroke. Terminal states are final: only `reopen` leaves them.
    """
    assert not set(from_) & set(TERMINAL_STATUSES), "terminal states are final"
    return _compare_and_set(session, job_id, attempt, from_, {**values, "status": to})


def reopen(
    session: Session, *, job_id: str, attempt: int, from_: Collection[JobStatus], **values: Any
) -> bool:
    """Queue a finished job's next attempt, behind its owner's others; say whether this call did it."""
    values |= {"status": JobStatus.QUEUED, "attempt": attempt + 1, "rank": utc_now().timestamp()}
    return _compare_and_set(session, job_id, attempt, from_, values)


def _compare_and_set(
    session: Session, job_id: str, attempt: int, from_: Collection[JobStatus], values: dict[str, Any]
) -> bool:
    statement = (
        update(Job)
        .where(col(Job.id) == job_id, col(Job.attempt) == attempt, col(Job.status).in_(list(from_)))
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    return session.execute(statement).rowcount == 1  # type: ignore[attr-defined]
