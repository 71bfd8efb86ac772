"""`qlora-studio dataset …`: add and list datasets."""

import time
from pathlib import Path
from typing import Annotated

import typer

from qlora_studio.commands.console import (
    FAILED,
    JsonFlag,
    UserName,
    acting,
    allow_root,
    command,
    end,
    find_actor,
    print_json,
    print_line,
    print_table,
    say,
)
from qlora_studio.commands.models import is_folder
from qlora_studio.contracts.enums import DatasetStatus, Task
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db import engine as db
from qlora_studio.db.models import Dataset, User
from qlora_studio.ingest import launching
from qlora_studio.services import datasets

EXAMPLE = "example"
_POLL_S = 0.5
app = typer.Typer(help="Datasets: add, list.", no_args_is_help=True)


@app.command("add")
@command
def add(
    source: Annotated[str, typer.Argument(help="A folder with recordings, or “example”.")],
    *,
    name: Annotated[str, typer.Option(help="The name to show.")] = "",
    description: Annotated[str, typer.Option(help="What is in it.")] = "",
    task: Annotated[Task, typer.Option(help="What it is for.")] = Task.SPEECH_TO_TEXT,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Take a folder of recordings in, and say what could not be used."""
    dataset = add_dataset(find_actor(user), source, name=name, description=description, task=task)
    if as_json:
        print_json(public(dataset))
    elif dataset.status == DatasetStatus.READY:
        unused = f", {dataset.n_rejected} could not be used" if dataset.n_rejected else ""
        print_line(f"{dataset.id}  {dataset.name}: {dataset.n_clips:,} clips{unused}, ready")
    else:
        say(f"error: {dataset.error or dataset.status.value}")
    if dataset.status != DatasetStatus.READY:
        end(FAILED)


@app.command("list")
@command
def list_(
    query: Annotated[str, typer.Option(help="Part of the name.")] = "",
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """List datasets, newest first."""
    with acting(user) as (session, actor):
        found, _ = datasets.list_datasets(session, actor=actor, query=query, page_size=100)
    if as_json:
        print_json([public(dataset) for dataset in found])
        return
    rows = [
        (d.id, d.name, d.task.value, d.n_clips, f"{d.duration_s / 60:.1f} min", d.status.value) for d in found
    ]
    print_table(
        ("ID", "Name", "Task", "Clips", "Length", "Status"),
        rows,
        empty="No datasets yet. Add one: qlora-studio dataset add example",
    )


def add_dataset(
    actor: User, source: str, *, name: str = "", description: str = "", task: Task = Task.SPEECH_TO_TEXT
) -> Dataset:
    """Add a dataset from a folder or the examples, and wait until it is ready or in error."""
    with db.write() as session:
        if source == EXAMPLE:
            dataset = datasets.add_example(session, actor=actor)
        elif is_folder(source):
            folder = Path(source).expanduser().resolve()
            allow_root("dataset", str(folder))
            form = datasets.DatasetCreate(
                name=name or folder.name,
                description=description,
                task=task,
                source=datasets.DatasetSource(kind="folder", path=str(folder)),
            )
            dataset = datasets.create(session, actor=actor, form=form)
        else:
            raise InvalidInput(f"“{source}” is not a folder.")
    return wait_for(actor, dataset.id)


def wait_for(actor: User, dataset_id: str) -> Dataset:
    """Wait until a dataset is taken in; tells how far it is."""
    told = 0
    while True:
        if launching.wait(dataset_id, _POLL_S):
            time.sleep(_POLL_S / 5)  # ended, or another process takes it in
        with db.read() as session:
            dataset = datasets.get_dataset(session, actor=actor, dataset_id=dataset_id)
        if dataset.status != DatasetStatus.PROCESSING:
            return dataset
        if dataset.progress_total and dataset.progress_done >= told + 100:
            told = dataset.progress_done
            say(f"Taking in clips: {told:,} of {dataset.progress_total:,}")


def public(dataset: Dataset) -> dict[str, object]:
    """The dataset as the REST API shows it."""
    return dataset.model_dump(mode="json", exclude={"owner_id"})
