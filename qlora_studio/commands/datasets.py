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
    say,
)
from qlora_studio.commands.lists import PAGE_SIZE, PageNumber, print_page
from qlora_studio.commands.models import is_folder
from qlora_studio.commands.progress import Bar
from qlora_studio.contracts.enums import DatasetStatus, Task
from qlora_studio.core.errors import InvalidInput, NotFound
from qlora_studio.db import engine as db
from qlora_studio.db.models import Dataset, User
from qlora_studio.ingest import launching
from qlora_studio.services import credentials, datasets
from qlora_studio.services.access import Shelf

EXAMPLE = "example"
HUB_ADDRESS = "https://huggingface.co/datasets/"
_POLL_S = 0.5
Columns = Annotated[
    list[str] | None,
    typer.Option(help="Field and column, such as text=sentence; fields: file, text, label, speaker, split."),
]
LabelFrom = Annotated[str, typer.Option(help="Where labels are: folder, prefix or none.")]
app = typer.Typer(help="Datasets: add, list, show, edit, delete, and what is in them.", no_args_is_help=True)


@app.command("add")
@command
def add(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder, an https:// or s3:// or gs:// address, a Hub id (owner/name), “example”."
        ),
    ],
    *,
    name: Annotated[str, typer.Option(help="The name to show.")] = "",
    description: Annotated[str, typer.Option(help="What is in it.")] = "",
    task: Annotated[Task, typer.Option(help="What it is for.")] = Task.SPEECH_TO_TEXT,
    column: Columns = None,
    label_from: LabelFrom = "",
    credential: Annotated[str, typer.Option(help="Name or id of a credential, for clouds and the Hub.")] = "",
    revision: Annotated[str, typer.Option(help="Branch, tag or commit on the Hub.")] = "",
    endpoint: Annotated[str, typer.Option(help="An S3 server besides Amazon's.")] = "",
    review: Annotated[
        bool, typer.Option("--review", help="Wait before files are taken in; see `dataset mapping`.")
    ] = False,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Take recordings in from a folder, the web, a cloud or the Hub, and say what could not be used."""
    actor = find_actor(user)
    options = {"revision": revision, "endpoint_url": endpoint}
    if credential:
        options["credential_id"] = find_credential(actor, credential)
    mapping = read_mapping(column or [], label_from)
    dataset = add_dataset(
        actor,
        source,
        name=name,
        description=description,
        task=task,
        mapping=mapping,
        quiet=as_json,
        review=review,
        **options,
    )
    print_taken_in(dataset, as_json=as_json)


def print_taken_in(dataset: Dataset, *, as_json: bool) -> None:
    """Say what became of a dataset whose files were to be taken in; ends with an error if nothing did."""
    is_waiting = dataset.status == DatasetStatus.AWAITING_FILES
    if as_json:
        print_json(public(dataset))
    elif is_waiting:
        print_line(
            f"{dataset.id}  {dataset.name}: waits. Look with `dataset mapping`, then `dataset ingest`."
        )
    elif dataset.status == DatasetStatus.READY:
        unused = f", {dataset.n_rejected} could not be used" if dataset.n_rejected else ""
        print_line(f"{dataset.id}  {dataset.name}: {dataset.n_clips:,} clips{unused}, ready")
    else:
        say(f"error: {dataset.error or dataset.status.value}")
    if dataset.status != DatasetStatus.READY and not is_waiting:
        end(FAILED)


@app.command("list")
@command
def list_(
    query: Annotated[str, typer.Option(help="Part of the name.")] = "",
    shared: Annotated[bool, typer.Option("--shared", help="Those that others share.")] = False,
    *,
    page: PageNumber = 1,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """List datasets, newest first."""
    with acting(user) as (session, actor):
        found, total = datasets.list_datasets(
            session,
            actor=actor,
            query=query,
            page=page,
            page_size=PAGE_SIZE,
            shelf=Shelf.SHARED if shared else Shelf.MINE,
        )
    rows = [
        (d.id, d.name, d.task.value, d.n_clips, f"{d.duration_s / 60:.1f} min", d.status.value) for d in found
    ]
    print_page(
        [public(dataset) for dataset in found],
        ("ID", "Name", "Task", "Clips", "Length", "Status"),
        rows,
        total=total,
        page=page,
        empty="No datasets yet. Add one: qlora-studio dataset add example",
        as_json=as_json,
    )


def add_dataset(
    actor: User,
    source: str,
    *,
    name: str = "",
    description: str = "",
    task: Task = Task.SPEECH_TO_TEXT,
    mapping: dict[str, str] | None = None,
    review: bool = False,
    quiet: bool = False,
    **options: str,
) -> Dataset:
    """Add a dataset from wherever `source` names, and wait until it is ready, in error, or to be looked at.

    Args:
        review: Stop before files are taken in.
        quiet: Don't tell how far it is.
        options: more of `DatasetSource`, such as `revision`; empty ones are left out.
    """
    if source == EXAMPLE and review:
        raise InvalidInput("The example comes with its texts: there is nothing to look at before.")
    if source == EXAMPLE and not name and not description:  # the one that is there does
        with db.write() as session:
            dataset = datasets.add_example(session, actor=actor)
        return wait_for(actor, dataset.id, quiet=quiet)
    given, default_name = read_source(source)
    form = datasets.DatasetCreate(
        name=name or default_name[:120] or "Dataset",
        description=description,
        task=task,
        mapping=mapping or {},
        source=datasets.DatasetSource.model_validate(
            given | {k: v for k, v in options.items() if v} | ({"review": True} if review else {})
        ),
    )
    with db.write() as session:
        dataset = datasets.create(session, actor=actor, form=form)
    return wait_for(actor, dataset.id, quiet=quiet)


def read_source(source: str) -> tuple[dict[str, str], str]:
    """What an argument means as a source, and a name for the dataset.

    Raises:
        InvalidInput: it is nothing that datasets come from.
    """
    if source == EXAMPLE:
        return {"kind": "example"}, source
    last = source.partition("?")[0].rstrip("/").rpartition("/")[2]
    if source.startswith(("s3://", "gs://")):
        return {"kind": "cloud", "url": source}, last
    if source.startswith(HUB_ADDRESS):
        return {"kind": "hub", "repo_id": source}, last
    if source.startswith(("https://", "http://")):
        return {"kind": "url", "url": source}, last
    if is_folder(source):
        folder = Path(source).expanduser().resolve()
        allow_root("dataset", str(folder))
        return {"kind": "folder", "path": str(folder)}, folder.name
    if source.count("/") == 1:
        return {"kind": "hub", "repo_id": source}, last
    raise InvalidInput(f"“{source}” is no folder, no address and no Hugging Face id (owner/name).")


def read_mapping(columns: list[str], label_from: str) -> dict[str, str]:
    """A mapping from options such as `text=sentence`.

    Raises:
        InvalidInput: one of them has no `=`.
    """
    mapping = {"label_from": label_from} if label_from else {}
    for given in columns:
        name, equals, column = given.partition("=")
        if not equals:
            raise InvalidInput(f"“{given}” isn't field=column, such as text=sentence.")
        mapping[name.strip()] = column.strip()
    return mapping


def find_credential(actor: User, wanted: str) -> str:
    """The id of a credential by its id or name.

    Raises:
        NotFound: the actor has none of that name, or several.
    """
    with db.read() as session:
        found = [c.id for c in credentials.list_credentials(session, actor=actor) if wanted in (c.id, c.name)]
    if len(found) != 1:
        raise NotFound(
            f"There {'are several credentials' if found else 'is no credential'} called “{wanted}”."
        )
    return found[0]


def wait_for(actor: User, dataset_id: str, *, quiet: bool = False) -> Dataset:
    """Wait until a dataset is taken in; tells how far it is."""
    with Bar(quiet=quiet) as bar:
        while True:
            if launching.wait(dataset_id, _POLL_S):
                time.sleep(_POLL_S / 5)  # ended, or another process takes it in
            with db.read() as session:
                dataset = datasets.get_dataset(session, actor=actor, dataset_id=dataset_id)
            if dataset.status != DatasetStatus.PROCESSING:
                return dataset
            bar.show(datasets.describe_progress(dataset), dataset.progress_done, dataset.progress_total)


def public(dataset: Dataset) -> dict[str, object]:
    """The dataset as the REST API shows it."""
    return dataset.model_dump(mode="json", exclude={"owner_id"})
