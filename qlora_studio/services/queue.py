"""The queue as people see it: who waits in which place, whether it moves, and how to change both."""

from datetime import datetime

from pydantic import BaseModel, Field
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import JobStatus, Role
from qlora_studio.contracts.spec import Strict
from qlora_studio.core import devices
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import Conflict, NotFound
from qlora_studio.db.models import Job, User
from qlora_studio.jobs import queue, rehearsal_slot
from qlora_studio.services import access, audit
from qlora_studio.services.access import Action
from qlora_studio.services.job_access import announce, audit_job, get_job, require_trainer

_GAP = 1e-3  # between ranks that were the same, in seconds


class QueuedJob(BaseModel):
    """A queued job. `position` is its place among all, `own_position` among its owner's `n_own`; from 1.

    `after` is the name of the job that it waits for.
    """

    id: str
    name: str
    owner: str
    position: int
    own_position: int
    n_own: int
    after: str
    n_devices: int


class QueuePublic(BaseModel):
    """The queue for one person: everybody's jobs for an admin, else their own; `n_queued` counts all."""

    is_paused: bool
    note: str
    changed_by: str
    changed_at: datetime
    n_slots: int
    n_busy: int
    n_queued: int
    items: list[QueuedJob]


class QueueUpdate(Strict):
    """Pause the queue, with a note that says why, or let it go on."""

    is_paused: bool
    note: str = Field(default="", max_length=500)


class MoveRequest(Strict):
    """The wanted place among one's own queued jobs, from 1; beyond the end means last."""

    position: int = Field(ge=1, le=1_000_000)


def get_queue(session: Session, *, actor: User) -> QueuePublic:
    """Return whether the queue moves, and who waits in which place."""
    state, line = queue.read_state(session), queue.read_line(session)
    by = session.get(User, state.changed_by) if state.changed_by else None
    n_slots = devices.count_slots()
    return QueuePublic(
        is_paused=state.is_paused,
        note=state.note,
        changed_by=by.username if by else "",
        changed_at=state.changed_at,
        n_slots=n_slots,
        n_busy=max(line.n_busy, min(n_slots, line.n_busy + rehearsal_slot.n_held())),
        n_queued=len(line.positions),
        items=_items(session, actor, line),
    )


def _items(session: Session, actor: User, line: queue.Line) -> list[QueuedJob]:
    is_admin = access.may(actor, Action.ADMINISTER)
    shown = [e for e in (*line.ready, *line.waiting) if is_admin or e.owner_id == actor.id]
    rows = {job.id: job for job in session.exec(select(Job).where(col(Job.id).in_([e.id for e in shown])))}
    ids = {entry.owner_id for entry in shown}
    owners = dict(session.exec(select(User.id, User.username).where(col(User.id).in_(ids))).all())
    befores = {job.after_job_id for job in rows.values() if job.after_job_id}
    names = dict(session.exec(select(Job.id, Job.name).where(col(Job.id).in_(befores))).all())
    own = {
        owner: sorted((e for e in shown if e.owner_id == owner), key=lambda e: (e.rank, e.id))
        for owner in owners
    }
    return [
        QueuedJob(
            id=entry.id,
            name=rows[entry.id].name,
            owner=owners[entry.owner_id],
            position=line.positions[entry.id],
            own_position=own[entry.owner_id].index(entry) + 1,
            n_own=len(own[entry.owner_id]),
            after=names.get(rows[entry.id].after_job_id or "", ""),
            n_devices=entry.n_devices,
        )
        for entry in shown
    ]


def move(session: Session, *, actor: User, job_id: str, position: int) -> None:
    """Put a queued job into another place among its owner's; the places of other people's jobs stay fair.

    Args:
        position: from 1; beyond the end means last.

    Raises:
        NotFound: it isn't the actor's, who is no admin.
        Conflict: it has begun, or ended.
    """
    require_trainer(actor)
    job = _find(session, actor, job_id)
    if job.status is not JobStatus.QUEUED:
        raise Conflict(f"This job is {job.status.value}; only a queued one can be moved.")
    mine = select(Job).where(Job.owner_id == job.owner_id, Job.status == JobStatus.QUEUED)
    line = list(session.exec(mine.order_by(col(Job.rank), col(Job.id))))
    ranks = [other.rank for other in line]
    line.remove(job)
    line.insert(position - 1, job)
    for earlier in range(1, len(ranks)):
        ranks[earlier] = max(ranks[earlier], ranks[earlier - 1] + _GAP)
    for other, rank in zip(line, ranks, strict=True):
        other.rank = rank
        session.add(other)
    audit_job(session, actor, "job.move", job, position=line.index(job) + 1)
    announce(session, *(other.id for other in line))


def _find(session: Session, actor: User, job_id: str) -> Job:
    if not access.may(actor, Action.ADMINISTER):
        return get_job(session, actor=actor, job_id=job_id)
    job = session.get(Job, job_id)
    if job is None:
        raise NotFound("There is no such job.")
    return job


def set_paused(session: Session, *, actor: User, is_paused: bool, note: str = "") -> None:
    """Start no further job until told otherwise, or let the queue go on. What runs is not touched.

    Args:
        note: why, for those who wait.

    Raises:
        Forbidden: the actor is no admin, and there is one.
    """
    require_trainer(actor)
    if session.exec(select(User.id).where(User.role == Role.ADMIN)).first():
        access.require_role(
            actor, Action.ADMINISTER, message="Only an admin can pause the queue or let it go on."
        )
    state = queue.read_state(session)
    text = " ".join(note.split()) if is_paused else ""
    if (state.is_paused, state.note) == (is_paused, text):
        return
    state.is_paused, state.note = is_paused, text
    state.changed_by, state.changed_at = actor.id, utc_now()
    session.add(state)
    action = "queue.pause" if is_paused else "queue.resume"
    audit.record(
        session, actor=actor, action=action, object_type="queue", object_name="queue", details={"note": text}
    )
    waiting = session.exec(select(Job.id).where(Job.status == JobStatus.QUEUED)).all()
    announce(session, *waiting)
