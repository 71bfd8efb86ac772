"""Who did what, when, to what. Names are copied into the line; secrets never are."""

from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, desc, or_, select

from qlora_studio.contracts.enums import Role
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
