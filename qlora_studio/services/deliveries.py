"""The sender: brings notifications to people's channels, in the background of a server or a command.

Several processes may send from one database. A delivery is claimed by compare-and-set for `CLAIM_S` seconds;
whoever dies in between loses its claim, and another one sends it: at least once, with the same id each time.
Each channel is sent one thing at a time, in a thread of its own, so that no slow server holds up another.
"""

import logging
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import func, update
from sqlmodel import Session, col, select

from qlora_studio.contracts.notices import ChannelKind, DeliveryStatus, NoticeKind
from qlora_studio.core import secrets
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import TooManyTries
from qlora_studio.core.secrets import SecretLost
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db
from qlora_studio.db import notices
from qlora_studio.db.models import Delivery, Job, Notification, NotificationChannel, User
from qlora_studio.services import mail, notification_channels, notifications, webhooks
from qlora_studio.services.delivery_errors import NotDelivered

LOOK_EVERY_S = 1.0
CLAIM_S = 120.0  # longer than any try may take
AT_ONCE, AT_ONCE_PER_PERSON = 8, 2
WAITS_S = (30, 120, 600, 1800, 3600, 7200, 14_400)  # before the second try and so on: over seven hours
OFF_AFTER = 24  # tries that failed one after another
PRUNE_EVERY_S = 3600.0
TEST, TEST_EVERY_S = "test", 3.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parcel:
    """One notification for one channel, with everything that sending it takes and no database."""

    notice: Notification
    channel: NotificationChannel
    email: str
    job: Job | None = None


class Sender:
    """Sends what is due. `stop` ends it at once; what is under way then is sent again by the next sender."""

    def __init__(self) -> None:
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
            if not _due_channels(session, besides=set(self._busy)):
                return []
        with self._lock:
            busy = dict(self._busy)
            with db.write() as session:
                claimed = [
                    parcel
                    for channel in _due_channels(session, besides=set(busy))
                    if _has_room(busy, channel) and (parcel := _take_next(session, channel)) is not None
                ]
            self._busy = busy | {parcel.channel.id: parcel.channel.user_id for parcel in claimed}
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
    notice, job = parcel.notice, parcel.job
    url = get_settings().base_url + notice.href if notice.href else ""
    about = None
    if job is not None:
        about = {
            "id": job.id,
            "name": job.name,
            "status": job.status.value,
            "reason": job.reason.value if job.reason is not None else None,
            "metrics": {"best": job.best_metrics, "base": job.base_metrics},
        }
    return {
        "type": notice.kind,
        "timestamp": notice.created_at.isoformat(),
        "text": "\n".join(part for part in (notice.title, notice.body, url) if part),
        "data": {"id": notice.id, "title": notice.title, "body": notice.body, "url": url, "job": about},
    }


def settle(session: Session, parcel: Parcel, failure: NotDelivered | None) -> None:
    """Write down how a try went: arrived, to be tried again later, or given up."""
    key = (parcel.notice.id, parcel.channel.id)
    delivery, channel = session.get(Delivery, key), session.get(NotificationChannel, key[1])
    if delivery is None or channel is None:
        return  # somebody removed it meanwhile
    delivery.error = failure.message[:500] if failure else ""
    if failure is None:
        delivery.status = DeliveryStatus.DELIVERED.value
    elif failure.is_final or delivery.n_tries > len(WAITS_S) or not channel.is_on:
        delivery.status = DeliveryStatus.FAILED.value
    else:
        delivery.status = DeliveryStatus.WAITING.value
        delivery.next_at = utc_now() + timedelta(seconds=WAITS_S[delivery.n_tries - 1])
    session.add(delivery)
    _note(session, channel, failure)


def send_test(*, actor: User, channel_id: str) -> str:
    """Send a test over a channel, and wait for it. No bell shows it. Opens its own transactions.

    Returns:
        Why it did not arrive; empty if it did.

    Raises:
        NotFound: the channel isn't the actor's.
        TooManyTries: the last thing was sent there a moment ago.
    """
    with db.write() as session:
        channel = notification_channels.get_channel(session, actor=actor, channel_id=channel_id)
        now = utc_now()
        if channel.last_at is not None and now - channel.last_at < timedelta(seconds=TEST_EVERY_S):
            raise TooManyTries("Something was sent there just now. Wait a few seconds.", retry_after_s=3)
        channel.last_at = now
        session.add(channel)
    failure = attempt(Parcel(_test_notice(actor), channel, actor.email))
    with db.write() as session:
        channel = notification_channels.get_channel(session, actor=actor, channel_id=channel_id)
        channel.last_at, channel.last_error = utc_now(), failure.message[:500] if failure else ""
        channel.n_failures = channel.n_failures if failure else 0
        session.add(channel)
    return failure.message if failure else ""


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


def _due_channels(session: Session, *, besides: set[str]) -> list[NotificationChannel]:
    """Channels that something is due for, the longest waiting first."""
    oldest = func.min(col(Delivery.next_at))
    due = select(col(Delivery.channel_id), oldest).where(*_is_due(), col(Delivery.channel_id).not_in(besides))
    ids = [row[0] for row in session.exec(due.group_by(col(Delivery.channel_id)).order_by(oldest).limit(500))]
    return [session.get_one(NotificationChannel, channel_id) for channel_id in ids]


def _is_due() -> tuple[Any, Any]:
    unfinished = (DeliveryStatus.WAITING.value, DeliveryStatus.SENDING.value)
    return col(Delivery.status).in_(unfinished), col(Delivery.next_at) <= utc_now()


def _has_room(busy: dict[str, str], channel: NotificationChannel) -> bool:
    """Whether one more may be sent at once; if so it is noted down in `busy`."""
    n_of_person = list(busy.values()).count(channel.user_id)
    if len(busy) >= AT_ONCE or n_of_person >= AT_ONCE_PER_PERSON:
        return False
    busy[channel.id] = channel.user_id
    return True


def _take_next(session: Session, channel: NotificationChannel) -> Parcel | None:
    """Claim what has waited longest for a channel, under the write lock or by compare-and-set without one."""
    query = select(Delivery).where(*_is_due(), col(Delivery.channel_id) == channel.id)
    delivery = session.exec(query.order_by(col(Delivery.next_at)).limit(1)).first()
    if delivery is None:
        return None
    is_hopeless = not channel.is_on or delivery.n_tries > len(WAITS_S)
    change: dict[str, Any] = {"n_tries": delivery.n_tries + 1}
    if is_hopeless:
        change = {"status": DeliveryStatus.FAILED.value, "error": "It was given up."}
    else:
        change |= {"status": DeliveryStatus.SENDING.value, "next_at": utc_now() + timedelta(seconds=CLAIM_S)}
    same = (
        col(Delivery.notification_id) == delivery.notification_id,
        col(Delivery.channel_id) == channel.id,
        col(Delivery.status) == delivery.status,
        col(Delivery.next_at) == delivery.next_at,
    )
    statement = update(Delivery).where(*same).values(**change).execution_options(synchronize_session=False)
    is_ours = session.execute(statement).rowcount == 1  # type: ignore[attr-defined]
    return _parcel(session, delivery, channel) if is_ours and not is_hopeless else None


def _parcel(session: Session, delivery: Delivery, channel: NotificationChannel) -> Parcel:
    notice = session.get_one(Notification, delivery.notification_id)
    user = session.get_one(User, channel.user_id)
    job = session.get(Job, notice.job_id) if notice.job_id else None
    return Parcel(notice, channel, user.email, job)
