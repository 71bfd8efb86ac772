"""The list of everything that a person was told."""

import asyncio
import time
from typing import Any, ClassVar

import reflex as rx

from qlora_studio.contracts.notices import NoticeKind
from qlora_studio.core import bell
from qlora_studio.core.errors import NotAuthenticated, StudioError
from qlora_studio.db import engine as db
from qlora_studio.db.models import User
from qlora_studio.services import notifications
from qlora_studio.state.auth import authorized, require_session
from qlora_studio.state.bell import ANYWAY_EVERY_S, LOOK_EVERY_S, NoticeRow, notice_row
from qlora_studio.state.tables import TableState, parsed
from qlora_studio.state.watching import Watch


class NotificationsState(TableState, rx.State):
    """One page of notifications."""

    _path: ClassVar[str] = "/notifications"
    _filter_names: ClassVar[tuple[str, ...]] = ("status", "kind")
    _watch_id: int = 0
    rows: list[NoticeRow] = []

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Show the page that the address names."""
        self._read_address()
        self.rows, self.total = await asyncio.to_thread(_page, actor, self._wanted())
        self.is_loading = False

    @rx.event(background=True)
    @authorized()
    async def watch(self, actor: User):
        """Show what is new while the page is open."""
        watch = Watch(self, session_every_s=ANYWAY_EVERY_S)
        await watch.take_over()
        seen, looked_at = -1, 0.0  # what came between `load` and here is shown, too
        while await watch.goes_on(every_s=LOOK_EVERY_S):
            stamp = bell.read(actor.id)
            if stamp == seen and time.monotonic() - looked_at < ANYWAY_EVERY_S:
                continue
            seen, looked_at = stamp, time.monotonic()
            try:
                await require_session(self)
                found = await asyncio.to_thread(_page, actor, self._wanted())
            except NotAuthenticated:
                return
            except StudioError:  # the database is busy: the next look will do
                seen = -1
                continue
            async with self:
                self.rows, self.total = found

    @rx.event
    @authorized()
    async def read_one(self, actor: User, notice_id: str):
        """Mark one as read."""
        await asyncio.to_thread(_mark, actor, [notice_id])
        self.rows, self.total = await asyncio.to_thread(_page, actor, self._wanted())

    @rx.event
    @authorized()
    async def read_all(self, actor: User):
        """Mark everything as read, on other pages too."""
        await asyncio.to_thread(_mark, actor, None)
        self.rows, self.total = await asyncio.to_thread(_page, actor, self._wanted())


def _page(actor: User, wanted: dict[str, Any]) -> tuple[list[NoticeRow], int]:
    with db.read() as session:
        found, total = notifications.list_notifications(
            session, actor=actor, **parsed(wanted, kind=NoticeKind)
        )
    return [notice_row(notice) for notice in found], total


def _mark(actor: User, ids: list[str] | None) -> None:
    with db.write() as session:
        notifications.mark_read(session, actor=actor, ids=ids)
