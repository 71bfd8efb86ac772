"""`qlora-studio queue …`: look at the queue, pause it, let it go on."""

from typing import Annotated

import typer

from qlora_studio.commands.console import (
    JsonFlag,
    UserName,
    acting,
    command,
    print_json,
    print_line,
    print_table,
)
from qlora_studio.services import queue
from qlora_studio.services.queue import QueuePublic

app = typer.Typer(help="The queue: show, pause, resume.", no_args_is_help=True)


@app.command("show")
@command
def show(user: UserName = "", as_json: JsonFlag = False) -> None:
    """Show whether the queue moves, and who waits in which place."""
    with acting(user) as (session, actor):
        found = queue.get_queue(session, actor=actor)
    print_queue(found, as_json=as_json)


@app.command("pause")
@command
def pause(
    note: Annotated[str, typer.Option(help="Why, for those who wait.")] = "",
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Start no further job until `queue resume`; what runs goes on."""
    _set(user, is_paused=True, note=note, as_json=as_json)


@app.command("resume")
@command
def resume(user: UserName = "", as_json: JsonFlag = False) -> None:
    """Let the queue go on."""
    _set(user, is_paused=False, as_json=as_json)


def _set(user: str, *, is_paused: bool, note: str = "", as_json: bool) -> None:
    with acting(user, writes=True) as (session, actor):
        queue.set_paused(session, actor=actor, is_paused=is_paused, note=note)
        found = queue.get_queue(session, actor=actor)
    print_queue(found, as_json=as_json)


def print_queue(found: QueuePublic, *, as_json: bool) -> None:
    """Print the queue as JSON or as a table."""
    if as_json:
        print_json(found)
        return
    print_line(headline(found))
    rows = [(str(i.position), i.id, i.name, i.owner, i.after) for i in found.items]
    print_table(("Place", "ID", "Name", "Owner", "Runs after"), rows, empty="Nothing is queued.")


def headline(found: QueuePublic) -> str:
    """One line on whether the queue moves."""
    if found.is_paused:
        why = f": {found.note}" if found.note else "."
        by = f" by {found.changed_by}" if found.changed_by else ""
        return f"The queue is paused{by}{why}"
    if not found.n_slots:
        return "The queue stands still: QLORA_STUDIO_SLOTS is 0."
    return f"{found.n_queued} queued; {found.n_busy} of {found.n_slots} slots are busy."
