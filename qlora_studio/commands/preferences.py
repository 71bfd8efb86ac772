"""`qlora-studio preferences …`: compare two takes of a text without knowing what made them."""

from pathlib import Path
from typing import Annotated

import typer

from qlora_studio.commands.console import (
    JsonFlag,
    UserName,
    acting,
    command,
    print_json,
    print_line,
)
from qlora_studio.commands.lists import PAGE_SIZE, PageNumber, print_page
from qlora_studio.contracts.enums import Preference
from qlora_studio.core.errors import InvalidInput
from qlora_studio.services import generations, votes
from qlora_studio.services.vote_schemas import VotePublic, VotePut

app = typer.Typer(help="Blind pairs of takes: next, vote, undo, list.", no_args_is_help=True)


@app.command("next")
@command
def next_(
    to: Annotated[Path | None, typer.Option(help="Write left.wav and right.wav into this folder.")] = None,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Show the pair to compare next; `--to` writes its two sounds."""
    with acting(user) as (session, actor):
        found = votes.get_next(session, actor=actor)
        paths = []
        if found.pair is not None and to is not None:
            sides = (found.pair.first, found.pair.second)
            paths = [generations.get_audio(session, actor=actor, take_id=take.id) for take in sides]
    for name, path in zip(("left.wav", "right.wav"), paths, strict=False):
        _write(path, to or Path(), name)
    if as_json:
        print_json(found)
    elif found.pair is None:
        print_line("No two takes of one text are left to compare.")
    else:
        print_line(f"“{found.pair.prompt}”: left {found.pair.first.id}, right {found.pair.second.id}")


@app.command("vote")
@command
def vote(
    left: Annotated[str, typer.Argument(help="The take on the left.")],
    right: Annotated[str, typer.Argument(help="The take on the right.")],
    verdict: Annotated[Preference, typer.Argument(help="Which is better.")],
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Say which of two takes is better; your own vote about the two is replaced."""
    form = VotePut(first_take_id=left, second_take_id=right, verdict=verdict)
    with acting(user, writes=True) as (session, actor):
        found = VotePublic.of(votes.put(session, actor=actor, form=form))
    print_json(found) if as_json else print_line(f"{found.id}: {found.verdict.value}")


@app.command("undo")
@command
def undo(user: UserName = "", as_json: JsonFlag = False) -> None:
    """Take your latest vote back."""
    with acting(user, writes=True) as (session, actor):
        found = votes.take_back_last(session, actor=actor)
    said = f"“{found.pair.prompt}”: {found.verdict.value} is taken back."
    print_json(found) if as_json else print_line(said)


@app.command("list")
@command
def list_(page: PageNumber = 1, user: UserName = "", as_json: JsonFlag = False) -> None:
    """List your votes, the latest first."""
    with acting(user) as (session, actor):
        rows, total = votes.list_own(session, actor=actor, page=page, page_size=PAGE_SIZE)
    found = [VotePublic.of(row) for row in rows]
    cells = [(v.id, v.first_take_id, v.second_take_id, v.verdict.value) for v in found]
    print_page(
        found,
        ("Vote", "Left", "Right", "Verdict"),
        cells,
        total=total,
        page=page,
        empty="No votes yet.",
        as_json=as_json,
    )


def _write(path: Path, folder: Path, name: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(path.read_bytes())
    except OSError as error:
        raise InvalidInput(f"{folder / name} can't be written ({error.strerror}).") from error
