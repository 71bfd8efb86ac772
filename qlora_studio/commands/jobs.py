"""`qlora-studio jobs …` and `qlora-studio export`: look at jobs, stop them, take their results."""

from collections.abc import Iterator
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
    print_table,
)
from qlora_studio.contracts.enums import JobStatus, StopMode
from qlora_studio.core.errors import Conflict
from qlora_studio.services import adapters, job_reading, jobs
from qlora_studio.services.job_schemas import JobDetail, JobPublic, percent_of

ZipPath = Annotated[Path | None, typer.Option("--to", help="Where to write the zip.")]
app = typer.Typer(help="Training jobs: list, show, stop, logs.", no_args_is_help=True)


@app.command("list")
@command
def list_(
    status: Annotated[JobStatus | None, typer.Option(help="Only jobs of this status.")] = None,
    query: Annotated[str, typer.Option(help="Part of the name, or of the model's or dataset's.")] = "",
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """List jobs, newest first."""
    with acting(user) as (session, actor):
        found, _ = jobs.list_jobs(session, actor=actor, status=status, query=query, page_size=100)
    if as_json:
        print_json([JobPublic.of(view) for view in found])
        return
    rows = [
        (v.job.id, v.job.name, v.model_name, v.dataset_name, v.job.status.value, f"{percent_of(v.job):.0f} %")
        for v in found
    ]
    print_table(("ID", "Name", "Model", "Dataset", "Status", "Done"), rows, empty="No jobs yet.")


@app.command("show")
@command
def show(job_id: str, user: UserName = "") -> None:
    """Show everything known of a job, as JSON."""
    with acting(user) as (session, actor):
        print_json(JobDetail.of(jobs.get_view(session, actor=actor, job_id=job_id)))


@app.command("stop")
@command
def stop(
    job_id: str,
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


@app.command("logs")
@command
def logs(
    job_id: str,
    tail: Annotated[int, typer.Option(min=1, max=job_reading.MAX_LOG_LINES, help="How many lines.")] = 100,
    level: Annotated[
        str | None, typer.Option(help="Only this level and above: info, warning, error.")
    ] = None,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Print the end of a job's log."""
    with acting(user) as (session, actor):
        part = job_reading.read_log(session, actor=actor, job_id=job_id, tail=tail, level=level)
    if as_json:
        print_json([{"level": line.level, "text": line.text} for line in part.lines])
        return
    for line in part.lines:
        print_line(line.text)


@command
def export(
    job_id: str,
    to: ZipPath = None,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Write a job's results (adapter, metrics, log, config, model card) as one zip."""
    with acting(user) as (session, actor):
        name, pieces = adapters.stream_results(session, actor=actor, job_id=job_id)
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
        with partial.open("wb") as file:
            for piece in pieces:
                n_bytes += file.write(piece)
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
    if as_json:
        print_json({"path": str(path), "size_bytes": n_bytes})
    else:
        print_line(f"{path} ({n_bytes / 1e6:.1f} MB)")
