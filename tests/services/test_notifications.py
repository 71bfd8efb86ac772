"""Notifications: read by their owner only, newest first, and told with what made them true."""

from datetime import timedelta

import pytest
from sqlmodel import Session

from qlora_studio.contracts.notices import NoticeKind
from qlora_studio.core import bell
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db import notices
from qlora_studio.db.models import Notification, User
from qlora_studio.services import notifications


def tell(
    session: Session, user: User, title: str, kind: NoticeKind = NoticeKind.JOB_SUCCEEDED
) -> Notification:
    made = notices.add(session, user_id=user.id, kind=kind, title=title, href="/training/job_1")
    session.commit()
    return made


def titles(session: Session, user: User, **wanted: object) -> list[str]:
    found, total = notifications.list_notifications(session, actor=user, **wanted)  # type: ignore[arg-type]
    assert total >= len(found)
    return [notice.title for notice in found]


def test_what_was_told_is_listed_newest_first_searched_and_filtered(session: Session, user: User) -> None:
    for n in range(3):
        made = tell(session, user, f"run {n}", NoticeKind.JOB_FAILED if n == 1 else NoticeKind.JOB_SUCCEEDED)
        made.created_at = utc_now() + timedelta(seconds=n)
        session.commit()
    assert titles(session, user) == ["run 2", "run 1", "run 0"]
    assert titles(session, user, page=2, page_size=2) == ["run 0"]
    assert titles(session, user, query="RUN 1") == ["run 1"]
    assert titles(session, user, query="%") == []
    assert titles(session, user, kind=NoticeKind.JOB_FAILED) == ["run 1"]
    with pytest.raises(InvalidInput):
        titles(session, user, sort="password")


def test_reading_is_for_the_owner_only(session: Session, user: User, stranger: User) -> None:
    mine, theirs = tell(session, user, "mine"), tell(session, stranger, "theirs")
    assert titles(session, user) == ["mine"]
    assert notifications.mark_read(session, actor=user, ids=[mine.id, theirs.id, "ntf_nothing"]) == 1
    assert notifications.mark_read(session, actor=user, ids=[mine.id]) == 0
    assert notifications.mark_read(session, actor=user, ids=[]) == 0
    session.commit()
    assert notifications.count_unread(session, actor=user) == 0
    assert notifications.count_unread(session, actor=stranger) == 1
    assert (titles(session, user, status="unread"), titles(session, user, status="read")) == ([], ["mine"])


def test_all_at_once_and_other_tabs_hear_of_it(session: Session, user: User) -> None:
    for n in range(3):
        tell(session, user, f"run {n}")
    before = bell.read(user.id)
    assert notifications.mark_read(session, actor=user) == 3
    assert bell.read(user.id) == before, "not before it is on disk"
    session.commit()
    assert bell.read(user.id) != before


@pytest.mark.parametrize(
    "href", ["https://evil.example/", "//evil.example", "javascript:alert(1)", "training", "/a b", "/\\evil"]
)
def test_a_link_leads_nowhere_else(session: Session, user: User, href: str) -> None:
    with pytest.raises(ValueError, match="path of this site"):
        notices.add(session, user_id=user.id, kind=NoticeKind.JOB_FAILED, title="x", href=href)


def test_what_is_old_goes(session: Session, user: User) -> None:
    old, _ = tell(session, user, "old"), tell(session, user, "new")
    old.created_at = utc_now() - timedelta(days=notifications.KEPT_DAYS, minutes=1)
    session.commit()
    assert notifications.prune(session) == 1
    assert titles(session, user) == ["new"]
