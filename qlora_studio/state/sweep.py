"""The page of one sweep, live while it is open."""

import asyncio
from typing import Any, ClassVar

import reflex as rx

from qlora_studio.contracts.enums import Role
from qlora_studio.core.errors import NotFound
from qlora_studio.db import engine as db
from qlora_studio.db.models.user import User
from qlora_studio.services import job_reading, sweeps
from qlora_studio.state.auth import authorized
from qlora_studio.state.dialogs import DialogState
from qlora_studio.state.sweep_rows import SweepJobRow, SweepView, sweep_rows, sweep_view
from qlora_studio.state.tables import TableState
from qlora_studio.state.watching import Watch

LOOK_EVERY_S = 0.5


class SweepState(DialogState, TableState, rx.State):
    """The comparison table of one sweep; how it is sorted is in the address."""

    _path: ClassVar[str] = ""
    _filter_names: ClassVar[tuple[str, ...]] = ()
    _watch_id: int = 0

    sweep: SweepView = SweepView()
    rows: list[SweepJobRow] = []
    is_sending: bool = False

    def _address(self, **changes: Any) -> str:
        return f"/training/sweeps/{self._shown_id()}" + super()._address(**changes)

    def _shown_id(self) -> str:
        return str(getattr(self, "sweep_id", "") or "")

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Show the sweep that the address names, then watch it."""
        self._read_address()
        if self.sweep.id != self._shown_id():
            self.sweep, self.rows, self.is_loading = SweepView(), [], True
        self.dialog, self.is_sending, self.load_error = "", False, ""
        try:
            self.sweep, self.rows = await asyncio.to_thread(_look, actor, self._shown_id(), self.sort)
        except NotFound as error:
            self.load_error = error.message
        self.is_loading = False
        return SweepState.watch

    @rx.event(background=True)
    @authorized()
    async def watch(self, actor: User):
        """Renew the table while one of its jobs has not ended."""
        watch = Watch(self)
        await watch.take_over()
        stamps: list[int] = []
        while self.sweep.is_live and await watch.goes_on(every_s=LOOK_EVERY_S):
            now = _stamps([row.id for row in self.rows])
            if now == stamps:
                continue
            stamps = now
            shown_id = self._shown_id()
            try:
                sweep, rows = await asyncio.to_thread(_look, actor, shown_id, self.sort)
            except NotFound as error:  # deleted in another tab
                async with self:
                    if self.sweep.id == shown_id:
                        self.load_error = error.message
                return
            async with self:
                if watch.is_newest and sweep.id == self.sweep.id:
                    self.sweep, self.rows = sweep, rows

    @rx.event
    @authorized(Role.TRAINER)
    async def ask_stop(self):
        """Ask before all of its jobs are stopped."""
        self.dialog = "stop"

    @rx.event
    @authorized(Role.TRAINER)
    async def stop(self, actor: User):
        """Stop all jobs that have not ended, keeping adapters."""
        self.is_sending = True
        yield
        try:
            await asyncio.to_thread(_stop, actor, self._shown_id())
        finally:
            self.is_sending, self.dialog = False, ""
        yield rx.toast.success("Stopping; adapters are kept")
        yield SweepState.load


def _look(actor: User, group_id: str, sort: str) -> tuple[SweepView, list[SweepJobRow]]:
    with db.read() as session:
        found = sweeps.get_sweep(session, actor=actor, group_id=group_id)
    return sweep_view(found), sweep_rows(found, sort)


def _stamps(job_ids: list[str]) -> list[int]:
    return [job_reading.read_stamp(job_id) for job_id in job_ids]


def _stop(actor: User, group_id: str) -> None:
    with db.write() as session:
        sweeps.stop(session, actor=actor, group_id=group_id)
