"""`qlora-studio model …`: base models."""

from pathlib import Path
from typing import Annotated

import typer

from qlora_studio.commands.completing import ModelId
from qlora_studio.commands.console import (
    FAILED,
    JsonFlag,
    UserName,
    YesFlag,
    acting,
    allow_root,
    command,
    confirm,
    end,
    find_actor,
    print_fields,
    print_json,
    print_line,
    say,
    tell,
)
from qlora_studio.commands.lists import PAGE_SIZE, PageNumber, print_page
from qlora_studio.commands.progress import Bar
from qlora_studio.contracts.enums import ModelStatus, Task
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db import engine as db
from qlora_studio.db.models import BaseAudioModel, User
from qlora_studio.services import model_intake, models
from qlora_studio.services.access import Action, Shelf
from qlora_studio.services.model_schemas import ModelCreate, ModelPublic, ModelUpdate

STARTERS = {"starter": "speech", "starter-sound": "sound"}  # by the word for it
_LOOK_EVERY_S = 0.2
app = typer.Typer(help="Base models: add, list, show, edit, check, delete.", no_args_is_help=True)


@app.command("add")
@command
def add(
    source: Annotated[
        str, typer.Argument(help="A folder, a Hugging Face id (owner/name), or “starter”, “starter-sound”.")
    ],
    *,
    name: Annotated[str, typer.Option(help="The name to show.")] = "",
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    revision: Annotated[str, typer.Option(help="Branch, tag or commit on the Hub.")] = "main",
    task: Annotated[Task | None, typer.Option(help="What it is for, if not what its files say.")] = None,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Check a model and add it; a Hub model is downloaded first."""
    model = add_model(
        find_actor(user),
        source,
        name=name,
        description=description,
        revision=revision,
        task=task,
        quiet=as_json,
    )
    if as_json:
        print_json(ModelPublic.of(model))
    elif model.status == ModelStatus.READY:
        print_line(
            f"{model.id}  {model.name}: {model.architecture}, {model.n_parameters:,} parameters, ready"
        )
    else:
        say(f"error: {model.error}")
    if model.status != ModelStatus.READY:
        end(FAILED)


@app.command("list")
@command
def list_(
    query: Annotated[str, typer.Option(help="Part of the name or architecture.")] = "",
    *,
    shared: Annotated[bool, typer.Option("--shared", help="Those that others share.")] = False,
    page: PageNumber = 1,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """List models, newest first."""
    with acting(user) as (session, actor):
        found, total = models.list_models(
            session,
            actor=actor,
            query=query,
            page=page,
            page_size=PAGE_SIZE,
            shelf=Shelf.SHARED if shared else Shelf.MINE,
        )
    rows = [(m.id, m.name, m.architecture, f"{m.n_parameters / 1e6:.1f} M", m.status.value) for m in found]
    print_page(
        [ModelPublic.of(model) for model in found],
        ("ID", "Name", "Architecture", "Parameters", "Status"),
        rows,
        total=total,
        page=page,
        empty="No models yet. Add one: qlora-studio model add starter",
        as_json=as_json,
    )


@app.command("show")
@command
def show(model_id: ModelId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Show what is known of a model; everything with --json."""
    with acting(user) as (session, actor):
        model = models.get_model(session, actor=actor, model_id=model_id, action=Action.SEE)
        found = ModelPublic.of(model)
    _print(found, as_json=as_json)


@app.command("edit")
@command
def edit(
    model_id: ModelId,
    *,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Change a model's name or description."""
    if name is None and description is None:
        raise InvalidInput("Say what to change: --name, --description.")
    form = ModelUpdate(name=name, description=description)
    with acting(user, writes=True) as (session, actor):
        found = ModelPublic.of(models.update_model(session, actor=actor, model_id=model_id, data=form))
    _print(found, as_json=as_json)


@app.command("check")
@command
def check(model_id: ModelId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Check a model's files again; one that ended in error is tried once more."""
    actor = find_actor(user)
    with db.write() as session:
        model = models.recheck(session, actor=actor, model_id=model_id)
    found = ModelPublic.of(_settled(actor, model, quiet=as_json))
    _print(found, as_json=as_json)
    if found.status != ModelStatus.READY:
        end(FAILED)


@app.command("delete")
@command
def delete(model_id: ModelId, yes: YesFlag = False, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Delete a model; refused while jobs or adapters use it."""
    confirm(f"Delete {model_id}?", yes=yes)
    with acting(user, writes=True) as (session, actor):
        models.delete_model(session, actor=actor, model_id=model_id)
    tell(f"{model_id} is gone.", {"id": model_id, "is_deleted": True}, as_json=as_json)


def _print(found: ModelPublic, *, as_json: bool) -> None:
    print_json(found) if as_json else print_fields(found.model_dump(mode="json"))


def add_model(
    actor: User,
    source: str,
    *,
    name: str = "",
    description: str = "",
    revision: str = "main",
    task: Task | None = None,
    quiet: bool = False,
) -> BaseAudioModel:
    """Add a model from a folder, the Hub or the examples, and wait until it is ready or refused.

    Args:
        quiet: Don't tell how far it is.
    """
    if source in STARTERS:
        body: dict[str, object] = {"kind": "starter", "name": STARTERS[source]}
    elif is_folder(source):
        folder = str(Path(source).expanduser().resolve())
        allow_root("model", folder)
        body = {"kind": "path", "path": folder}
    elif source.count("/") == 1:
        body = {"kind": "hub", "repo_id": source, "revision": revision}
    else:
        raise InvalidInput(f"“{source}” is neither a folder nor a Hugging Face id (owner/name).")
    form = ModelCreate.model_validate(
        {"name": name, "description": description, "source": body, "task": task}
    )
    with db.write() as session:
        model = models.register(session, actor=actor, data=form)
    return _settled(actor, model, quiet=quiet)


def _settled(actor: User, model: BaseAudioModel, *, quiet: bool) -> BaseAudioModel:
    """The model when what is being done with it has ended; tells how far it is."""
    if model.status == ModelStatus.READY:
        return model
    with Bar(quiet=quiet) as bar:
        while not model_intake.wait(model.id, _LOOK_EVERY_S):
            with db.read() as session:
                model = models.get_model(session, actor=actor, model_id=model.id)
            bar.show(*_progress(model))
    with db.read() as session:
        return models.get_model(session, actor=actor, model_id=model.id)


def _progress(model: BaseAudioModel) -> tuple[str, float, float]:
    if model.status != ModelStatus.DOWNLOADING:
        return "Checking the files", 0, 0
    done, total = model.downloaded_bytes, model.size_bytes
    of = f" of {total / 1e6:,.1f}" if total else ""
    return f"Downloading {model.name}: {done / 1e6:,.1f}{of} MB", done, total


def is_folder(text: str) -> bool:
    """Whether an argument names a folder that is there, or can only be meant as a path."""
    return text.startswith(("/", "./", "../", "~")) or Path(text).is_dir()
