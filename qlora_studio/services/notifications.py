"""What people were told: read it, and mark it as read.

A notification belongs to one person; to everybody else it does not exist. What a job's end tells is written
by `jobs.notices`; whoever else has news calls `db.notices.add` in the transaction that makes them true.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import func, update
from sqlmodel import Session, col, delete, or_, select

from qlora_studio.contracts.notices import NoticeKind
from qlora_studio.core import bell
from qlora_studio.core.clock import utc_now
from qlora_studio.db.commits import after_commit
from qlora_studio.db.models import Notification, User
from qlora_studio.services.datasets import order_by

KEPT_DAYS = 90
_SORTS: dict[str, Any] = {
    "created_at": col(Notification.created_at),
    "kind": col(Notification.kind),
    "title": func.lower(col(Notification.title)),
}


class NotificationPublic(BaseModel):
    """A notification as the REST API answers it."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    kind: str
    title: str
    body: str
    href: str
    job_id: str | None
    created_at: datetime
    read_at: datetime | None


def list_notifications(
    session: Session,
    *,
    actor: User,
    query: str = "",
    status: str | None = None,
    kind: NoticeKind | None = None,
    sort: str = "-created_at",
    page: int = 1,
    page_size: int = 25,
) -> tuple[list[Notification], int]:
    """Return one page of what the actor was told, and how much there is in all.

    Args:
        query: part of the title or the text.
        status: `unread` or `read`; anything else is both.

    Raises:
        InvalidInput: `sort` isn't a column that can be sorted by.
    """
    where = [col(Notification.user_id) == actor.id]
    if status == "unread":
        where.append(col(Notification.read_at).is_(None))
    elif status == "read":
        where.append(col(Notification.read_at).is_not(None))
    if kind is not None:
        where.append(col(Notification.kind) == kind.value)
    if text := query.strip():
        columns = (col(Notification.title), col(Notification.body))
        where.append(or_(*(c.icontains(text, autoescape=True) for c in columns)))
    total = session.exec(select(func.count()).select_from(Notification).where(*where)).one()
    rows = select(Notification).where(*where).order_by(*order_by(sort, _SORTS, tie=col(Notification.id)))
    return list(session.exec(rows.offset((page - 1) * page_size).limit(page_size))), total


def count_unread(session: Session, *, actor: User) -> int:
    """How much the actor hasn't read yet."""
    query = select(func.count()).select_from(Notification)
    return session.exec(
        query.where(col(Notification.user_id) == actor.id, col(Notification.read_at).is_(None))
    ).one()


def mark_read(session: Session, *, actor: User, ids: Collection[str] | None = None) -> int:
    """Mark these notifications as read, or all of the actor's; says how many were not before.

    Ids that aren't the actor's change nothing: they are not there.
    """
    mine = [col(Notification.user_id) == actor.id, col(Notification.read_at).is_(None)]
    if ids is not None:
        mine.append(col(Notification.id).in_(list(ids)))
    done = session.execute(update(Notification).where(*mine).values(read_at=utc_now()))
    user_id = actor.id
    after_commit(session, lambda: bell.ring(user_id))
    return int(done.rowcount)  # type: ignore[attr-defined]


def prune(session: Session) -> int:
    """Delete what is older than `KEPT_DAYS` days; returns how many."""
    old = col(Notification.created_at) < utc_now() - timedelta(days=KEPT_DAYS)
    return int(session.execute(delete(Notification).where(old)).rowcount)  # type: ignore[attr-defined]
