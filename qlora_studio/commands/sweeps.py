"""`qlora-studio sweep SPEC.yaml` and `qlora-studio sweeps …`: values of a few parameters, compared."""

from pathlib import Path
from typing import Annotated, Any

import typer

from qlora_studio.commands.completing import SweepId
from qlora_studio.commands.console import (
    FAILED,
    STOPPED,
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
)
from qlora_studio.commands.lists import PAGE_SIZE, PageNumber, print_page
from qlora_studio.commands.training import (
    read_spec,
    resolve_dataset,
    resolve_model,
    say_if_paused,
    task_of,
    wanted_task,
)
from qlora_studio.commands.watching import see_all_through
from qlora_studio.contracts.enums import JobStatus, StopMode
from qlora_studio.contracts.metrics import METRICS
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db import engine as db
from qlora_studio.db.models import User
from qlora_studio.services import jobs, sweeps
from qlora_studio.services.sweeps import SweepDetail

app = typer.Typer(help="Sweeps: list, show, stop.", no_args_is_help=True)


@command
def sweep(
    spec: Annotated[Path, typer.Argument(help="The job as YAML, with “sweep”.", exists=True, dir_okay=False)],
    fresh: Annotated[bool, typer.Option(help="Take folders in again even if they are known.")] = False,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Train one job for each combination of values, and print the table. Ctrl-C stops them all.

    The file is a job's with a key more: `sweep`, up to three dotted parameters with lists of values.
    Exit code: 0 all succeeded, 1 some did not, 2 wrong input, 3 stopped.
    """
    actor = find_actor(user)
    data = read_spec(spec)
    axes = _read_axes(data.pop("sweep", None))
    data["dataset_id"] = resolve_dataset(
        actor, str(data.get("dataset_id", "")), spec.parent, fresh=fresh, task=wanted_task(data)
    )
    task = task_of(actor, data["dataset_id"])
    data["model_id"] = resolve_model(actor, str(data.get("model_id", "")), spec.parent, task, fresh=fresh)
    parsed = jobs.parse_spec(data)
    with db.write() as session:
        group_id = sweeps.submit(session, actor=actor, spec=parsed, axes=axes).id
    with db.read() as session:
        found = sweeps.get_sweep(session, actor=actor, group_id=group_id)
    say(f"{group_id}: {found.name}, {found.n_jobs} jobs")
    say_if_paused(actor)
    _see_all_through(actor, found, quiet=as_json)
    with db.read() as session:
        found = sweeps.get_sweep(session, actor=actor, group_id=group_id)
    _print(found, as_json=as_json)
    if JobStatus.STOPPED in found.statuses:
        end(STOPPED)
    end(0 if set(found.statuses) == {JobStatus.SUCCEEDED} else FAILED)


def _read_axes(given: Any) -> sweeps.Axes:
    sentence = "“sweep” should map parameters such as qlora.rank to lists of values."
    if not isinstance(given, dict) or not all(isinstance(values, list) for values in given.values()):
        raise InvalidInput(sentence, fields={"sweep": sentence})
    if not all(isinstance(value, bool | int | float | str) for values in given.values() for value in values):
        raise InvalidInput(sentence, fields={"sweep": sentence})
    return {str(axis): values for axis, values in given.items()}


def _see_all_through(actor: User, found: SweepDetail, *, quiet: bool) -> None:
    def stop(mode: StopMode) -> None:
        with db.write() as session:
            sweeps.stop(session, actor=actor, group_id=found.id, mode=mode)

    for row in found.rows:
        say(f"{row.job_id}: {row.name}")
    names = {row.job_id: sweeps.describe(row.values) for row in found.rows}
    see_all_through(names, stop=stop, quiet=quiet)


@app.command("list")
@command
def list_(page: PageNumber = 1, user: UserName = "", as_json: JsonFlag = False) -> None:
    """List sweeps, newest first."""
    with acting(user) as (session, actor):
        found, total = sweeps.list_sweeps(session, actor=actor, page=page, page_size=PAGE_SIZE)
    rows = [
        (
            s.id,
            s.name,
            ", ".join(map(sweeps.label_of, s.axes)),
            ", ".join(f"{n} {w}" for w, n in s.statuses.items()),
        )
        for s in found
    ]
    columns = ("ID", "Name", "Tries", "Jobs")
    print_page(found, columns, rows, total=total, page=page, empty="No sweeps yet.", as_json=as_json)


@app.command("show")
@command
def show(sweep_id: SweepId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Show a sweep's jobs with their values and results; the best one has a star."""
    with acting(user) as (session, actor):
        found = sweeps.get_sweep(session, actor=actor, group_id=sweep_id)
    _print(found, as_json=as_json)


@app.command("stop")
@command
def stop(sweep_id: SweepId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Stop all of a sweep's jobs that have not ended, keeping adapters."""
    with acting(user, writes=True) as (session, actor):
        n_jobs = sweeps.stop(session, actor=actor, group_id=sweep_id)
        session.flush()
        found = sweeps.get_sweep(session, actor=actor, group_id=sweep_id)
    if as_json:
        print_json(found)
    else:
        print_line(f"{sweep_id}: {n_jobs} jobs asked to stop")


def _print(found: SweepDetail, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    metric = METRICS[found.metric]
    rows = [
        (
            "*" if row.is_best else "",
            row.job_id,
            *(sweeps.text_of(row.values[axis]) for axis in found.axes),
            row.status.value,
            metric.text(row.base),
            metric.text(row.best),
            row.adapter_id or "",
        )
        for row in found.rows
    ]
    axes = [sweeps.label_of(axis) for axis in found.axes]
    print_line(found.name)
    heads = ("", "Job", *axes, "Status", f"{metric.short} before", "after", "Adapter")
    print_table(heads, rows, empty="Its jobs have been deleted.")
