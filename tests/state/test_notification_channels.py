"""The settings of notifications."""

import json
from typing import Any

import pytest
from sqlmodel import Session, select

from qlora_studio.contracts.notices import TOPICS, NoticeKind
from qlora_studio.core.settings import get_settings
from qlora_studio.db.models import NotificationChannel, User
from qlora_studio.services import deliveries, webhooks
from qlora_studio.services import notification_channels as channels
from qlora_studio.services.delivery_errors import NotDelivered
from qlora_studio.services.notification_channels import WebhookCreate
from qlora_studio.state.notification_channels import ChannelsState
from tests.state.calling import Opener, call

URL = "https://hooks.example/x"


async def page(opened: Opener) -> Any:
    state = opened(ChannelsState)
    await call(state, "load")
    return state


def stored(session: Session) -> list[NotificationChannel]:
    session.rollback()
    session.expire_all()
    return list(session.exec(select(NotificationChannel)).all())


def test_everything_that_is_told_can_be_chosen() -> None:
    chosen = [kind for _, kinds in TOPICS.values() for kind in kinds]
    assert sorted(chosen) == sorted(NoticeKind)


async def test_a_webhook_is_added_and_its_secret_forgotten(opened: Opener, session: Session) -> None:
    state = await page(opened)
    await call(state, "add", form={"target": URL})
    assert stored(session) == [], "only the open form adds"
    await call(state, "ask_add")
    await call(state, "add", form={"target": URL})
    await call(state, "add", form={"target": "https://hooks.example/twice"})
    assert (state.dialog, state.has_webhook, state.is_sending) == ("secret", True, False)
    assert [(row.name, row.is_on, row.status) for row in state.rows] == [(URL, True, "Nothing sent yet")]
    secret = state.secret
    assert secret.startswith("whsec_")
    await call(state, "close")
    assert secret not in json.dumps(state.dict(), default=str)
    assert len(stored(session)) == 1


@pytest.mark.parametrize("target", ["", "nonsense", "http://10.0.0.1/", "https://hooks.example:22/", None])
async def test_a_wrong_address_is_marked(opened: Opener, session: Session, target: str | None) -> None:
    state = await page(opened)
    await call(state, "ask_add")
    await call(state, "add", form={"target": target})
    assert set(state.field_errors) == {"target"}
    assert (state.dialog, state.is_sending) == ("add", False)
    assert stored(session) == []


async def test_what_is_told_over_it_is_chosen(opened: Opener, session: Session, user: User) -> None:
    made = channels.create(session, actor=user, form=WebhookCreate(kind="webhook", target=URL))
    session.commit()
    state = await page(opened)
    await call(state, "set_topic", channel_id=made.channel.id, topic="finished", is_wanted=False)
    (row,) = stored(session)
    assert set(row.kinds) == {kind.value for kind in NoticeKind} - {"job_succeeded"}
    assert state.rows[0].topics == [name for name in TOPICS if name != "finished"]
    await call(state, "set_topic", channel_id=made.channel.id, topic="finished", is_wanted=True)
    assert stored(session)[0].kinds == [], "all, those that come later too"
    for name in TOPICS:
        said = await call(state, "set_topic", channel_id=made.channel.id, topic=name, is_wanted=False)
    assert "Leave one thing" in "".join(said)
    await call(state, "set_on", channel_id=made.channel.id, is_on=False)
    assert not stored(session)[0].is_on
    await call(state, "ask_delete", row_id=made.channel.id)
    assert state.deleting_name == URL
    await call(state, "delete")
    assert stored(session) == []


async def test_a_strangers_channel_can_not_be_touched(
    opened: Opener, session: Session, stranger: User
) -> None:
    theirs = channels.create(session, actor=stranger, form=WebhookCreate(kind="webhook", target=URL))
    session.commit()
    state = await page(opened)
    assert state.rows == []
    for handler, arguments in (
        ("set_on", {"is_on": False}),
        ("set_topic", {"topic": "finished", "is_wanted": False}),
        ("test", {}),
    ):
        said = await call(state, handler, channel_id=theirs.channel.id, **arguments)
        assert "no such channel" in "".join(said)
    state.deleting_id = theirs.channel.id
    await call(state, "delete")
    (row,) = stored(session)
    assert (row.is_on, row.kinds) == (True, [])


async def test_a_test_tells_how_it_went(
    opened: Opener, session: Session, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = channels.create(session, actor=user, form=WebhookCreate(kind="webhook", target=URL))
    session.commit()
    state = await page(opened)
    monkeypatch.setattr(webhooks, "send", lambda *_, **__: None)
    assert "The test arrived" in "".join(await call(state, "test", channel_id=made.channel.id))
    assert state.rows[0].status == "Sent just now"

    def refuse(*_: object, **__: object) -> None:
        raise NotDelivered("The server can't be reached.")

    monkeypatch.setattr(webhooks, "send", refuse)
    monkeypatch.setattr(deliveries, "TEST_EVERY_S", 0)
    assert "can't be reached" in "".join(await call(state, "test", channel_id=made.channel.id))
    assert (state.rows[0].is_failing, state.testing_id) == (True, "")


async def test_mail_is_a_switch_where_there_is_a_mail_server(
    opened: Opener, session: Session, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = await page(opened)
    assert not state.can_email
    assert "QLORA_STUDIO_SMTP_HOST" in "".join(await call(state, "set_email", is_on=True))
    monkeypatch.setenv("QLORA_STUDIO_SMTP_HOST", "mail.example")
    monkeypatch.setenv("QLORA_STUDIO_SMTP_FROM", "studio@example.org")
    get_settings.cache_clear()
    for is_on in (True, True, False, True):
        await call(state, "set_email", is_on=is_on)
        assert state.has_email_on is is_on
    assert (state.can_email, state.email, len(stored(session))) == (True, user.email, 1)
