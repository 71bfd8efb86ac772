"""The list of everything that a person was told."""

import asyncio
from typing import Any, ClassVar

import reflex as rx

from qlora_studio.contracts.notices import NoticeKind
from qlora_studio.db import engine as db
from qlora_studio.db.models import User
from qlora_studio.services import notifications
from qlora_studio.state.auth import authorized
from qlora_studio.state.bell import NoticeRow, news, notice_row
from qlora_studio.state.tables import TableState, parsed


class NotificationsState(TableState, rx.State):
    """One page of notifications."""

    _path: ClassVar[str] = "/notifications"
    _filter_names: ClassVar[tuple[str, ...]] = ("status", "kind")
    _watch_id: int = 0
    rows: list[NoticeRow] = []

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Show the page that the address names, then what is new on it."""
        self._read_address()
        self.rows, self.total = await asyncio.to_thread(_page, actor, self._wanted())
        self.is_loading = False
        return NotificationsState.watch

    @rx.event(background=True)
    @authorized()
    async def watch(self, actor: User):
        """Show what is new while the page is open."""
        async for wanted, found in news(self, actor, lambda: _look(actor, self._wanted())):
            async with self:
                if wanted == self._wanted():
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


def _look(actor: User, wanted: dict[str, Any]) -> tuple[dict[str, Any], tuple[list[NoticeRow], int]]:
    return wanted, _page(actor, wanted)


def _page(actor: User, wanted: dict[str, Any]) -> tuple[list[NoticeRow], int]:
    with db.read() as session:
        found, total = notifications.list_notifications(
            session, actor=actor, **parsed(wanted, kind=NoticeKind)
        )
    return [notice_row(notice) for notice in found], total


def _mark(actor: User, ids: list[str] | None) -> None:
    with db.write() as session:
        notifications.mark_read(session, actor=actor, ids=ids)
