"""The list of jobs, live while it is open."""

import asyncio
import time
from typing import Any, ClassVar

import reflex as rx

from qlora_studio.contracts.enums import ACTIVE_STATUSES, JobStatus, Role
from qlora_studio.db import engine as db
from qlora_studio.db.models.user import User
from qlora_studio.services import job_reading, jobs
from qlora_studio.state.auth import authorized, require_session
from qlora_studio.state.dialogs import DeletingState
from qlora_studio.state.job_rows import JobRow, job_row
from qlora_studio.state.presence import is_connected
from qlora_studio.state.tables import TableState, parsed

POLL_S = 0.5
CHECK_EVERY_S = 4.0


class TrainingState(DeletingState, TableState, rx.State):
    """One page of jobs. A background watcher renews it when one of them changes."""

    _path: ClassVar[str] = "/training"
    _filter_names: ClassVar[tuple[str, ...]] = ("status",)
    rows: list[JobRow] = []
    _watch: int = 0

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Show the page that the address names, then watch it."""
        self._read_address()
        self.rows, self.total = await asyncio.to_thread(_page, actor, self._wanted())
        self.is_loading = False
        return TrainingState.watch

    @rx.event(background=True)
    @authorized()
    async def watch(self, actor: User):
        """Renew the rows while the list is open."""
        async with self:
            self._watch += 1
            mine, wanted, shown = self._watch, self._wanted(), list(self.rows)
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
            rows, total = await asyncio.to_thread(_page, actor, wanted)
            stamps = _stamps(rows)
            async with self:
                if self._watch != mine or self.router.url.path.rstrip("/") != self._path:
                    return
                if rows != shown:
                    self.rows, self.total = rows, total
            shown = rows

    @rx.event
    @authorized(Role.TRAINER)
    async def delete(self, actor: User):
        """Delete the job that was asked about."""
        job_id, self.deleting_id = self.deleting_id, ""
        await asyncio.to_thread(_delete, actor, job_id)
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


def _stamps(rows: list[JobRow]) -> list[int]:
    return [job_reading.read_stamp(row.id) for row in rows if row.is_active or row.status == "queued"]


def _page(actor: User, wanted: dict[str, Any]) -> tuple[list[JobRow], int]:
    statuses = (JobStatus.QUEUED, *ACTIVE_STATUSES) if wanted["status"] == "active" else ()
    wanted = parsed(wanted, status=JobStatus) | {"statuses": statuses}
    with db.read() as session:
        views, total = jobs.list_jobs(session, actor=actor, **wanted)
    return [job_row(view) for view in views], total


def _delete(actor: User, job_id: str) -> None:
    with db.write() as session:
        jobs.delete(session, actor=actor, job_id=job_id)


def _stop(actor: User, job_id: str) -> None:
    with db.write() as session:
        jobs.stop(session, actor=actor, job_id=job_id)


def _resume(actor: User, job_id: str) -> None:
    with db.write() as session:
        jobs.resume(session, actor=actor, job_id=job_id)
