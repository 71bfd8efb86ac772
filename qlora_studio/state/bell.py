"""The bell in the top bar: how much is unread, the newest of it, live in every tab."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import reflex as rx

from qlora_studio.contracts.notices import NoticeKind
from qlora_studio.core import bell
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import NotAuthenticated, StudioError
from qlora_studio.db import engine as db
from qlora_studio.db.models import Notification, User
from qlora_studio.services import notifications
from qlora_studio.state import formats
from qlora_studio.state.auth import authorized, require_session
from qlora_studio.state.watching import Watch

SHOWN = 12
LOOK_EVERY_S = 1.0
ANYWAY_EVERY_S = 60.0  # relative times grow old, and news may come from a process on another machine
_FRESH = timedelta(minutes=10)
T = TypeVar("T")
_TONES = {
    NoticeKind.JOB_SUCCEEDED: "success",
    NoticeKind.DATASET_READY: "success",
    NoticeKind.PUSH_SUCCEEDED: "success",
    NoticeKind.JOB_FAILED: "danger",
    NoticeKind.JOB_LOST: "danger",
    NoticeKind.DATASET_FAILED: "danger",
    NoticeKind.PUSH_FAILED: "danger",
}


@dataclass(frozen=True)
class NoticeRow:
    """One notification. `tone` is success, danger or neutral; `is_fresh` means that it is minutes old."""

    id: str
    kind: str
    tone: str
    title: str
    body: str
    href: str
    relative: str
    exact: str
    is_unread: bool
    is_fresh: bool


class BellState(rx.State):
    """What the bell shows. Each page's watcher looks at one file's time, once a second."""

    _watch_id: int = 0
    owner: str = ""
    n_unread: int = 0
    badge: str = ""
    rows: list[NoticeRow] = []

    @rx.event(background=True)
    @authorized()
    async def watch(self, actor: User):
        """Show the bell, then ring without a reload. Whose session has ended is told nothing more."""
        async for rows, n_unread in news(self, actor, lambda: _read(actor)):
            async with self:
                self._show(actor.id, rows, n_unread)

    @rx.event
    @authorized()
    async def read_one(self, actor: User, notice_id: str):
        """Mark one as read, as it is opened."""
        self._show(actor.id, *await asyncio.to_thread(_mark, actor, [notice_id]))

    @rx.event
    @authorized()
    async def read_all(self, actor: User):
        """Mark everything as read."""
        self._show(actor.id, *await asyncio.to_thread(_mark, actor, None))

    def _show(self, owner: str, rows: list[NoticeRow], n_unread: int) -> None:
        self.owner, self.rows, self.n_unread = owner, rows, n_unread
        self.badge = "" if not n_unread else str(n_unread) if n_unread < 100 else "99+"


async def news(state: Any, actor: User, read: Callable[[], T]) -> AsyncIterator[T]:
    """Yield what `read` finds: at once, whenever the actor's bell has rung, and once a minute anyway.

    Ends with the tab, with the session, and when a newer watcher of the same state takes over.

    Args:
        state: the page's, with a `_watch_id` as `Watch` needs it.
        read: called in a thread. While the database is busy the next look is waited for.
    """
    watch = Watch(state, session_every_s=ANYWAY_EVERY_S)
    await watch.take_over()
    seen, looked_at = -1, 0.0  # what came between a page's `load` and here is shown, too
    while await watch.goes_on(every_s=LOOK_EVERY_S):
        stamp = bell.read(actor.id)
        if stamp == seen and time.monotonic() - looked_at < ANYWAY_EVERY_S:
            continue
        seen, looked_at = stamp, time.monotonic()
        try:
            await require_session(state)
            found = await asyncio.to_thread(read)
        except NotAuthenticated:
            return
        except StudioError:
            seen = -1
            continue
        yield found


def notice_row(notice: Notification) -> NoticeRow:
    """Return a notification as a line of the panel or the list."""
    at = formats.when(notice.created_at)
    known = notice.kind in set(NoticeKind)
    return NoticeRow(
        id=notice.id,
        kind=notice.kind,
        tone=_TONES.get(NoticeKind(notice.kind), "neutral") if known else "neutral",
        title=notice.title,
        body=notice.body,
        href=notice.href or "/notifications",
        relative=at.relative,
        exact=at.exact,
        is_unread=notice.read_at is None,
        is_fresh=notice.read_at is None and utc_now() - notice.created_at < _FRESH,
    )


def _read(actor: User) -> tuple[list[NoticeRow], int]:
    with db.read() as session:
        found, _ = notifications.list_notifications(session, actor=actor, page_size=SHOWN)
        return [notice_row(notice) for notice in found], notifications.count_unread(session, actor=actor)


def _mark(actor: User, ids: list[str] | None) -> tuple[list[NoticeRow], int]:
    with db.write() as session:
        notifications.mark_read(session, actor=actor, ids=ids)
    return _read(actor)
