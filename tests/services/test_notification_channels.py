"""Ways to be told: made, changed and removed by their owner, with a secret that is told once."""

import json

import pytest
from pydantic import TypeAdapter, ValidationError
from sqlmodel import Session, select

from qlora_studio.contracts.enums import Role
from qlora_studio.contracts.notices import DeliveryStatus, NoticeKind
from qlora_studio.core import secrets
from qlora_studio.core.errors import Conflict, Forbidden, NotFound, TooLarge, Unavailable
from qlora_studio.core.settings import get_settings
from qlora_studio.db import notices
from qlora_studio.db.models import Delivery, NotificationChannel, User
from qlora_studio.db.models.audit import AuditEvent
from qlora_studio.services import notification_channels as channels
from qlora_studio.services.notification_channels import (
    ChannelCreate,
    ChannelUpdate,
    EmailCreate,
    Made,
    WebhookCreate,
)
from tests.conftest import make_user


def add(session: Session, user: User, target: str = "https://hooks.example/zirconium") -> Made:
    made = channels.create(session, actor=user, form=WebhookCreate(kind="webhook", target=target))
    session.commit()
    return made


def test_the_secret_is_told_once_and_kept_sealed(session: Session, user: User) -> None:
    made = add(session, user)
    assert made.secret.startswith("whsec_")
    row = session.exec(select(NotificationChannel)).one()
    assert made.secret not in str(row)
    assert secrets.unseal(row.ciphertext) == made.secret
    assert made.secret not in channels.public(row, actor=user).model_dump_json()
    log = json.dumps([event.model_dump(mode="json") for event in session.exec(select(AuditEvent))])
    assert "channel.create" in log
    assert made.secret not in log
    assert "zirconium" not in log, "a chat's address holds its token"


def test_a_channel_is_changed_and_removed_by_its_owner_only(
    session: Session, user: User, stranger: User
) -> None:
    mine = add(session, user).channel
    for call in (
        lambda: channels.change(session, actor=stranger, channel_id=mine.id, form=ChannelUpdate(is_on=False)),
        lambda: channels.delete(session, actor=stranger, channel_id=mine.id),
        lambda: channels.get_channel(session, actor=stranger, channel_id=mine.id),
    ):
        with pytest.raises(NotFound):
            call()
    assert channels.list_channels(session, actor=stranger) == []
    form = ChannelUpdate(kinds=[NoticeKind.JOB_FAILED])
    changed = channels.change(session, actor=user, channel_id=mine.id, form=form)
    assert (changed.kinds, changed.is_on) == (["job_failed"], True)
    channels.delete(session, actor=user, channel_id=mine.id)
    session.commit()
    assert channels.list_channels(session, actor=user) == []


def test_what_waits_is_not_sent_over_a_channel_that_is_switched_off(session: Session, user: User) -> None:
    channel = add(session, user).channel
    notices.add(session, user_id=user.id, kind=NoticeKind.JOB_FAILED, title="x")
    channels.change(session, actor=user, channel_id=channel.id, form=ChannelUpdate(is_on=False))
    session.commit()
    assert [d.status for d in session.exec(select(Delivery))] == [DeliveryStatus.FAILED.value]
    notices.add(session, user_id=user.id, kind=NoticeKind.JOB_FAILED, title="y")
    session.commit()
    assert len(session.exec(select(Delivery)).all()) == 1


def test_there_are_bounds(session: Session, user: User) -> None:
    with pytest.raises(Forbidden):
        add(session, make_user(session, "viola", Role.VIEWER))
    for n in range(channels.MAX_PER_USER):
        add(session, user, f"https://hooks.example/{n}")
    with pytest.raises(TooLarge):
        add(session, user, "https://hooks.example/more")


def test_who_became_a_viewer_can_only_switch_a_webhook_off_or_remove_it(session: Session, user: User) -> None:
    mine = add(session, user).channel
    user.role = Role.VIEWER
    for form in (ChannelUpdate(is_on=True), ChannelUpdate(kinds=[NoticeKind.JOB_FAILED])):
        with pytest.raises(Forbidden):
            channels.change(session, actor=user, channel_id=mine.id, form=form)
    off = ChannelUpdate(is_on=False)
    assert not channels.change(session, actor=user, channel_id=mine.id, form=off).is_on
    channels.delete(session, actor=user, channel_id=mine.id)


def test_the_same_address_twice_is_one_too_many(session: Session, user: User) -> None:
    add(session, user)
    with pytest.raises(Conflict):
        add(session, user)


def test_mail_goes_to_ones_own_address_where_there_is_a_mail_server(
    session: Session, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = EmailCreate(kind="email")
    with pytest.raises(Unavailable):
        channels.create(session, actor=user, form=form)
    monkeypatch.setenv("QLORA_STUDIO_SMTP_HOST", "mail.example")
    monkeypatch.setenv("QLORA_STUDIO_SMTP_FROM", "studio@example.org")
    get_settings.cache_clear()
    made = channels.create(session, actor=user, form=form)
    assert (made.secret, channels.public(made.channel, actor=user).target) == ("", user.email)
    with pytest.raises(ValidationError):
        TypeAdapter(ChannelCreate).validate_python({"kind": "email", "target": "other@example.org"})
