"""Who did what, when, to what. Names are copied into the line; secrets never are.

What people do thousands of times is one line a day and person (docs/decisions/0005).
"""

from typing import Any

from sqlalchemy import func
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, desc, or_, select

from qlora_studio.contracts.enums import Role
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import Forbidden
from qlora_studio.core.logging import redact
from qlora_studio.db.models.audit import AuditEvent
from qlora_studio.db.models.user import User


def record(
    session: Session,
    *,
    actor: User | None,
    action: str,
    object_type: str = "",
    object_id: str = "",
    object_name: str = "",
    details: dict[str, Any] | None = None,
) -> None:
    """Add a line to the audit log in the caller's transaction.

    Args:
        action: `<what>.<verb>`, for example `dataset.create` or `job.stop`.
        details: a few small JSON values; text is redacted.
    """
    clean = {k: redact(v) if isinstance(v, str) else v for k, v in (details or {}).items()}
    session.add(
        AuditEvent(
            actor_id=actor.id if actor else None,
            actor_name=actor.username if actor else "",
            action=action,
            object_type=object_type,
            object_id=object_id,
            object_name=redact(object_name)[:200],
            details=clean,
        )
    )


def count(session: Session, *, actor: User, action: str, object_type: str = "", object_id: str = "") -> None:
    """Count what somebody does very often, in one line a day; for things that keep who and when themselves.

    One statement makes or counts: two requests of one person at once would else both make the line.

    Args:
        object_id: the latest of the things.
    """
    now = utc_now()
    dialect = session.get_bind().dialect.name
    made = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(AuditEvent).values(
        at=now,
        actor_id=actor.id,
        actor_name=actor.username,
        action=action,
        object_type=object_type,
        object_id=object_id,
        object_name="",
        details={},
        n=1,
        last_at=now,
        day_key=f"{action}:{actor.id}:{now.date().isoformat()}",
    )
    more = {"n": col(AuditEvent.n) + 1, "last_at": now, "object_id": object_id}
    session.execute(made.on_conflict_do_update(index_elements=["day_key"], set_=more))


def recent(session: Session, *, actor: User, limit: int = 10) -> list[AuditEvent]:
    """Return the actor's own newest lines, newest first."""
    query = select(AuditEvent).where(AuditEvent.actor_id == actor.id).order_by(desc(col(AuditEvent.id)))
    return list(session.exec(query.limit(limit)))


def list_events(
    session: Session, *, actor: User, query: str = "", page: int = 1, page_size: int = 25
) -> tuple[list[AuditEvent], int]:
    """Return one page of everybody's lines, newest first, and how many there are.

    Raises:
        Forbidden: the actor is not an admin.
    """
    if actor.role != Role.ADMIN:
        raise Forbidden("Only an admin can read the audit log.")
    statement = select(AuditEvent)
    if query:
        like = f"%{query}%"
        statement = statement.where(
            or_(
                *(
                    col(c).ilike(like)
                    for c in (
                        AuditEvent.actor_name,
                        AuditEvent.action,
                        AuditEvent.object_name,
                        AuditEvent.object_id,
                    )
                )
            )
        )
    total = session.exec(select(func.count()).select_from(statement.subquery())).one()
    rows = statement.order_by(desc(col(AuditEvent.id))).offset((page - 1) * page_size).limit(page_size)
    return list(session.exec(rows)), total
