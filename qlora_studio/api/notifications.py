"""REST: what you were told, marking it as read, and the channels that tell you elsewhere."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlmodel import Session

from qlora_studio.api.idempotency import IdempotencyHeader, WithSecret, create_once
from qlora_studio.api.lists import Filter, Page, Paging
from qlora_studio.api.problems import answers
from qlora_studio.api.security import CurrentUser
from qlora_studio.contracts.notices import NoticeKind
from qlora_studio.contracts.spec import Strict
from qlora_studio.db import engine as db
from qlora_studio.services import deliveries, mail, notifications
from qlora_studio.services import notification_channels as channels
from qlora_studio.services.notification_channels import ChannelCreate, ChannelPublic, ChannelUpdate
from qlora_studio.services.notifications import NotificationPublic

router = APIRouter(tags=["Notifications"])
_Id = Annotated[str, Field(min_length=1, max_length=32)]


class NotificationFilter(Filter):
    """Which notifications, in which order, which page."""

    status: Literal["unread", "read"] | None = None
    kind: NoticeKind | None = None


class NotificationPage(Page[NotificationPublic]):
    """One page of notifications, and how many there are that you haven't read."""

    n_unread: int = 0


class ReadRequest(Strict):
    """Which to mark as read: these ids, or with null all."""

    ids: Annotated[list[_Id], Field(max_length=1000)] | None = None


class ReadAnswer(Strict):
    """How many were marked just now, and how many are left unread."""

    n_marked: int
    n_unread: int


@router.get("/notifications")
def list_notifications(user: CurrentUser, wanted: Annotated[NotificationFilter, Query()]) -> NotificationPage:
    """Return one page of what you were told, newest first."""
    with db.read() as session:
        found, total = notifications.list_notifications(session, actor=user, **wanted.model_dump())
        n_unread = notifications.count_unread(session, actor=user)
    items = [NotificationPublic.model_validate(item) for item in found]
    page = NotificationPage.of(items, total, wanted)
    page.n_unread = n_unread
    return page


@router.post("/notifications/read")
def mark_read(user: CurrentUser, body: ReadRequest) -> ReadAnswer:
    """Mark notifications as read: those with the given ids, or all of yours."""
    with db.write() as session:
        n_marked = notifications.mark_read(session, actor=user, ids=body.ids)
        n_unread = notifications.count_unread(session, actor=user)
    return ReadAnswer(n_marked=n_marked, n_unread=n_unread)


# -- channels ----------------------------------------------------------------------------------------------


class ChannelPage(Page[ChannelPublic]):
    """One page of your channels, and whether this server can send e-mail."""

    can_email: bool = False


class ChannelMade(ChannelPublic):
    """A channel just made. `secret` signs what a webhook is sent, and is told this once only."""

    secret: str | None


class TestResult(BaseModel):
    """Whether the test arrived, and if not, why."""

    ok: bool
    error: str


@router.get("/notification-channels")
def list_channels(user: CurrentUser, wanted: Annotated[Paging, Query()]) -> ChannelPage:
    """List your ways to be told beside the bell."""
    with db.read() as session:
        found = channels.list_channels(session, actor=user)
    page = ChannelPage.cut([channels.public(channel, actor=user) for channel in found], wanted)
    page.can_email = mail.is_configured()
    return page


@router.post("/notification-channels", status_code=201, response_model=ChannelMade)
def create_channel(
    body: ChannelCreate, request: Request, user: CurrentUser, key: IdempotencyHeader = None
) -> JSONResponse:
    """Add a webhook, or mail to your own address.

    A webhook's secret is in this answer and never again: the same `Idempotency-Key` later gives null for it.
    """

    def make(session: Session) -> WithSecret:
        made = channels.create(session, actor=user, form=body)
        shown = ChannelMade(**channels.public(made.channel, actor=user).model_dump(), secret=None)
        return WithSecret(shown, {"secret": made.secret or None})

    return create_once(user=user, key=key, request=request, body=body, create=make)


@router.patch("/notification-channels/{channel_id}")
def change_channel(channel_id: str, body: ChannelUpdate, user: CurrentUser) -> ChannelPublic:
    """Switch a channel on or off, or choose what is told over it."""
    with db.write() as session:
        channel = channels.change(session, actor=user, channel_id=channel_id, form=body)
        return channels.public(channel, actor=user)


@router.delete("/notification-channels/{channel_id}", status_code=204)
def delete_channel(channel_id: str, user: CurrentUser) -> Response:
    """Remove a channel."""
    with db.write() as session:
        channels.delete(session, actor=user, channel_id=channel_id)
    return Response(status_code=204)


@router.post("/notification-channels/{channel_id}/test", responses=answers(429))
def send_test(channel_id: str, user: CurrentUser) -> TestResult:
    """Send a test over a channel and wait for it, at most some seconds."""
    error = deliveries.send_test(actor=user, channel_id=channel_id)
    return TestResult(ok=not error, error=error)
