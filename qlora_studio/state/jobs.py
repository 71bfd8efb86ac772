"""The list of jobs, live while it is open."""

import asyncio
import time
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypedDict

import reflex as rx

from qlora_studio.contracts.enums import ACTIVE_STATUSES, JobStatus, Role
from qlora_studio.db import engine as db
from qlora_studio.db.models.user import User
from qlora_studio.services import job_reading, jobs, queue, sweeps
from qlora_studio.services.comparisons import MAX_JOBS
from qlora_studio.state.auth import authorized, require_session
from qlora_studio.state.dialogs import DeletingState
from qlora_studio.state.job_rows import JobRow, job_row
from qlora_studio.state.presence import is_connected
from qlora_studio.state.queue_rows import QueuedRow, QueuePanel, queue_panel, queued_rows
from qlora_studio.state.sharing import facts_of
from qlora_studio.state.tables import SelectionState, TableState, parsed

POLL_S = 0.5
CHECK_EVERY_S = 4.0


class PauseForm(TypedDict, total=False):
    """What the dialog sends."""

    note: str


@dataclass(frozen=True)
class JobsPage:
    """What the page shows, by the names of the state's vars."""

    rows: list[JobRow]
    total: int
    groups: list[list[str]]
    queue: QueuePanel
    queued: list[QueuedRow]


class TrainingState(DeletingState, SelectionState, TableState, rx.State):
    """One page of jobs. A background watcher renews it when one of them changes."""

    _path: ClassVar[str] = "/training"
    _has_shelf: ClassVar[bool] = True
    _filter_names: ClassVar[tuple[str, ...]] = ("status", "group")
    _max_selected: ClassVar[int] = MAX_JOBS
    rows: list[JobRow] = []
    groups: list[list[str]] = []  # sweeps to filter by
    queue: QueuePanel = QueuePanel()
    queued: list[QueuedRow] = []
    is_pausing: bool = False
    is_sending: bool = False
    _watch: int = 0

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Show the page that the address names, then watch it."""
        self._read_address()
        self._show(await asyncio.to_thread(_page, actor, self._wanted()))
        self.is_loading, self.is_sending = False, False
        return TrainingState.watch

    @rx.event(background=True)
    @authorized()
    async def watch(self, actor: User):
        """Renew the rows while the list is open."""
        async with self:
            self._watch += 1
            mine, wanted = self._watch, self._wanted()
            shown = JobsPage(list(self.rows), self.total, list(self.groups), self.queue, list(self.queued))
        stamps, next_check = _stamps(shown), time.monotonic() + CHECK_EVERY_S
        while True:
            await asyncio.sleep(POLL_S)
            is_due = time.monotonic() >= next_check
            if is_due:
                next_check = time.monotonic() + CHECK_EVERY_S
                await require_session(self)
                if not is_connected(self):
                    return
            if not is_due and _stamps(shown) == stamps:
                continue
            found = await asyncio.to_thread(_page, actor, wanted)
            stamps = _stamps(found)
            async with self:
                if self._watch != mine or self.router.url.path.rstrip("/") != self._path:
                    return
                self._show(found)
            shown = found

    def _show(self, found: JobsPage) -> None:
        """Assign what is new of a page."""
        for name, value in vars(found).items():
            if getattr(self, name) != value:
                setattr(self, name, value)

    @rx.event
    @authorized(Role.TRAINER)
    async def delete(self, actor: User):
        """Delete the job that was asked about."""
        job_id, self.deleting_id = self.deleting_id, ""
        await asyncio.to_thread(_delete, actor, job_id)
        self.selected = [one for one in self.selected if one != job_id]
        yield rx.toast.success("Job deleted")
        yield TrainingState.load

    @rx.event
    @authorized(Role.TRAINER)
    async def stop(self, actor: User, job_id: str):
        """Stop a job and keep its adapter."""
        await asyncio.to_thread(_stop, actor, job_id)
        yield rx.toast.success("Stopping; the adapter is kept")
        yield TrainingState.load

    @rx.event
    @authorized(Role.TRAINER)
    async def resume(self, actor: User, job_id: str):
        """Queue a job's next attempt."""
        await asyncio.to_thread(_resume, actor, job_id)
        yield rx.toast.success("The job is in the queue again")
        yield TrainingState.load

    # -- the queue

    @rx.event
    @authorized(Role.TRAINER)
    async def move(self, actor: User, job_id: str, by: int):
        """Move a queued job up (-1) or down (1) among its owner's."""
        row = next((row for row in self.queued if row.id == job_id), None)
        if row is not None:
            await asyncio.to_thread(_move, actor, job_id, max(1, row.own_position + by))
        return TrainingState.load

    @rx.event
    @authorized(Role.ADMIN)
    async def ask_pause(self, is_open: bool):
        """Open or close the dialog that asks why the queue is paused."""
        self.is_pausing = is_open

    @rx.event
    @authorized(Role.ADMIN)
    async def close_pause(self):
        """Close the dialog; the queue goes on."""
        self.is_pausing = False

    @rx.event
    @authorized(Role.ADMIN)
    async def pause(self, actor: User, form: PauseForm):
        """Have no further job started."""
        self.is_pausing = False
        await asyncio.to_thread(_pause, actor, True, str(form.get("note", ""))[:500])
        yield rx.toast.success("The queue is paused; what runs goes on")
        yield TrainingState.load

    @rx.event
    @authorized(Role.ADMIN)
    async def go_on(self, actor: User):
        """Let the queue go on."""
        self.is_sending = True
        yield
        await asyncio.to_thread(_pause, actor, False)
        yield rx.toast.success("The queue goes on")
        yield TrainingState.load


def _stamps(shown: JobsPage) -> list[int]:
    ids = [row.id for row in shown.rows if row.is_active or row.status == "queued"]
    return [job_reading.read_stamp(job_id) for job_id in (*ids, *(row.id for row in shown.queued))]


def _page(actor: User, wanted: dict[str, Any]) -> JobsPage:
    statuses = (JobStatus.QUEUED, *ACTIVE_STATUSES) if wanted["status"] == "active" else ()
    wanted = parsed(wanted, status=JobStatus) | {"statuses": statuses, "group_id": wanted["group"]}
    del wanted["group"]
    with db.read() as session:
        views, total = jobs.list_jobs(session, actor=actor, **wanted)
        found = queue.get_queue(session, actor=actor)
        groups = [[*group] for group in sweeps.list_names(session, actor=actor)]
        facts = facts_of(session, actor, [view.job for view in views])
    rows = [replace(job_row(view), **facts[view.job.id]) for view in views]
    return JobsPage(rows, total, groups, queue_panel(found, actor), queued_rows(found, actor))


def _move(actor: User, job_id: str, position: int) -> None:
    with db.write() as session:
        queue.move(session, actor=actor, job_id=job_id, position=position)


def _pause(actor: User, is_paused: bool, note: str = "") -> None:
    with db.write() as session:
        queue.set_paused(session, actor=actor, is_paused=is_paused, note=note)


def _delete(actor: User, job_id: str) -> None:
    with db.write() as session:
        jobs.delete(session, actor=actor, job_id=job_id)


def _stop(actor: User, job_id: str) -> None:
    with db.write() as session:
        jobs.stop(session, actor=actor, job_id=job_id)


def _resume(actor: User, job_id: str) -> None:
    with db.write() as session:
        jobs.resume(session, actor=actor, job_id=job_id)
