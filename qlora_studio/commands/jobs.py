"""`qlora-studio jobs …` and `qlora-studio export`: look at jobs, change them, take results."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from qlora_studio.commands.completing import JobId
from qlora_studio.commands.console import (
    JsonFlag,
    UserName,
    YesFlag,
    acting,
    command,
    confirm,
    print_fields,
    print_json,
    print_line,
    tell,
)
from qlora_studio.commands.lists import PAGE_SIZE, PageNumber, print_page
from qlora_studio.commands.progress import Bar
from qlora_studio.commands.queue import print_queue
from qlora_studio.contracts.enums import JobStatus, StopMode
from qlora_studio.core.errors import Conflict, InvalidInput
from qlora_studio.db.models import Job
from qlora_studio.services import jobs, mlflow, next_actions, queue, results
from qlora_studio.services.access import Shelf
from qlora_studio.services.job_schemas import JobDetail, JobPublic, JobView, is_stalled, percent_of

ZipPath = Annotated[Path | None, typer.Option("--to", help="Where to write the zip.")]
app = typer.Typer(
    help="Training jobs: list, show, compare, stop, resume, clone, move, delete, logs.", no_args_is_help=True
)


@app.command("list")
@command
def list_(
    status: Annotated[JobStatus | None, typer.Option(help="Only jobs of this status.")] = None,
    query: Annotated[str, typer.Option(help="Part of the name, or of the model's or dataset's.")] = "",
    *,
    shared: Annotated[bool, typer.Option("--shared", help="Those that others share.")] = False,
    page: PageNumber = 1,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """List jobs, newest first."""
    with acting(user) as (session, actor):
        found, total = jobs.list_jobs(
            session,
            actor=actor,
            status=status,
            query=query,
            page=page,
            page_size=PAGE_SIZE,
            shelf=Shelf.SHARED if shared else Shelf.MINE,
        )
    rows = [
        (v.job.id, v.job.name, v.model_name, v.dataset_name, _status_of(v.job), f"{percent_of(v.job):.0f} %")
        for v in found
    ]
    columns = ("ID", "Name", "Model", "Dataset", "Status", "Done")
    items = [JobPublic.of(view) for view in found]
    print_page(items, columns, rows, total=total, page=page, empty="No jobs yet.", as_json=as_json)


def _status_of(job: Job) -> str:
    return f"{job.status.value}, stalled" if is_stalled(job) else job.status.value


@app.command("show")
@command
def show(job_id: JobId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Show what is known of a job; everything with --json."""
    with acting(user) as (session, actor):
        found = JobDetail.of(jobs.get_view(session, actor=actor, job_id=job_id))
    print_json(found) if as_json else print_fields(found.model_dump(mode="json"))


@app.command("stop")
@command
def stop(
    job_id: JobId,
    kill: Annotated[bool, typer.Option("--kill", help="End it at once and keep nothing new.")] = False,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Stop a job and keep its adapter."""
    mode = StopMode.KILL if kill else StopMode.SAVE
    with acting(user, writes=True) as (session, actor):
        jobs.stop(session, actor=actor, job_id=job_id, mode=mode)
        view = jobs.get_view(session, actor=actor, job_id=job_id)
    if as_json:
        print_json(JobPublic.of(view))
    else:
        print_line(f"{job_id} {view.job.status.value}")


@app.command("resume")
@command
def resume(job_id: JobId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Queue a job that ended early again: it goes on from its newest whole checkpoint."""
    with acting(user, writes=True) as (session, actor):
        jobs.resume(session, actor=actor, job_id=job_id)
        view = jobs.get_view(session, actor=actor, job_id=job_id)
    _print_queued(view, as_json=as_json)


@app.command("clone")
@command
def clone(
    job_id: JobId,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="A change, such as optimization.learning_rate=0.001.")
    ] = None,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Queue a job again, with changes."""
    wanted = parse_changes(changes or [])
    with acting(user, writes=True) as (session, actor):
        job = jobs.clone(session, actor=actor, job_id=job_id, changes=wanted)
        view = jobs.get_view(session, actor=actor, job_id=job.id)
    _print_queued(view, as_json=as_json)


@app.command("next")
@command
def next_(job_id: JobId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Do what is offered after a failure: resume it, or train again with something changed."""
    with acting(user, writes=True) as (session, actor):
        job = next_actions.apply(session, actor=actor, job_id=job_id)
        view = jobs.get_view(session, actor=actor, job_id=job.id)
    _print_queued(view, as_json=as_json)


@app.command("move")
@command
def move(
    job_id: JobId,
    position: Annotated[int, typer.Argument(min=1, help="The place among your own queued jobs, from 1.")],
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Put a queued job into another place among your own."""
    with acting(user, writes=True) as (session, actor):
        queue.move(session, actor=actor, job_id=job_id, position=position)
        session.flush()
        found = queue.get_queue(session, actor=actor)
    print_queue(found, as_json=as_json)


@app.command("delete")
@command
def delete(job_id: JobId, yes: YesFlag = False, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Delete a job with its log, curves and checkpoints. Its adapter has to be deleted first."""
    confirm(f"Delete {job_id} with its log, curves and checkpoints?", yes=yes)
    with acting(user, writes=True) as (session, actor):
        jobs.delete(session, actor=actor, job_id=job_id)
    tell(f"{job_id} deleted", {"id": job_id, "is_deleted": True}, as_json=as_json)


def parse_changes(given: list[str]) -> dict[str, Any]:
    """Read `part.key=value` as what a clone changes; values are YAML.

    Raises:
        InvalidInput: one has no `=`, or its value is no plain value.
    """
    changes: dict[str, Any] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign:
            raise InvalidInput(f"“{text}” is no change. Write it as optimization.learning_rate=0.001.")
        try:
            read: Any = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InvalidInput(f"The value of {name} can't be read.") from error
        part, _, key = name.strip().partition(".")
        if key:
            changes.setdefault(part, {})[key] = read
        else:
            changes[part] = read
    return changes


def _print_queued(view: JobView, *, as_json: bool) -> None:
    if as_json:
        print_json(JobPublic.of(view))
    else:
        print_line(f"{view.job.id} {view.job.status.value}, place {view.queue_position}")


@app.command("tensorboard")
@command
def tensorboard_(
    job_id: JobId,
    to: ZipPath = None,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Say how to look at a job in TensorBoard; with --to, write its files as a zip."""
    with acting(user) as (session, actor):
        folder = results.find_tensorboard(session, actor=actor, job_id=job_id)
        if to is not None:
            _, pieces = results.stream_tensorboard(session, actor=actor, job_id=job_id)
            save_new(to, pieces, as_json=as_json)
        elif as_json:
            print_json({"path": str(folder)})
        else:
            print_line(f"tensorboard --logdir {shlex.quote(str(folder))}")


@app.command("mlflow")
@command
def mlflow_(job_id: JobId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Print the address of a job's run in MLflow."""
    with acting(user) as (session, actor):
        address = mlflow.find_address(session, actor=actor, job_id=job_id)
    if as_json:
        print_json({"mlflow_url": address or None})
    else:
        print_line(address or "This job is not told to an MLflow server (QLORA_STUDIO_MLFLOW_URL).")


@command
def export(
    job_id: JobId,
    to: ZipPath = None,
    merged: Annotated[bool, typer.Option("--merged", help="The merged model as well.")] = False,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Write a job's results (adapter, model card, metrics, TensorBoard's files, logs, config) as one zip."""
    with acting(user) as (session, actor):
        name, pieces = results.stream_results(session, actor=actor, job_id=job_id, merged=merged)
        save_new(to or Path(name), pieces, as_json=as_json)


def save_new(path: Path, pieces: Iterator[bytes], *, as_json: bool) -> None:
    """Write a file that is not there yet, whole or not at all, and say where it is.

    Raises:
        Conflict: there is a file of that name.
    """
    if path.exists():
        raise Conflict(f"{path} is there already. Name another with --to.")
    partial = path.with_name(f".{path.name}.partial")
    n_bytes = 0
    try:
        with partial.open("wb") as file, Bar(quiet=as_json) as bar:
            for piece in pieces:
                n_bytes += file.write(piece)
                bar.show(f"Writing: {n_bytes / 1e6:.1f} MB")
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
    if as_json:
        print_json({"path": str(path), "size_bytes": n_bytes})
    else:
        print_line(f"{path} ({n_bytes / 1e6:.1f} MB)")
