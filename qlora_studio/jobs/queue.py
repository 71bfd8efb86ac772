"""Which queued job starts next: fair between people, and in the order that each of them gave their own.

`order` and `pick` decide and are pure; `read_line` reads what they decide on. The supervisor and every page
ask here, so that what is promised is what happens.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import case, func
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import ACTIVE_STATUSES, TERMINAL_STATUSES, JobStatus
from qlora_studio.core.clock import utc_now
from qlora_studio.db.columns import UtcDateTime
from qlora_studio.db.engine import read, write
from qlora_studio.db.models import Job, QueueState
from qlora_studio.jobs import liveness, notices

RESTARTED = "The machine was restarted. Queued jobs wait until somebody lets them go on."
RESTORED = "A backup was restored. Queued jobs wait until somebody lets them go on."


@dataclass(frozen=True)
class Entry:
    """A queued or active job, as far as the queue cares. It takes `n_devices` slots."""

    id: str
    owner_id: str
    rank: float = 0.0
    n_devices: int = 1


@dataclass(frozen=True)
class Line:
    """All jobs that wait or run.

    `ready` is in the order in which they start; `waiting` are for another job that has not ended yet;
    `refused` maps those whose condition can't be met any more to the reason.
    """

    ready: list[Entry] = field(default_factory=list)
    waiting: list[Entry] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    active: list[Entry] = field(default_factory=list)

    @property
    def n_busy(self) -> int:
        """How many slots are taken."""
        return sum(entry.n_devices for entry in self.active)

    @property
    def positions(self) -> dict[str, int]:
        """The place of each queued job, from 1; those that wait for another job come last."""
        return {entry.id: place for place, entry in enumerate((*self.ready, *self.waiting), start=1)}


def order(
    queued: Iterable[Entry], active: Iterable[Entry], *, last_end: Mapping[str, float] | None = None
) -> list[Entry]:
    """Bring queued jobs into the order in which they start.

    First comes whoever has the fewest busy slots; of those who have equally many, whoever's jobs have been
    without a slot for longest. Each person's own jobs keep their ranks.

    Args:
        last_end: when a job of each person last ended, in seconds; 0 for those who never had one.
    """
    lines: dict[str, list[Entry]] = {}
    for entry in sorted(queued, key=lambda e: (e.rank, e.id), reverse=True):
        lines.setdefault(entry.owner_id, []).append(entry)
    busy = Counter[str]()
    for entry in active:
        busy[entry.owner_id] += entry.n_devices
    served = last_end or {}

    def claim(owner: str) -> tuple[int, float, float, str]:
        head = lines[owner][-1]
        return busy[owner], served.get(owner, 0.0), head.rank, head.id

    ordered: list[Entry] = []
    while lines:
        owner = min(lines, key=claim)
        entry = lines[owner].pop()
        if not lines[owner]:
            del lines[owner]
        busy[owner] += entry.n_devices
        ordered.append(entry)
    return ordered


def pick(ready: Sequence[Entry], *, n_slots: int, n_busy: int, n_open: int | None = None) -> Entry | None:
    """The job that may start now, or None: the first in line and no other.

    One that wants many slots is not overtaken until it has them. If there are not so many at all any more, it
    may have all there are: the worker says what is missing.

    Args:
        n_open: how many devices have a free slot; a job gets no two slots of one. None where slots are alike.
    """
    n_free = n_slots - n_busy
    if not ready or n_free <= 0:
        return None
    n_most = n_free if n_open is None else min(n_free, n_open)
    return ready[0] if ready[0].n_devices <= n_most or not n_busy else None


def has_any(session: Session) -> bool:
    """Whether a job waits at all; costs far less than the line."""
    return session.exec(select(Job.id).where(Job.status == JobStatus.QUEUED).limit(1)).first() is not None


def is_idle(session: Session) -> bool:
    """Whether no job waits, runs, or is about to."""
    busy = select(Job.id).where(col(Job.status).in_([JobStatus.QUEUED, *ACTIVE_STATUSES]))
    return session.exec(busy.limit(1)).first() is None


def read_line(session: Session) -> Line:
    """Read who waits and who runs."""
    before = aliased(Job)
    n_devices = func.coalesce(col(Job.spec)["optimization"]["devices"].as_integer(), 1)
    condition = col(Job.spec)["after_condition"].as_string()
    query = (
        select(Job.id, Job.owner_id, Job.rank, n_devices, Job.status, condition, before.name, before.status)
        .outerjoin(before, before.id == Job.after_job_id)  # type: ignore[arg-type]
        .where(col(Job.status).in_([JobStatus.QUEUED, *ACTIVE_STATUSES]))
    )
    found = Line()
    queued: list[Entry] = []
    row: Any
    for row in session.execute(query):
        job_id, owner_id, rank, wanted, status, only_if, before_name, before_status = row
        entry = Entry(job_id, owner_id, rank, wanted)
        if status is not JobStatus.QUEUED:
            found.active.append(entry)
        elif before_status is None or before_status is JobStatus.SUCCEEDED:
            queued.append(entry)
        elif before_status not in TERMINAL_STATUSES:
            found.waiting.append(entry)
        elif only_if == "succeeded":
            found.refused[job_id] = not_started(before_name, before_status)
        else:
            queued.append(entry)
    found.ready.extend(order(queued, found.active, last_end=_last_ends(session, queued)))
    found.waiting.sort(key=lambda e: (e.rank, e.id))
    return found


def with_those_before(session: Session, job_ids: Iterable[str]) -> set[str]:
    """The jobs and all that they wait for, one behind the other."""
    found: set[str] = set()
    fresh = set(job_ids)
    while fresh:
        found |= fresh
        before = select(Job.after_job_id).where(col(Job.id).in_(fresh), col(Job.after_job_id).is_not(None))
        fresh = {job_id for job_id in session.exec(before) if job_id is not None} - found
    return found


def not_started(name: str, status: JobStatus | None) -> str:
    """Why a job that was to follow another one is not started."""
    how = "was deleted" if status is None else f"ended as {status.value}"
    return f"“{name}” {how}, and this job was to start only if it succeeded. Resume starts it all the same."


def _last_ends(session: Session, queued: Sequence[Entry]) -> dict[str, float]:
    owners = {entry.owner_id for entry in queued}
    if len(owners) < 2:
        return {}
    # A resumed job has no end any more: while it waits, its last sign of life stands for it. A first attempt
    # that runs counts as a busy slot only.
    sign_of_life = case((col(Job.status) == JobStatus.QUEUED, col(Job.heartbeat_at)))
    ended_at = func.coalesce(
        col(Job.finished_at), sign_of_life, case((col(Job.attempt) > 1, col(Job.started_at)))
    )
    query = (
        select(Job.owner_id, func.max(ended_at, type_=UtcDateTime))
        .where(col(Job.owner_id).in_(owners), col(Job.started_at).is_not(None))
        .group_by(col(Job.owner_id))
    )
    return {owner: ended.timestamp() for owner, ended in session.exec(query) if ended is not None}


# -- whether it moves at all ---------------------------------------------------------------------------


def read_state(session: Session) -> QueueState:
    """Whether the queue is paused and why; of a fresh database it is not."""
    return session.get(QueueState, 1) or QueueState()


def hold_after_restart(*, but: Collection[str] = ()) -> None:
    """Pause the queue if jobs wait in it from before the machine was restarted, or a backup restored.

    Args:
        but: jobs that somebody has asked for just now, and which are no reason to pause.
    """
    boot_id = liveness.boot_id()
    with read() as session:
        before = read_state(session).boot_id
    is_restored = before == liveness.RESTORED
    if before == boot_id or not (boot_id or is_restored):
        return
    why = RESTORED if is_restored else RESTARTED
    with write() as session:
        state = read_state(session)
        waiting = select(Job.owner_id).where(Job.status == JobStatus.QUEUED, col(Job.id).not_in(but))
        owners = set(session.exec(waiting))
        if state.boot_id not in ("", boot_id) and not state.is_paused and owners:
            state.is_paused, state.note = True, why
            state.changed_by, state.changed_at = None, utc_now()
            notices.tell_of_hold(session, owners=owners, why=why)
        state.boot_id = boot_id
        session.add(state)
