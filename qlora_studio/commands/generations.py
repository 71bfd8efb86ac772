"""`qlora-studio generations …`: takes of a text, made by this process, kept beside those of the pages."""

from pathlib import Path
from typing import Annotated, Any

import typer

from qlora_studio.commands.completing import AdapterOption, GenerationId, ModelOption, TakeId
from qlora_studio.commands.console import (
    FAILED,
    JsonFlag,
    UserName,
    YesFlag,
    acting,
    command,
    confirm,
    end,
    find_actor,
    print_json,
    print_line,
    print_table,
    say,
    tell,
)
from qlora_studio.commands.following import Told, follow
from qlora_studio.commands.inference import Strength
from qlora_studio.commands.lists import PAGE_SIZE, PageNumber, print_page
from qlora_studio.contracts.enums import GenerationStatus, Sharing
from qlora_studio.core.errors import Conflict, InvalidInput
from qlora_studio.db import engine as db
from qlora_studio.db.models import User
from qlora_studio.services import generation_lists, generations, making, marks
from qlora_studio.services.generation_schemas import GenerationCreate, GenerationPublic, GenerationUpdate

app = typer.Typer(help="Takes of a text: make, list, show, save, delete.", no_args_is_help=True)
_LOOK_EVERY_S = 0.2


@app.command("make")
@command
def make(
    prompt: Annotated[str, typer.Argument(help="What the sound should be.")],
    *,
    model: ModelOption,
    takes: Annotated[int, typer.Option(help="How many, 16 at most.")] = 1,
    seconds: Annotated[float, typer.Option(help="How long each becomes, 30 at most.")] = 8.0,
    seed: Annotated[int | None, typer.Option(help="Of the first take; drawn if none is given.")] = None,
    guidance: Annotated[float, typer.Option(help="How much to follow the text, 1 to 20.")] = 3.0,
    temperature: Annotated[float, typer.Option(help="How varied, 0.1 to 2.")] = 1.0,
    adapter: AdapterOption = "",
    strength: Strength = 1.0,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Make takes of a text, one by one; Ctrl-C calls them off and leaves nothing behind."""
    actor = find_actor(user)
    form = GenerationCreate(
        prompt=prompt,
        model_id=model,
        adapter_id=adapter or None,
        strength=strength,
        duration_s=seconds,
        seed=seed,
        n_takes=takes,
        guidance=guidance,
        temperature=temperature,
    )
    with db.write() as session:
        asked = generations.start(session, actor=actor, form=form, in_background=False)
    found = _follow(actor, asked.id, quiet=as_json)
    _print(found, as_json=as_json)
    if found.status is GenerationStatus.FAILED:
        say(f"error: {found.error}")
        end(FAILED)


@app.command("list")
@command
def list_(
    status: Annotated[GenerationStatus | None, typer.Option(help="Only those with this status.")] = None,
    query: Annotated[str, typer.Option(help="Part of the text.")] = "",
    *,
    model: Annotated[str, typer.Option(help="Only those of this model (its id).")] = "",
    adapter: Annotated[str, typer.Option(help="Only those of this adapter (its id).")] = "",
    rated: Annotated[
        bool | None, typer.Option("--rated/--unrated", help="Only those that you have rated, or not yet.")
    ] = None,
    favorite: Annotated[bool, typer.Option("--favorite", help="Only those with a favourite.")] = False,
    tag: Annotated[str, typer.Option(help="Only those with this tag of yours.")] = "",
    from_tests: Annotated[
        bool, typer.Option("--from-tests", help="Those made for listening tests, which are left out else.")
    ] = False,
    shared: Annotated[bool, typer.Option("--shared", help="Those that others share.")] = False,
    page: PageNumber = 1,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """List generations, newest first."""
    chosen = {
        "query": query,
        "status": status,
        "model_id": model or None,
        "adapter_id": adapter or None,
        "rated": rated,
        "tag": tag or None,
        "from_tests": from_tests,
    }
    if shared and any(value not in ("", None, False) for value in chosen.values()):
        raise InvalidInput("--shared goes with --favorite and --page only.")
    of_page: dict[str, Any] = {"favorite": favorite, "page": page, "page_size": PAGE_SIZE}
    with acting(user) as (session, actor):
        rows, total = (
            generation_lists.list_shared(session, actor=actor, **of_page)
            if shared
            else generation_lists.list_generations(session, actor=actor, **chosen, **of_page)
        )
        takes = generations.takes_of(session, rows)
        ids = [take.id for some in takes.values() for take in some]
        liked = marks.favorites_among(session, actor=actor, take_ids=ids)
    found = [GenerationPublic.of(row, takes[row.id], liked) for row in rows]
    cells = [(g.id, g.prompt[:60], g.model_name, g.adapter_name, g.status.value, _count(g)) for g in found]
    print_page(
        found,
        ("ID", "Text", "Model", "Adapter", "Status", "Takes"),
        cells,
        total=total,
        page=page,
        empty="No generations yet.",
        as_json=as_json,
    )


@app.command("show")
@command
def show(generation_id: GenerationId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Show what was asked for, and each take with its seed."""
    with acting(user) as (_, actor):
        found = _read(actor, generation_id)
    _print(found, as_json=as_json)


@app.command("save")
@command
def save(
    generation_id: GenerationId,
    to: Annotated[Path, typer.Option(help="The folder to write into.")] = Path(),
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Write a generation's takes as WAV files."""
    with acting(user) as (session, actor):
        found = _read(actor, generation_id)
        paths = [generations.get_audio(session, actor=actor, take_id=take.id) for take in found.takes]
    try:
        to.mkdir(parents=True, exist_ok=True)
        for path in paths:
            target = to / path.name
            with target.open("xb") as file:
                file.write(path.read_bytes())
    except FileExistsError as error:
        raise Conflict(f"{error.filename} is there already. Name another folder with --to.") from error
    except OSError as error:
        raise InvalidInput(f"{to} can't be written ({error.strerror}).") from error
    written = [str(to / path.name) for path in paths]
    tell("\n".join(written), {"paths": written}, as_json=as_json)


@app.command("share")
@command
def share(
    generation_id: GenerationId, sharing: Sharing, user: UserName = "", as_json: JsonFlag = False
) -> None:
    """Let others listen (read), rate and compare too (use), or nothing any more (private)."""
    form = GenerationUpdate(sharing=sharing)
    with acting(user, writes=True) as (session, actor):
        generations.update(session, actor=actor, generation_id=generation_id, form=form)
    tell(
        f"{generation_id}: {sharing.value}", {"id": generation_id, "sharing": sharing.value}, as_json=as_json
    )


@app.command("like")
@command
def like(
    take_id: TakeId,
    *,
    remove: Annotated[bool, typer.Option("--remove", help="No longer.")] = False,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Keep a take among your favourites, or no longer."""
    with acting(user, writes=True) as (session, actor):
        change = marks.remove_favorite if remove else marks.put_favorite
        change(session, actor=actor, take_id=take_id)
    line = f"{take_id} is {'no longer ' if remove else ''}a favourite."
    tell(line, {"id": take_id, "is_favorite": not remove}, as_json=as_json)


@app.command("delete")
@command
def delete(
    generation_id: GenerationId, yes: YesFlag = False, user: UserName = "", as_json: JsonFlag = False
) -> None:
    """Call a generation off, or delete it with its takes and their ratings."""
    confirm(f"Delete {generation_id} with its takes and their ratings?", yes=yes)
    with acting(user, writes=True) as (session, actor):
        generations.remove(session, actor=actor, generation_id=generation_id)
    tell(f"{generation_id} is gone.", {"id": generation_id, "is_deleted": True}, as_json=as_json)


def _read(actor: User, generation_id: str) -> GenerationPublic:
    with db.read() as session:
        found = generations.get_generation(session, actor=actor, generation_id=generation_id)
        takes = generations.takes_of(session, [found])[found.id]
        liked = marks.favorites_among(session, actor=actor, take_ids=[take.id for take in takes])
        return GenerationPublic.of(found, takes, liked)


def _follow(actor: User, generation_id: str, *, quiet: bool) -> GenerationPublic:
    """Make it here and tell how far it is; Ctrl-C calls it off."""

    def tell(found: GenerationPublic) -> Told:
        take = f"Take {min(found.n_done + 1, found.n_takes)} of {found.n_takes}"
        return f"{take}: {found.label} …" if found.label else "", found.n_done, found.n_takes

    return follow(
        lambda: making.run(generation_id),
        read=lambda: _read(actor, generation_id),
        tell=tell,
        call_off=lambda session: generations.remove(session, actor=actor, generation_id=generation_id),
        quiet=quiet,
    )


def _count(found: GenerationPublic) -> str:
    return f"{found.n_done} of {found.n_takes}"


def _print(found: GenerationPublic, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    model = found.model_name + (f" + {found.adapter_name} × {found.strength:g}" if found.adapter_id else "")
    print_line(f"{found.id}: “{found.prompt}”, {model}, {found.status.value}")
    if found.error:
        print_line(found.error)
    rows = [
        (t.index, t.id, t.seed, f"{t.duration_s:.1f} s", t.n_ratings or "", "yes" if t.is_favorite else "")
        for t in found.takes
    ]
    print_table(("", "Take", "Seed", "Length", "Ratings", "Favourite"), rows, empty="No takes yet.")
