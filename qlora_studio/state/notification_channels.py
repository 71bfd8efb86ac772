"""Settings of notifications: webhooks and e-mail, what is told over each, and tests."""

import asyncio
from dataclasses import dataclass

import reflex as rx
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from qlora_studio.contracts.notices import TOPICS, ChannelKind, NoticeKind
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db import engine as db
from qlora_studio.db.models import User
from qlora_studio.services import deliveries, mail
from qlora_studio.services import notification_channels as channels
from qlora_studio.services.notification_channels import (
    ChannelPublic,
    ChannelUpdate,
    EmailCreate,
    WebhookCreate,
)
from qlora_studio.state import formats
from qlora_studio.state.auth import authorized
from qlora_studio.state.dialogs import DeletingState, SecretState

_ADAPTER: TypeAdapter[WebhookCreate] = TypeAdapter(WebhookCreate)
_WRONG_ADDRESS = "Give an address that begins with https://, of at most 2,000 characters."


class WebhookFields(TypedDict, total=False):
    """What the form of a new webhook sends."""

    target: str | None


@dataclass(frozen=True)
class ChannelRow:
    """A channel. `status` is what happened last; `name` is the address it reaches."""

    id: str
    kind: str
    name: str
    is_on: bool
    topics: list[str]
    status: str
    exact: str
    is_failing: bool


class ChannelsState(SecretState, DeletingState, rx.State):
    """The channels of one person. Dialogs: `add` and `secret`, which shows a new webhook's secret once."""

    rows: list[ChannelRow] = []
    email: str = ""
    can_email: bool = False
    has_email: bool = False
    has_email_on: bool = False
    has_webhook: bool = False
    is_loading: bool = True
    testing_id: str = ""

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Show the channels."""
        self._begin()
        self.deleting_id = ""
        self.testing_id = ""
        await self._read(actor)
        self.is_loading = False

    @rx.event
    @authorized()
    async def add(self, actor: User, form: WebhookFields):
        """Add a webhook and show its secret. A second press finds the form closed."""
        if self.dialog != "add" or self.is_sending:
            return
        self.is_sending, self.field_errors = True, {}
        yield
        try:
            self.secret = await asyncio.to_thread(_add_webhook, actor, form)
            self.dialog = "secret"
        finally:
            self.is_sending = False
        await self._read(actor)

    @rx.event
    @authorized()
    async def set_email(self, actor: User, is_on: bool):
        """Have mail sent to the account's own address, or no more."""
        await asyncio.to_thread(_set_email, actor, is_on)
        await self._read(actor)

    @rx.event
    @authorized()
    async def set_on(self, actor: User, channel_id: str, is_on: bool):
        """Switch a channel on or off."""
        await asyncio.to_thread(_change, actor, channel_id, ChannelUpdate(is_on=is_on))
        await self._read(actor)

    @rx.event
    @authorized()
    async def set_topic(self, actor: User, channel_id: str, topic: str, is_wanted: bool):
        """Choose one thing that is told over a channel, or leave it out."""
        if topic in TOPICS:
            await asyncio.to_thread(_set_topic, actor, channel_id, topic, is_wanted)
        await self._read(actor)

    @rx.event
    @authorized()
    async def test(self, actor: User, channel_id: str):
        """Send a test and say whether it arrived."""
        if self.testing_id:
            return
        self.testing_id = channel_id
        yield
        try:
            error = await asyncio.to_thread(deliveries.send_test, actor=actor, channel_id=channel_id)
        finally:
            self.testing_id = ""
        await self._read(actor)
        yield (
            rx.toast.error(f"The test did not arrive. {error}")
            if error
            else rx.toast.success("The test arrived")
        )

    @rx.event
    @authorized()
    async def delete(self, actor: User):
        """Remove the channel that was asked about."""
        channel_id, self.deleting_id = self.deleting_id, ""
        if channel_id:
            await asyncio.to_thread(_delete, actor, channel_id)
        await self._read(actor)
        yield rx.toast.success("The webhook is removed")

    async def _read(self, actor: User) -> None:
        found = await asyncio.to_thread(_list, actor)
        self.rows = [channel_row(channel) for channel in found]
        mails = [channel for channel in found if channel.kind is ChannelKind.EMAIL]
        self.has_email, self.has_email_on = bool(mails), any(channel.is_on for channel in mails)
        self.has_webhook = len(mails) < len(found)
        self.email, self.can_email = actor.email, mail.is_configured()


def channel_row(channel: ChannelPublic) -> ChannelRow:
    """Return a channel as the page shows it."""
    at = formats.when(channel.last_at)
    status = f"Failed {at.relative}: {channel.last_error}" if channel.last_error else f"Sent {at.relative}"
    return ChannelRow(
        id=channel.id,
        kind=channel.kind.value,
        name=channel.target,
        is_on=channel.is_on,
        topics=[
            name
            for name, (_, kinds) in TOPICS.items()
            if not channel.kinds or set(kinds) & set(channel.kinds)
        ],
        status=status if channel.last_at else "Nothing sent yet",
        exact=at.exact,
        is_failing=bool(channel.last_error),
    )


def _list(actor: User) -> list[ChannelPublic]:
    with db.read() as session:
        return [channels.public(c, actor=actor) for c in channels.list_channels(session, actor=actor)]


def _add_webhook(actor: User, form: WebhookFields) -> str:
    try:
        wanted = _ADAPTER.validate_python({"kind": "webhook", "target": form.get("target") or ""})
    except ValidationError:
        raise InvalidInput(_WRONG_ADDRESS, fields={"target": _WRONG_ADDRESS}) from None
    with db.write() as session:
        return channels.create(session, actor=actor, form=wanted).secret


def _set_email(actor: User, is_on: bool) -> None:
    with db.write() as session:
        mine = channels.list_channels(session, actor=actor)
        found = next((c for c in mine if c.kind == ChannelKind.EMAIL), None)
        if found is not None:
            channels.change(session, actor=actor, channel_id=found.id, form=ChannelUpdate(is_on=is_on))
        elif is_on:
            channels.create(session, actor=actor, form=EmailCreate(kind="email"))


def _set_topic(actor: User, channel_id: str, topic: str, is_wanted: bool) -> None:
    with db.write() as session:
        channel = channels.get_channel(session, actor=actor, channel_id=channel_id)
        chosen = {kind for kind in NoticeKind if not channel.kinds or kind.value in channel.kinds}
        chosen = chosen | set(TOPICS[topic][1]) if is_wanted else chosen - set(TOPICS[topic][1])
        if not chosen:
            raise InvalidInput("Leave one thing to be told of, or switch it off.")
        kinds = [] if len(chosen) == len(NoticeKind) else [kind for kind in NoticeKind if kind in chosen]
        channels.change(session, actor=actor, channel_id=channel_id, form=ChannelUpdate(kinds=kinds))


def _change(actor: User, channel_id: str, form: ChannelUpdate) -> None:
    with db.write() as session:
        channels.change(session, actor=actor, channel_id=channel_id, form=form)


def _delete(actor: User, channel_id: str) -> None:
    with db.write() as session:
        channels.delete(session, actor=actor, channel_id=channel_id)
