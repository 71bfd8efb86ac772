"""Ways to reach a person beside the bell: webhooks and e-mail to their own address.

A channel belongs to one person; to everybody else it does not exist. A webhook's secret is kept sealed, told
once when the channel is made, and is never in a log.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints
from sqlmodel import Session, col, select, update

from qlora_studio.contracts.enums import Role
from qlora_studio.contracts.notices import ChannelKind, DeliveryStatus, NoticeKind
from qlora_studio.contracts.spec import Strict
from qlora_studio.core import secrets
from qlora_studio.core.errors import Conflict, Forbidden, NotFound, TooLarge, Unavailable
from qlora_studio.db.models import Delivery, NotificationChannel, User
from qlora_studio.services import audit, mail, webhooks

MAX_PER_USER = 10
ROLE_TOO_LOW = "Your role can't use webhooks. Ask an admin for the trainer role."
_Kinds = Annotated[list[NoticeKind], Field(max_length=len(NoticeKind))]


class WebhookCreate(Strict):
    """An address that is sent a signed JSON document. `kinds`: only these; none means everything."""

    kind: Literal["webhook"]
    target: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
    kinds: _Kinds = []


class EmailCreate(Strict):
    """Mail to the account's own address."""

    kind: Literal["email"]
    kinds: _Kinds = []


ChannelCreate = Annotated[WebhookCreate | EmailCreate, Field(discriminator="kind")]


class ChannelUpdate(Strict):
    """What may be changed; what is left out stays."""

    is_on: bool | None = None
    kinds: _Kinds | None = None


class ChannelPublic(BaseModel):
    """A channel as the REST API answers it. `target` is the address it reaches."""

    id: str
    kind: ChannelKind
    target: str
    kinds: list[NoticeKind]
    is_on: bool
    last_at: datetime | None
    last_error: str
    created_at: datetime


@dataclass(frozen=True)
class Made:
    """A channel just made, and its secret, which is told this once."""

    channel: NotificationChannel
    secret: str = ""


def public(channel: NotificationChannel, *, actor: User) -> ChannelPublic:
    """Return the public form of one of the actor's channels."""
    kind = ChannelKind(channel.kind)
    return ChannelPublic(
        id=channel.id,
        kind=kind,
        target=actor.email if kind is ChannelKind.EMAIL else channel.target,
        kinds=[NoticeKind(name) for name in channel.kinds if name in set(NoticeKind)],
        is_on=channel.is_on,
        last_at=channel.last_at,
        last_error=channel.last_error,
        created_at=channel.created_at,
    )


def create(session: Session, *, actor: User, form: WebhookCreate | EmailCreate) -> Made:
    """Make a channel; it is on.

    Raises:
        Forbidden: the actor's role may not have this server ask others.
        InvalidInput: the webhook's address may not be asked.
        Unavailable: this server can't send e-mail.
        Conflict: there is one to that address already.
        TooLarge: the actor has as many as one account may.
    """
    mine = list_channels(session, actor=actor)
    if len(mine) >= MAX_PER_USER:
        raise TooLarge(f"You have {len(mine)} channels, the most one account may. Remove one first.")
    secret, target = "", ""
    if isinstance(form, WebhookCreate):
        check_role(actor, form.kind)
        target, secret = webhooks.check_address(form.target), webhooks.new_secret()
    elif not mail.is_configured():
        raise Unavailable("This server can't send e-mail. Whoever runs it can set QLORA_STUDIO_SMTP_HOST.")
    if any((channel.kind, channel.target) == (form.kind, target) for channel in mine):
        raise Conflict("You have a channel to that address already.")
    channel = NotificationChannel(
        user_id=actor.id,
        kind=form.kind,
        target=target,
        ciphertext=secrets.seal(secret) if secret else "",
        kinds=[kind.value for kind in form.kinds],
    )
    session.add(channel)
    session.flush()
    _audit(session, actor, "channel.create", channel)
    return Made(channel, secret)


def may_use(role: Role, kind: str) -> bool:
    """Whether a role may be told this way: webhooks have this server ask others, mail goes to oneself."""
    return kind != ChannelKind.WEBHOOK or role in (Role.ADMIN, Role.TRAINER)


def check_role(actor: User, kind: str) -> None:
    """Refuse whose role may not be told this way, or may no more.

    Raises:
        Forbidden: it may not.
    """
    if not may_use(actor.role, kind):
        raise Forbidden(ROLE_TOO_LOW)


def list_channels(session: Session, *, actor: User) -> list[NotificationChannel]:
    """The actor's channels, oldest first."""
    query = select(NotificationChannel).where(col(NotificationChannel.user_id) == actor.id)
    return list(
        session.exec(query.order_by(col(NotificationChannel.created_at), col(NotificationChannel.id)))
    )


def get_channel(session: Session, *, actor: User, channel_id: str) -> NotificationChannel:
    """Return one of the actor's channels.

    Raises:
        NotFound: it isn't there, or isn't the actor's.
    """
    channel = session.get(NotificationChannel, channel_id)
    if channel is None or channel.user_id != actor.id:
        raise NotFound("There is no such channel.")
    return channel


def change(session: Session, *, actor: User, channel_id: str, form: ChannelUpdate) -> NotificationChannel:
    """Switch a channel on or off, or choose what is told over it.

    Switched off, what waits to be sent over it isn't sent any more. Every role may do that.

    Raises:
        NotFound: it isn't the actor's.
        Forbidden: the actor's role may not use it any more.
    """
    channel = get_channel(session, actor=actor, channel_id=channel_id)
    if form.is_on is not False:
        check_role(actor, channel.kind)
    if form.kinds is not None:
        channel.kinds = [kind.value for kind in form.kinds]
    if form.is_on is not None and form.is_on != channel.is_on:
        channel.is_on, channel.n_failures = form.is_on, 0
        if form.is_on:
            channel.last_error = ""
        else:
            give_up(session, channel_id=channel.id, why="The channel was switched off.")
    session.add(channel)
    _audit(session, actor, "channel.update", channel)
    return channel


def give_up(session: Session, *, channel_id: str, why: str) -> None:
    """Send nothing more of what waits for a channel."""
    waits = (col(Delivery.channel_id) == channel_id, col(Delivery.status) == DeliveryStatus.WAITING.value)
    session.exec(
        update(Delivery).where(*waits).values(status=DeliveryStatus.FAILED.value, error=why)  # type: ignore[arg-type]
    )


def delete(session: Session, *, actor: User, channel_id: str) -> None:
    """Remove a channel and what waits to be sent over it.

    Raises:
        NotFound: it isn't the actor's.
    """
    channel = get_channel(session, actor=actor, channel_id=channel_id)
    _audit(session, actor, "channel.delete", channel)
    session.delete(channel)


def _audit(session: Session, actor: User, action: str, channel: NotificationChannel) -> None:
    """The address may hold a token in its path (chats have that), so that it isn't written down here."""
    audit.record(
        session,
        actor=actor,
        action=action,
        object_type="channel",
        object_id=channel.id,
        object_name=channel.kind,
    )
