"""`qlora-studio notifications …`: what you were told, and how else to be told."""

from typing import Annotated

import typer

from qlora_studio.commands.console import (
    FAILED,
    JsonFlag,
    UserName,
    acting,
    command,
    end,
    find_actor,
    print_json,
    print_line,
    print_table,
    say,
    tell,
)
from qlora_studio.commands.lists import PAGE_SIZE, PageNumber, print_page
from qlora_studio.contracts.notices import NoticeKind
from qlora_studio.core.errors import InvalidInput
from qlora_studio.services import deliveries, notifications
from qlora_studio.services import notification_channels as channels
from qlora_studio.services.notification_channels import ChannelUpdate, EmailCreate, WebhookCreate
from qlora_studio.services.notifications import NotificationPublic

app = typer.Typer(help="Notifications: list, mark as read, be told elsewhere too.", no_args_is_help=True)


@app.command("list")
@command
def list_(
    unread: Annotated[bool, typer.Option("--unread", help="Only what you haven't read.")] = False,
    query: Annotated[str, typer.Option(help="Part of the text.")] = "",
    *,
    page: PageNumber = 1,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """List what you were told, newest first."""
    with acting(user) as (session, actor):
        found, total = notifications.list_notifications(
            session,
            actor=actor,
            query=query,
            status="unread" if unread else None,
            page=page,
            page_size=PAGE_SIZE,
        )
    rows = [
        (n.id, f"{n.created_at:%Y-%m-%d %H:%M}", "" if n.read_at else "new", n.title, n.body) for n in found
    ]
    print_page(
        [NotificationPublic.model_validate(item) for item in found],
        ("ID", "When (UTC)", "", "What", "Details"),
        rows,
        total=total,
        page=page,
        empty="Nothing to tell.",
        as_json=as_json,
    )


@app.command("read")
@command
def read(
    ids: Annotated[list[str] | None, typer.Argument(help="Which; without any, all.")] = None,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Mark notifications as read."""
    with acting(user, writes=True) as (session, actor):
        n_marked = notifications.mark_read(session, actor=actor, ids=ids or None)
    if as_json:
        print_json({"n_marked": n_marked})
    else:
        print_line(f"{n_marked} marked as read")


# -- channels ----------------------------------------------------------------------------------------------

Only = Annotated[
    list[NoticeKind] | None, typer.Option("--only", help="Only this kind; may be given several times.")
]
ChannelId = Annotated[str, typer.Argument(help="Its id.")]


@app.command("channels")
@command
def list_channels(user: UserName = "", as_json: JsonFlag = False) -> None:
    """List the ways to be told beside the bell."""
    with acting(user) as (session, actor):
        found = [channels.public(c, actor=actor) for c in channels.list_channels(session, actor=actor)]
    if as_json:
        print_json(found)
        return
    rows = [
        (
            c.id,
            c.kind.value,
            c.target,
            ", ".join(c.kinds) or "everything",
            "on" if c.is_on else "off",
            c.last_error or (f"sent {c.last_at:%Y-%m-%d %H:%M}" if c.last_at else ""),
        )
        for c in found
    ]
    print_table(
        ("ID", "Kind", "To", "Told of", "", "Last"),
        rows,
        empty="No channels yet. Add one: qlora-studio notifications add-webhook https://…",
    )


@app.command("add-webhook")
@command
def add_webhook(
    url: Annotated[str, typer.Argument(help="The address that is sent a signed JSON document.")],
    only: Only = None,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Add a webhook. Its secret is printed this once."""
    _add(WebhookCreate(kind="webhook", target=url, kinds=only or []), user, as_json=as_json)


@app.command("add-email")
@command
def add_email(only: Only = None, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Have mail sent to the account's own address."""
    _add(EmailCreate(kind="email", kinds=only or []), user, as_json=as_json)


@app.command("change")
@command
def change(
    channel_id: ChannelId,
    *,
    is_on: Annotated[bool | None, typer.Option("--on/--off", help="Send over it, or not for now.")] = None,
    only: Only = None,
    everything: Annotated[bool, typer.Option("--everything", help="Of all kinds again.")] = False,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Turn a channel on or off, or choose what it tells of."""
    given: dict[str, object] = {} if is_on is None else {"is_on": is_on}
    if only or everything:
        given["kinds"] = [] if everything else only
    if not given:
        raise InvalidInput("Say what to change: --on, --off, --only, --everything.")
    with acting(user, writes=True) as (session, actor):
        form = ChannelUpdate.model_validate(given)
        changed = channels.change(session, actor=actor, channel_id=channel_id, form=form)
        shown = channels.public(changed, actor=actor)
    told = ", ".join(shown.kinds) or "everything"
    tell(f"{shown.id}  {'on' if shown.is_on else 'off'}, told of {told}", shown, as_json=as_json)


@app.command("test")
@command
def send_test(channel_id: ChannelId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Send a test over a channel and say whether it arrived."""
    error = deliveries.send_test(actor=find_actor(user), channel_id=channel_id)
    if as_json:
        print_json({"ok": not error, "error": error})
    elif error:
        say(f"error: {error}")
    else:
        print_line("It arrived.")
    if error:
        end(FAILED)


@app.command("remove")
@command
def remove(channel_id: ChannelId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Remove a channel."""
    with acting(user, writes=True) as (session, actor):
        channels.delete(session, actor=actor, channel_id=channel_id)
    if as_json:
        print_json({"removed": channel_id})


def _add(form: WebhookCreate | EmailCreate, user: str, *, as_json: bool) -> None:
    with acting(user, writes=True) as (session, actor):
        made = channels.create(session, actor=actor, form=form)
        shown = channels.public(made.channel, actor=actor)
    if as_json:
        print_json(shown.model_dump(mode="json") | {"secret": made.secret or None})
        return
    print_line(f"{shown.id}  {shown.kind.value} to {shown.target}")
    if made.secret:
        print_line(f"secret, shown this once: {made.secret}")
