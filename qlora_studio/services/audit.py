"""Who did what, when, to what. Names are copied into the line; secrets never are.

What people do thousands of times is one line a day and person (docs/decisions/0005).
"""

import json
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AwareDatetime, Field
from sqlalchemy import func
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, desc, or_, select

from qlora_studio.contracts.spec import Strict
from qlora_studio.core.clock import utc_now
from qlora_studio.core.ids import is_id
from qlora_studio.core.logging import redact
from qlora_studio.db import engine as db
from qlora_studio.db.models.audit import AuditEvent
from qlora_studio.db.models.user import User
from qlora_studio.services import access
from qlora_studio.services.access import Action
from qlora_studio.storage.spreadsheets import csv_lines, inert

_COLUMNS = ("time", "who", "action", "kind", "id", "name", "times", "details")
_AT_ONCE = 2_000


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


class AuditFilter(Strict):
    """Which lines: by whose name, by action (`dataset` for all of datasets, or `dataset.create`), by the kind
    or id of the object, by words in names, and from one moment until before another.
    """

    query: Annotated[str, Field(max_length=200)] = ""
    who: Annotated[str, Field(max_length=64)] = ""
    action: Annotated[str, Field(max_length=64)] = ""
    object: Annotated[str, Field(max_length=64)] = ""
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None


def list_events(
    session: Session, *, actor: User, wanted: AuditFilter | None = None, page: int = 1, page_size: int = 25
) -> tuple[list[AuditEvent], int]:
    """Return one page of everybody's lines, newest first, and how many there are.

    Raises:
        Forbidden: the actor is not an admin.
    """
    _require_admin(actor)
    where = _where(wanted or AuditFilter())
    total = session.exec(select(func.count()).select_from(AuditEvent).where(*where)).one()
    rows = select(AuditEvent).where(*where).order_by(desc(col(AuditEvent.id)))
    return list(session.exec(rows.offset((page - 1) * page_size).limit(page_size))), total


def write_csv(*, actor: User, wanted: AuditFilter) -> Iterator[bytes]:
    """Return the lines as CSV, newest first, a piece at a time; a spreadsheet takes no cell for a formula.

    Raises:
        Forbidden: the actor is not an admin.
    """
    _require_admin(actor)
    return _csv_pieces(wanted)


def list_choices(session: Session, *, actor: User) -> tuple[list[str], list[str]]:
    """The actions and the kinds of objects that the log has, for its filters.

    Raises:
        Forbidden: the actor is not an admin.
    """
    _require_admin(actor)
    return _distinct(session, col(AuditEvent.action)), _distinct(session, col(AuditEvent.object_type))


def _distinct(session: Session, column: Any) -> list[str]:
    """Each value once, by leaps through its index: reading all lines would take longer and longer."""
    found = [""]
    while (value := session.exec(select(func.min(column)).where(column > found[-1])).one()) is not None:
        found.append(value)
    return found[1:]


def _csv_pieces(wanted: AuditFilter) -> Iterator[bytes]:
    yield csv_lines([_COLUMNS])
    last: int | None = None
    while True:
        where = _where(wanted) + ([col(AuditEvent.id) < last] if last is not None else [])
        with db.read() as session:
            query = select(AuditEvent).where(*where).order_by(desc(col(AuditEvent.id)))
            events = session.exec(query.limit(_AT_ONCE)).all()
        if not events:
            return
        last = events[-1].id
        yield csv_lines(map(_cells, events))


def _cells(event: AuditEvent) -> list[object]:
    details = json.dumps(event.details, ensure_ascii=False) if event.details else ""
    at = event.at.isoformat(timespec="seconds")
    of_object = (event.object_type, event.object_id, event.object_name)
    said = (event.actor_name, event.action, *of_object)
    return [at, *map(inert, said), event.n, inert(details)]


def _where(wanted: AuditFilter) -> list[Any]:
    where: list[Any] = []
    if wanted.query:
        columns = (AuditEvent.actor_name, AuditEvent.action, AuditEvent.object_name, AuditEvent.object_id)
        where.append(or_(*(col(c).icontains(wanted.query, autoescape=True) for c in columns)))
    if wanted.who:
        where.append(col(AuditEvent.actor_name) == wanted.who)
    if wanted.action:
        action = col(AuditEvent.action)
        # a range, which an index serves: all that begins with the word and a dot
        part = (action >= f"{wanted.action}.") & (action < f"{wanted.action}/")
        where.append(or_(action == wanted.action, part))
    if wanted.object:
        kind = wanted.object.partition("_")[0]
        column = AuditEvent.object_id if is_id(wanted.object, kind) else AuditEvent.object_type
        where.append(col(column) == wanted.object)
    if wanted.since is not None:
        where.append(col(AuditEvent.at) >= wanted.since)
    if wanted.until is not None:
        where.append(col(AuditEvent.at) < wanted.until)
    return where


def _require_admin(actor: User) -> None:
    access.require_role(actor, Action.ADMINISTER, message="Only an admin can read the audit log.")
