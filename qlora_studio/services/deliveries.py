"""The sender: brings notifications to people's channels, in the background of a server or a command.

Several processes may send from one database. A delivery is claimed by compare-and-set for `CLAIM_S` seconds;
whoever dies in between loses its claim, and another one sends it: at least once, with the same id each time.
What a late sender finds out is not written down once another one has claimed its delivery.
Each channel is sent one thing at a time, in a thread of its own, so that no slow server holds up another.
"""

import logging
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, update
from sqlmodel import Session, col, select

from qlora_studio.contracts.notices import ChannelKind, DeliveryStatus, NoticeKind
from qlora_studio.core import secrets
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import TooManyTries
from qlora_studio.core.secrets import SecretLost
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db
from qlora_studio.db import notices
from qlora_studio.db.models import Delivery, MailSent, Notification, NotificationChannel, User
from qlora_studio.services import mail, mail_allowance, notification_channels, notifications, webhooks
from qlora_studio.services.delivery_errors import NotDelivered

LOOK_EVERY_S = 1.0
CLAIM_S = 120.0  # longer than a try may take
AT_ONCE, AT_ONCE_PER_PERSON = 8, 2
WAITS_S = (30, 120, 600, 1800, 3600, 7200, 14_400)  # before the second try and so on: over seven hours
OFF_AFTER = 24  # tries that failed one after another
PRUNE_EVERY_S = 3600.0
TEST, TEST_EVERY_S = "test", 3.0
Conditions = list[ColumnElement[bool]]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parcel:
    """One notification for one channel, with everything that sending it takes and no database.

    `n_tries` tells this try from those of other senders.
    """

    notice: Notification
    channel: NotificationChannel
    email: str
    n_tries: int = 0


class Sender:
    """Sends what is due. `stop` ends it at once; what is under way then is sent again by the next sender.

    Args:
        pages: send only what leads to these, as a command does that looks after one job: other people's
            mail isn't its own. Mail is left to a server then where this process has no SMTP server.
    """

    def __init__(self, *, pages: Collection[str] | None = None) -> None:
        self._pages = pages
        self._stop = threading.Event()
        self._busy: dict[str, str] = {}  # channel -> person
        self._lock = threading.Lock()
        self._next_prune = time.monotonic()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Send in a thread of this process."""
        self._thread = threading.Thread(target=self.run, name="deliveries", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Start nothing more by itself. Tries under way are cut off when the process ends."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(2 * LOOK_EVERY_S)

    def run(self) -> None:
        """Look for what is due until stopped; outlives every error."""
        while not self._stop.wait(LOOK_EVERY_S):
            try:
                self.look()
                self._prune()
            except Exception:
                _log.exception("deliveries: trying again in a moment")

    def look(self) -> int:
        """Start sending what is due, as much as goes at once; returns how much was started."""
        n_started = 0
        for parcel in self._claim():
            thread = threading.Thread(target=self._deliver, args=(parcel,), name="delivery", daemon=True)
            thread.start()
            n_started += 1
        return n_started

    def finish(self, within_s: float) -> None:
        """Send what is due and wait for it, as a command does before it ends; what is slow is left."""
        self.stop()
        deadline = time.monotonic() + within_s
        while (self.look() or self._busy) and time.monotonic() < deadline:
            time.sleep(0.02)

    def _claim(self) -> list[Parcel]:
        with db.read() as session:  # the usual answer is that there is nothing, and takes no write lock
            if not _due_channels(session, _is_due(self._pages), besides=set(self._busy)):
                return []
        with self._lock:
            busy, claimed = dict(self._busy), list[Parcel]()
            with db.write() as session:
                is_due = _is_due(self._pages)
                for channel in _due_channels(session, is_due, besides=set(busy)):
                    if _has_room(busy, channel) and (parcel := _take_next(session, channel, is_due)):
                        busy[channel.id] = channel.user_id
                        claimed.append(parcel)
            self._busy = busy
        return claimed

    def _deliver(self, parcel: Parcel) -> None:
        try:
            failure = attempt(parcel)
            with db.write() as session:
                settle(session, parcel, failure)
        except Exception:  # the claim runs out, and it is tried again
            _log.exception("delivery over channel %s", parcel.channel.id)
        finally:
            with self._lock:
                self._busy.pop(parcel.channel.id, None)

    def _prune(self) -> None:
        if time.monotonic() < self._next_prune:
            return
        self._next_prune = time.monotonic() + PRUNE_EVERY_S
        with db.write() as session:
            notifications.prune(session)
            mail_allowance.prune(session)


def attempt(parcel: Parcel) -> NotDelivered | None:
    """Try once to deliver; returns why it did not arrive, or None."""
    try:
        if parcel.channel.kind == ChannelKind.EMAIL:
            notice = parcel.notice
            url = get_settings().base_url + notice.href if notice.href else ""
            mail.send(parcel.email, message_id=notice.id, title=notice.title, body=notice.body, url=url)
        else:
            secret = secrets.unseal(parcel.channel.ciphertext)
            webhooks.send(
                parcel.channel.target, secret=secret, message_id=parcel.notice.id, payload=payload_of(parcel)
            )
    except NotDelivered as failure:
        return failure
    except SecretLost:
        text = "Its secret can't be read any more. Remove the channel and add it again."
        return NotDelivered(text, is_final=True, is_gone=True)
    except Exception as error:
        _log.exception("delivery over channel %s", parcel.channel.id)
        return NotDelivered(f"It could not be sent ({type(error).__name__}). The server's log has more.")
    return None


def payload_of(parcel: Parcel) -> dict[str, Any]:
    """What a webhook is sent; `docs/notifications.md` explains each field."""
    notice = parcel.notice
    url = get_settings().base_url + notice.href if notice.href else ""
    return {
        "type": notice.kind,
        "timestamp": notice.created_at.isoformat(),
        "text": "\n".join(part for part in (notice.title, notice.body, url) if part),
        "data": {
            "id": notice.id,
            "title": notice.title,
            "body": notice.body,
            "url": url,
            "job": notice.data.get("job"),
        },
    }


def settle(session: Session, parcel: Parcel, failure: NotDelivered | None) -> None:
    """Write down how a try went: arrived, to be tried again later, or given up.

    A try that took so long that another sender has claimed the delivery counts for nothing.
    """
    channel = session.get(NotificationChannel, parcel.channel.id)
    if channel is None:
        return  # somebody removed it meanwhile
    change: dict[str, Any] = {"error": failure.message[:500] if failure else ""}
    if failure is None:
        change["status"] = DeliveryStatus.DELIVERED.value
    elif failure.is_final or parcel.n_tries > len(WAITS_S) or not channel.is_on:
        change["status"] = DeliveryStatus.FAILED.value
    else:
        change["status"] = DeliveryStatus.WAITING.value
        change["next_at"] = utc_now() + timedelta(seconds=WAITS_S[parcel.n_tries - 1])
    still_ours = (
        col(Delivery.notification_id) == parcel.notice.id,
        col(Delivery.channel_id) == channel.id,
        col(Delivery.status) == DeliveryStatus.SENDING.value,
        col(Delivery.n_tries) == parcel.n_tries,
    )
    if _change(session, still_ours, change):
        _note(session, channel, failure)


def send_test(*, actor: User, channel_id: str) -> str:
    """Send a test over a channel, and wait for it. No bell shows it. Opens its own transactions.

    Returns:
        Why it did not arrive; empty if it did.

    Raises:
        NotFound: the channel isn't the actor's.
        Forbidden: the actor's role may not use it any more.
        TooManyTries: the last thing was sent there a moment ago, or the account has had its mails.
    """
    with db.write() as session:
        channel = notification_channels.get_channel(session, actor=actor, channel_id=channel_id)
        notification_channels.check_role(actor, channel.kind)
        now = utc_now()
        if channel.last_at is not None and now - channel.last_at < timedelta(seconds=TEST_EVERY_S):
            raise TooManyTries("Something was sent there just now. Wait a few seconds.", retry_after_s=3)
        taken = _take_test_mail(session, actor) if channel.kind == ChannelKind.EMAIL else None
        channel.last_at = now
        session.add(channel)
    failure = attempt(Parcel(_test_notice(actor), channel, actor.email))
    with db.write() as session:
        if failure and taken is not None:  # so that who sets a mail server up may try again at once
            session.delete(taken)
        channel = notification_channels.get_channel(session, actor=actor, channel_id=channel_id)
        channel.last_at, channel.last_error = utc_now(), failure.message[:500] if failure else ""
        channel.n_failures = channel.n_failures if failure else 0
        session.add(channel)
    return failure.message if failure else ""


def _take_test_mail(session: Session, actor: User) -> MailSent:
    """Count a test's mail.

    Raises:
        TooManyTries: the last was a moment ago, or there were many today.
    """
    if wait_s := mail_allowance.wait_for_test_s(session, user_id=actor.id):
        text = f"A test was mailed to you just now. The next may be in {-(-wait_s // 60)} min."
        raise TooManyTries(text, retry_after_s=wait_s)
    if not mail_allowance.is_left(session, user_id=actor.id):
        raise TooManyTries(mail_allowance.USED_UP, retry_after_s=3600)
    return mail_allowance.take(session, user_id=actor.id, is_test=True)


def _test_notice(actor: User) -> Notification:
    return Notification(
        user_id=actor.id,
        kind=TEST,
        title="A test of QLoRA Studio",
        body="If you read this, notifications arrive here.",
        href="/settings/notifications",
    )


def _note(session: Session, channel: NotificationChannel, failure: NotDelivered | None) -> None:
    """Keep the channel's record; switch it off, and say so, where nothing arrives any more."""
    channel.last_at, channel.last_error = utc_now(), failure.message[:500] if failure else ""
    channel.n_failures = channel.n_failures + 1 if failure else 0
    session.add(channel)
    is_dead = failure is not None and (failure.is_gone or channel.n_failures >= OFF_AFTER)
    if not is_dead or not channel.is_on:
        return
    channel.is_on = False
    session.flush()  # so that what follows isn't sent over it
    notification_channels.give_up(session, channel_id=channel.id, why="The channel was switched off.")
    what = "The webhook" if channel.kind == ChannelKind.WEBHOOK else "E-mail"
    notices.add(
        session,
        user_id=channel.user_id,
        kind=NoticeKind.CHANNEL_OFF,
        title=f"{what} was switched off",
        body=f"{failure.message if failure else ''} Put it right, send a test, and switch it on again.",
        href="/settings/notifications",
    )


def _due_channels(session: Session, is_due: Conditions, *, besides: set[str]) -> list[NotificationChannel]:
    """Channels that something is due for, the longest waiting first."""
    oldest = func.min(col(Delivery.next_at))
    due = select(col(Delivery.channel_id), oldest).where(*is_due, col(Delivery.channel_id).not_in(besides))
    ids = [row[0] for row in session.exec(due.group_by(col(Delivery.channel_id)).order_by(oldest).limit(500))]
    return [session.get_one(NotificationChannel, channel_id) for channel_id in ids]


def _is_due(pages: Collection[str] | None) -> Conditions:
    unfinished = (DeliveryStatus.WAITING.value, DeliveryStatus.SENDING.value)
    is_due: Conditions = [col(Delivery.status).in_(unfinished), col(Delivery.next_at) <= utc_now()]
    if pages is not None:
        leads_there = select(col(Notification.id)).where(col(Notification.href).in_(pages))
        is_due.append(col(Delivery.notification_id).in_(leads_there))
        if not mail.is_configured():
            is_mail = col(NotificationChannel.kind) == ChannelKind.EMAIL.value
            is_due.append(col(Delivery.channel_id).not_in(select(col(NotificationChannel.id)).where(is_mail)))
    return is_due


def _has_room(busy: dict[str, str], channel: NotificationChannel) -> bool:
    """Whether one more may be sent at once."""
    n_of_person = list(busy.values()).count(channel.user_id)
    return len(busy) < AT_ONCE and n_of_person < AT_ONCE_PER_PERSON


def _take_next(session: Session, channel: NotificationChannel, is_due: Conditions) -> Parcel | None:
    """Claim what has waited longest for a channel, under the write lock or by compare-and-set without one."""
    query = select(Delivery).where(*is_due, col(Delivery.channel_id) == channel.id)
    delivery = session.exec(query.order_by(col(Delivery.next_at)).limit(1)).first()
    if delivery is None:
        return None
    user, n_tries = session.get_one(User, channel.user_id), delivery.n_tries + 1
    change: dict[str, Any] = {
        "status": DeliveryStatus.SENDING.value,
        "n_tries": n_tries,
        "next_at": utc_now() + timedelta(seconds=CLAIM_S),
    }
    if why := _why_not(session, delivery, channel, user):
        change = {"status": DeliveryStatus.FAILED.value, "error": why}
    same = (
        col(Delivery.notification_id) == delivery.notification_id,
        col(Delivery.channel_id) == channel.id,
        col(Delivery.status) == delivery.status,
        col(Delivery.next_at) == delivery.next_at,
    )
    if not _change(session, same, change):
        return None
    if why:
        if channel.is_on:
            channel.last_at, channel.last_error = utc_now(), why
            session.add(channel)
        return None
    if channel.kind == ChannelKind.EMAIL and n_tries == 1:
        mail_allowance.take(session, user_id=user.id)
    return Parcel(session.get_one(Notification, delivery.notification_id), channel, user.email, n_tries)


def _why_not(session: Session, delivery: Delivery, channel: NotificationChannel, user: User) -> str:
    """Why a delivery is given up, or nothing. Tries after the first are no new mail."""
    if not channel.is_on:
        return "The channel was switched off."
    if delivery.n_tries > len(WAITS_S):
        return "It was given up: nobody knows how the last tries went."
    if not notification_channels.may_use(user.role, channel.kind):
        return notification_channels.ROLE_TOO_LOW
    is_new_mail = channel.kind == ChannelKind.EMAIL and not delivery.n_tries
    if is_new_mail and not mail_allowance.is_left(session, user_id=user.id):
        return mail_allowance.USED_UP
    return ""


def _change(session: Session, where: Collection[ColumnElement[bool]], values: dict[str, Any]) -> bool:
    """Change one delivery if it is as it was thought to be; says whether it was."""
    statement = update(Delivery).where(*where).values(**values).execution_options(synchronize_session=False)
    return session.execute(statement).rowcount == 1  # type: ignore[attr-defined]
