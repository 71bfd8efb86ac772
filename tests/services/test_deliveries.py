"""The sender: each notification arrives, no slow server holds up others, what died is taken up."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from sqlmodel import Session, select

from qlora_studio.contracts.enums import Role
from qlora_studio.contracts.notices import ChannelKind, DeliveryStatus, NoticeKind
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import Forbidden, NotFound, TooManyTries
from qlora_studio.core.settings import get_settings
from qlora_studio.db import notices
from qlora_studio.db.engine import read, write
from qlora_studio.db.models import Delivery, MailSent, Notification, NotificationChannel, User
from qlora_studio.services import deliveries, mail, mail_allowance, notifications, webhooks
from qlora_studio.services import notification_channels as channels
from qlora_studio.services.deliveries import Sender
from qlora_studio.services.delivery_errors import NotDelivered
from qlora_studio.services.notification_channels import WebhookCreate

Sent = list[tuple[str, str]]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """What went out, as (address, notification)."""
    kept: Sent = []

    def post(url: str, *, secret: str, message_id: str, payload: dict) -> None:
        assert secret.startswith("whsec_")
        json.dumps(payload)
        kept.append((url, payload["data"]["title"]))

    monkeypatch.setattr(webhooks, "send", post)
    return kept


@pytest.fixture
def sender() -> Iterator[Sender]:
    made = Sender()
    yield made
    made.stop()


def hook(session: Session, user: User, name: str = "a") -> str:
    form = WebhookCreate(kind="webhook", target=f"https://hooks.example/{name}")
    made = channels.create(session, actor=user, form=form)
    session.commit()
    return made.channel.id


def mailbox(session: Session, user: User) -> str:
    made = NotificationChannel(user_id=user.id, kind=ChannelKind.EMAIL.value)
    session.add(made)
    session.commit()
    return made.id


def tell(session: Session, user: User, title: str = "news", href: str = "") -> str:
    kind = NoticeKind.JOB_FAILED
    made = notices.add(session, user_id=user.id, kind=kind, title=title, href=href)
    session.commit()
    return made.id


def states() -> list[str]:
    with read() as session:
        return [row.status for row in session.exec(select(Delivery).order_by(Delivery.next_at))]  # type: ignore[arg-type]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def let_time_pass(session: Session) -> None:
    """As if every wait were over."""
    with write() as other:
        for row in other.exec(select(Delivery)):
            row.next_at = utc_now() - timedelta(seconds=1)
            other.add(row)
    session.expire_all()


def fail_with(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> list[str]:
    tried: list[str] = []

    def post(url: str, **_: object) -> None:
        tried.append(url)
        raise failure

    monkeypatch.setattr(webhooks, "send", post)
    return tried


def test_each_channel_gets_each_notification_once(
    session: Session, user: User, stranger: User, sent: Sent, sender: Sender
) -> None:
    for person, name in ((user, "a"), (user, "b"), (stranger, "c")):
        hook(session, person, name)
    for title in ("one", "two"):
        tell(session, user, title)
    sender.finish(within_s=10)
    assert sorted(sent) == [(f"https://hooks.example/{n}", t) for n in "ab" for t in ("one", "two")]
    assert states() == [DeliveryStatus.DELIVERED] * 4
    assert sender.look() == 0


def test_a_thread_of_its_own_sends_soon_and_stops_at_once(
    session: Session, user: User, sent: Sent, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "LOOK_EVERY_S", 0.02)
    hook(session, user)
    sender.start()
    tell(session, user)
    until(lambda: len(sent) == 1)
    began = time.monotonic()
    sender.stop()
    assert time.monotonic() - began < 1


def test_two_senders_send_it_once(session: Session, user: User, sent: Sent) -> None:
    for n in range(4):
        hook(session, user, str(n))
    for n in range(5):
        tell(session, user, str(n))
    senders = [threading.Thread(target=Sender().finish, args=(10,)) for _ in range(3)]
    for thread in senders:
        thread.start()
    for thread in senders:
        thread.join()
    until(lambda: set(states()) == {DeliveryStatus.DELIVERED.value})
    assert len(sent) == len(set(sent)) == 20


def test_a_slow_server_holds_up_nobody_else(
    session: Session, user: User, stranger: User, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go, quick = threading.Event(), threading.Event()

    def post(url: str, **_: object) -> None:
        if "slow" in url:
            let_go.wait(20)
        else:
            quick.set()

    monkeypatch.setattr(webhooks, "send", post)
    for n in range(5):
        hook(session, user, f"slow{n}")
    hook(session, stranger, "quick")
    for person in (user, user, stranger):
        tell(session, person)
    try:
        assert sender.look() == deliveries.AT_ONCE_PER_PERSON + 1
        assert quick.wait(10)
        until(lambda: len(sender._busy) == deliveries.AT_ONCE_PER_PERSON)
        assert sender.look() == 0
    finally:
        let_go.set()


def test_what_a_dead_sender_had_taken_is_sent_by_the_next(
    session: Session, user: User, sent: Sent, sender: Sender
) -> None:
    hook(session, user)
    tell(session, user)
    assert len(Sender()._claim()) == 1  # and its process dies here
    assert sender.look() == 0, "it is the other one's, for a while"
    let_time_pass(session)
    sender.finish(within_s=10)
    assert len(sent) == 1
    assert states() == [DeliveryStatus.DELIVERED]


def test_it_is_tried_again_later_and_later_and_then_given_up(
    session: Session, user: User, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = fail_with(monkeypatch, NotDelivered("The server is busy."))
    channel_id = hook(session, user)
    tell(session, user)
    waits = []
    while len(tried) < 20:
        sender.finish(within_s=10)
        with read() as other:
            row = other.exec(select(Delivery)).one()
        if row.status == DeliveryStatus.FAILED:
            break
        waits.append(round((row.next_at - utc_now()).total_seconds()))
        let_time_pass(session)
    assert len(tried) == len(deliveries.WAITS_S) + 1
    assert waits == pytest.approx(deliveries.WAITS_S, abs=5)
    with read() as other:
        channel = other.get_one(NotificationChannel, channel_id)
    assert (channel.is_on, channel.last_error, channel.n_failures) == (
        True,
        "The server is busy.",
        len(tried),
    )


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_channel_that_nothing_arrives_over_is_switched_off_and_says_so(
    session: Session, user: User, sender: Sender, monkeypatch: pytest.MonkeyPatch, is_gone: bool
) -> None:
    fail_with(monkeypatch, NotDelivered("The server refused it.", is_final=True, is_gone=is_gone))
    monkeypatch.setattr(deliveries, "OFF_AFTER", 3)
    channel_id = hook(session, user)
    for n in range(5):
        tell(session, user, str(n))
    sender.finish(within_s=10)
    with read() as other:
        assert not other.get_one(NotificationChannel, channel_id).is_on
        news = other.exec(select(Notification).where(Notification.kind == NoticeKind.CHANNEL_OFF)).all()
    assert [n.body for n in news] == [
        "The server refused it. Put it right, send a test, and switch it on again."
    ]
    assert set(states()) == {DeliveryStatus.FAILED.value}, "and nothing of it waits for ever"


def test_a_bug_in_one_try_is_no_end_of_the_others(
    session: Session, user: User, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(monkeypatch, RuntimeError("secret detail"))
    channel_id = hook(session, user)
    tell(session, user)
    sender.finish(within_s=10)
    with read() as other:
        assert "secret" not in other.get_one(NotificationChannel, channel_id).last_error
    assert states() == [DeliveryStatus.WAITING]


def test_mail_goes_to_the_address_that_the_account_has_then(
    session: Session, user: User, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[tuple[str, str]] = []
    monkeypatch.setattr(mail, "send", lambda to, *, url, **_: got.append((to, url)))
    session.add(NotificationChannel(user_id=user.id, kind=ChannelKind.EMAIL.value))
    notices.add(session, user_id=user.id, kind=NoticeKind.JOB_LOST, title="x", href="/training/job_1")
    user.email = "new@example.org"
    session.add(user)
    session.commit()
    sender.finish(within_s=10)
    assert got == [("new@example.org", "http://localhost:3000/training/job_1")]


def test_a_test_says_whether_it_arrived_and_shows_in_no_bell(
    session: Session, user: User, stranger: User, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel_id = hook(session, user)
    assert deliveries.send_test(actor=user, channel_id=channel_id) == ""
    assert [title for _, title in sent] == ["A test of QLoRA Studio"]
    with pytest.raises(TooManyTries):
        deliveries.send_test(actor=user, channel_id=channel_id)
    with pytest.raises(NotFound):
        deliveries.send_test(actor=stranger, channel_id=channel_id)
    monkeypatch.setattr(deliveries, "TEST_EVERY_S", 0)
    fail_with(monkeypatch, NotDelivered("The server can't be reached."))
    assert deliveries.send_test(actor=user, channel_id=channel_id) == "The server can't be reached."
    session.expire_all()
    assert session.get_one(NotificationChannel, channel_id).last_error == "The server can't be reached."
    assert notifications.count_unread(session, actor=user) == 0


def test_a_command_sends_what_its_own_job_tells_and_leaves_the_rest_to_a_server(
    session: Session, user: User, stranger: User, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailed: list[str] = []
    monkeypatch.setattr(mail, "send", lambda to, **_: mailed.append(to))
    for person in (user, stranger):
        hook(session, person, person.username)
        mailbox(session, person)
    for person, page in ((user, "/training/job_1"), (user, "/training/job_2"), (stranger, "/training/job_3")):
        tell(session, person, page, href=page)
    Sender(pages={"/training/job_1"}).finish(within_s=10)
    assert ([title for _, title in sent], mailed) == (["/training/job_1"], []), "it knows no mail server"
    with read() as other:
        assert sorted(row.n_tries for row in other.exec(select(Delivery))) == [0, 0, 0, 0, 0, 1]
    monkeypatch.setenv("QLORA_STUDIO_SMTP_HOST", "mail.example")
    monkeypatch.setenv("QLORA_STUDIO_SMTP_FROM", "studio@example.org")
    get_settings.cache_clear()
    Sender(pages={"/training/job_1"}).finish(within_s=10)
    assert (len(sent), mailed) == (1, [user.email])
    Sender().finish(within_s=10)
    assert (len(sent), len(mailed)) == (3, 3)


@pytest.mark.parametrize("failure", [None, NotDelivered("The server broke off.", is_gone=True)])
def test_a_late_sender_does_not_overrule_the_one_that_has_taken_over(
    session: Session, user: User, sender: Sender, failure: NotDelivered | None
) -> None:
    channel_id = hook(session, user)
    tell(session, user)
    (late,) = Sender()._claim()
    let_time_pass(session)
    (newer,) = sender._claim()
    with write() as other:
        deliveries.settle(other, late, failure)
    assert states() == [DeliveryStatus.SENDING]
    with read() as other:
        assert other.get_one(NotificationChannel, channel_id).is_on
    with write() as other:
        deliveries.settle(other, newer, None)
        deliveries.settle(other, late, failure)
    assert states() == [DeliveryStatus.DELIVERED]


def test_one_account_gets_so_many_mails_a_day_whatever_it_does_with_the_channel(
    session: Session, user: User, stranger: User, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailed: list[str] = []
    monkeypatch.setattr(mail, "send", lambda to, **_: mailed.append(to))
    monkeypatch.setattr(mail_allowance, "PER_DAY", 2)
    mailbox(session, stranger)
    for _ in range(3):
        channel_id = mailbox(session, user)
        tell(session, user)
        sender.finish(within_s=10)
        with read() as other:
            error = other.get_one(NotificationChannel, channel_id).last_error
        if len(mailed) < 2 or not error:
            channels.delete(session, actor=user, channel_id=channel_id)
            session.commit()
    assert mailed == [user.email] * 2
    assert error == mail_allowance.USED_UP
    assert states() == [DeliveryStatus.FAILED], "and the bell has it"
    tell(session, stranger)
    sender.finish(within_s=10)
    assert mailed[2:] == [stranger.email]
    with write() as other:
        for row in other.exec(select(MailSent)):
            row.at -= timedelta(days=1)
            other.add(row)
    tell(session, user)
    sender.finish(within_s=10)
    assert mailed[3:] == [user.email], "the channel is neither off nor blocked"
    with write() as other:
        mail_allowance.prune(other)
    with read() as other:
        assert len(other.exec(select(MailSent)).all()) == 1


def test_a_test_is_mailed_once_in_a_while_unless_it_failed(
    session: Session, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "TEST_EVERY_S", 0)
    channel_id = mailbox(session, user)
    for _ in range(2):
        assert "no SMTP server" in deliveries.send_test(actor=user, channel_id=channel_id)
    monkeypatch.setattr(mail, "send", lambda *_, **__: None)
    assert deliveries.send_test(actor=user, channel_id=channel_id) == ""
    channels.delete(session, actor=user, channel_id=channel_id)
    session.commit()
    channel_id = mailbox(session, user)
    with pytest.raises(TooManyTries, match="in 5 min") as raised:
        deliveries.send_test(actor=user, channel_id=channel_id)
    assert raised.value.retry_after_s == pytest.approx(mail_allowance.TEST_EVERY_S, abs=5)


def test_who_may_use_webhooks_no_more_is_sent_none(
    session: Session, user: User, sent: Sent, sender: Sender
) -> None:
    channel_id = hook(session, user)
    tell(session, user)
    user.role = Role.VIEWER
    session.add(user)
    session.commit()
    with pytest.raises(Forbidden):
        deliveries.send_test(actor=user, channel_id=channel_id)
    sender.finish(within_s=10)
    assert (sent, states()) == ([], [DeliveryStatus.FAILED])
    with read() as other:
        assert "trainer role" in other.get_one(NotificationChannel, channel_id).last_error
    user.role = Role.TRAINER
    session.add(user)
    session.commit()
    tell(session, user)
    sender.finish(within_s=10)
    assert len(sent) == 1
