"""The bell and the list behind it."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from sqlmodel import Session, delete

from qlora_studio.contracts.notices import NoticeKind
from qlora_studio.db import engine as db
from qlora_studio.db import notices
from qlora_studio.db.models import AuthSession, User
from qlora_studio.services import notifications
from qlora_studio.state import bell
from qlora_studio.state.bell import BellState
from qlora_studio.state.notifications import NotificationsState
from tests.state.calling import Opener, SlowReading, call


def tell(session: Session, user: User, title: str, kind: NoticeKind = NoticeKind.JOB_SUCCEEDED) -> str:
    made = notices.add(
        session, user_id=user.id, kind=kind, title=title, body="WER 40.0 %.", href="/training/job_1"
    )
    session.commit()
    return made.id


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    async def enter(self: Any) -> Any:
        return self

    async def leave(self: Any, *_: object) -> None:
        return None

    for state in (BellState, NotificationsState):
        monkeypatch.setattr(state, "__aenter__", enter)
        monkeypatch.setattr(state, "__aexit__", leave)
    monkeypatch.setattr(bell, "LOOK_EVERY_S", 0.01)


async def test_the_bell_rings_by_itself_and_is_read(
    quick: None, opened: Opener, session: Session, user: User, stranger: User
) -> None:
    state = opened(BellState)
    watching = asyncio.create_task(call(state, "watch"))
    await until(lambda: state.owner == user.id)
    assert (state.n_unread, state.badge, state.rows) == (0, "", [])
    tell(session, stranger, "theirs")
    first = tell(session, user, "first", NoticeKind.JOB_FAILED)
    await until(lambda: state.n_unread == 1)
    (row,) = state.rows
    assert (row.title, row.tone, row.href, row.relative) == ("first", "danger", "/training/job_1", "just now")
    assert (row.is_unread, row.is_fresh) == (True, True)
    tell(session, user, "second")
    await until(lambda: state.badge == "2")
    await call(state, "read_one", notice_id=first)
    assert [(r.title, r.is_unread, r.is_fresh) for r in state.rows] == [
        ("second", True, True),
        ("first", False, False),
    ]
    await call(state, "read_all")
    assert (state.n_unread, state.badge) == (0, "")
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching


async def test_a_busy_database_makes_the_bell_late_not_silent(
    quick: None, opened: Opener, session: Session, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = [db.DatabaseBusy("busy")] * 2
    read = bell._read

    def read_in_the_end(actor: User) -> Any:
        if busy:
            raise busy.pop()
        return read(actor)

    monkeypatch.setattr(bell, "_read", read_in_the_end)
    tell(session, user, "first")
    state = opened(BellState)
    watching = asyncio.create_task(call(state, "watch"))
    await until(lambda: state.n_unread == 1)
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching


async def test_after_a_log_out_nothing_more_is_told(
    quick: None, opened: Opener, session: Session, user: User
) -> None:
    state = opened(BellState)
    watching = asyncio.create_task(call(state, "watch"))
    await until(lambda: state.owner == user.id)
    with db.write() as other:
        other.exec(delete(AuthSession))
    tell(session, user, "secret")
    async with asyncio.timeout(10):
        await watching
    assert state.rows == []


async def test_the_list_misses_nothing_that_came_as_it_was_opened_nor_what_rang_no_bell(
    quick: None, opened: Opener, session: Session, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = opened(NotificationsState)
    await call(state, "load")
    tell(session, user, "first")
    monkeypatch.setattr(bell, "ANYWAY_EVERY_S", 0.05)
    watching = asyncio.create_task(call(state, "watch"))
    await until(lambda: [row.title for row in state.rows] == ["first"])
    monkeypatch.setattr("qlora_studio.core.bell.ring", lambda _: None)
    tell(session, user, "second")
    await until(lambda: [row.title for row in state.rows] == ["second", "first"])
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching


async def test_what_was_read_for_another_address_is_not_shown(
    quick: None, opened: Opener, session: Session, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(session, user, "first")
    state = opened(NotificationsState, {"query": "no such thing"})
    await call(state, "load")
    slow = SlowReading(notifications, "list_notifications", monkeypatch)
    watch = await slow.begin_watch(state)
    state.router.url.query_parameters = {}
    assert await call(state, "load"), "a watch begins after it, never beside it"
    slow.may_end()
    await asyncio.sleep(0)
    state._watch_id += 1  # as a reloaded page takes over
    await watch
    assert [row.title for row in state.rows] == ["first"]


async def test_the_list_is_filtered_by_the_address_and_marks_as_read(
    opened: Opener, session: Session, user: User
) -> None:
    first = tell(session, user, "first")
    tell(session, user, "second", NoticeKind.JOB_FAILED)
    state = opened(NotificationsState, {"status": "unread", "kind": "job_succeeded"})
    await call(state, "load")
    assert ([row.title for row in state.rows], state.total, state.is_loading) == (["first"], 1, False)
    await call(state, "read_one", notice_id=first)
    assert state.rows == []
    state = opened(NotificationsState, {"kind": "gossip"})
    await call(state, "load")
    assert state.total == 2, "an odd word filters nothing"
    await call(state, "read_all")
    assert not any(row.is_unread for row in state.rows)
