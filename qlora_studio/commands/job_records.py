"""`qlora-studio jobs logs|metrics|samples|compare`: what jobs have written down."""

import math
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from qlora_studio.commands.completing import JobId
from qlora_studio.commands.console import (
    JsonFlag,
    UserName,
    acting,
    command,
    find_actor,
    print_json,
    print_line,
    print_table,
)
from qlora_studio.commands.jobs import app, save_new
from qlora_studio.contracts.enums import TERMINAL_STATUSES
from qlora_studio.contracts.metrics import METRICS
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db import engine as db
from qlora_studio.db.models import User
from qlora_studio.jobs.metrics import MAX_POINTS, Series
from qlora_studio.services import comparisons, job_logs, job_reading, jobs
from qlora_studio.services.access import Action
from qlora_studio.services.reading_schemas import ComparisonPublic, SamplePublic, SeriesPublic
from qlora_studio.services.words import Word, compare_output

POLL_S = 0.3
Attempt = Annotated[int | None, typer.Option(min=1, help="Of which attempt; the newest unless told.")]


@app.command("logs")
@command
def logs(
    job_id: JobId,
    *,
    tail: Annotated[int, typer.Option(min=1, max=job_logs.MAX_LINES, help="How many lines.")] = 100,
    level: Annotated[
        str | None, typer.Option(help="Only this level and above: info, warning, error.")
    ] = None,
    search: Annotated[str, typer.Option(help="Only lines that hold this text, whatever its case.")] = "",
    attempt: Attempt = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    to: Annotated[Path | None, typer.Option(help="Write the whole log to this new file instead.")] = None,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Print the end of a job's log, or what a search finds in it."""
    if follow and (search or to is not None):
        raise InvalidInput("--follow goes with neither --search nor --to.")
    actor = find_actor(user)
    if to is not None:
        with db.read() as session:
            _, lines = job_logs.stream(session, actor=actor, job_id=job_id, attempt=attempt)
        save_new(to, lines, as_json=as_json)
        return
    with db.read() as session:
        found = job_logs.read(
            session, actor=actor, job_id=job_id, tail=tail, level=level, search=search, attempt=attempt
        )
    _print_log(found, as_json=as_json and not follow)
    if follow:
        _follow(actor, job_id, found.cursor, level)


def _print_log(found: job_logs.LogView, *, as_json: bool) -> None:
    if as_json:
        print_json([{"level": line.level, "text": line.text} for line in found.lines])
        return
    for line in found.lines:
        print_line(line.text)


def _follow(actor: User, job_id: str, cursor: str, level: str | None) -> None:
    """Print what is written from a place on, through all attempts, until the job has ended."""
    while True:
        with db.read() as session:
            job = jobs.get_job(session, actor=actor, job_id=job_id, action=Action.SEE)
            has_ended = job.status in TERMINAL_STATUSES
            found = job_logs.read(session, actor=actor, job_id=job_id, cursor=cursor, level=level)
        _print_log(found, as_json=False)
        if found.cursor == cursor:
            if has_ended:
                return
            time.sleep(POLL_S)
        cursor = found.cursor


@app.command("metrics")
@command
def metrics(
    job_id: JobId,
    keys: Annotated[list[str] | None, typer.Argument(help="Which curves; all unless told.")] = None,
    *,
    from_step: Annotated[int | None, typer.Option(min=0, help="First step.")] = None,
    to_step: Annotated[int | None, typer.Option(min=0, help="Last step.")] = None,
    points: Annotated[int, typer.Option(min=16, max=MAX_POINTS, help="Points of a curve at most.")] = 600,
    to: Annotated[Path | None, typer.Option(help="Write every point to this new CSV file instead.")] = None,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Show a job's curves: of each its first, lowest, highest and last value."""
    with acting(user) as (session, actor):
        found = job_reading.get_metrics(
            session,
            actor=actor,
            job_id=job_id,
            keys=keys or None,
            from_step=from_step,
            to_step=to_step,
            max_points=points,
        )
    if to is not None:
        save_new(to, job_reading.write_metrics_csv(job_id), as_json=as_json)
    elif as_json:
        print_json({key: SeriesPublic.of(series) for key, series in found.items()})
    else:
        rows = [(key, *_summary(series)) for key, series in found.items()]
        print_table(
            ("Curve", "Steps", "First", "Lowest", "Highest", "Last"), rows, empty="Nothing measured yet."
        )


def _summary(series: Series) -> tuple[str, ...]:
    known = [v for v in series.value if math.isfinite(v)]
    steps = f"{series.step[0]:,} to {series.step[-1]:,}" if series.step else "–"
    if not known:
        return (steps, "–", "–", "–", "–")
    return (steps, *(f"{v:.4g}" for v in (known[0], min(known), max(known), known[-1])))


@app.command("samples")
@command
def samples(
    job_id: JobId,
    step: Annotated[
        int | None, typer.Option(min=0, help="Of which evaluation; the newest unless told.")
    ] = None,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Show the fixed clips at an evaluation, worst first: [wrong] words, and -missing- ones."""
    with acting(user) as (session, actor):
        found = job_reading.list_samples(session, actor=actor, job_id=job_id, step=step)
    if as_json:
        print_json([SamplePublic.of(sample) for sample in found])
        return
    rows = [
        (
            sample.clip_id,
            "–" if sample.error is None else f"{sample.error:.3g}",
            sample.reference,
            marked(compare_output(sample, sample.base)) or sample.base or "–",
            marked(compare_output(sample, sample.now)) or sample.now,
        )
        for sample in found
    ]
    print_table(("Clip", "Error", "Reference", "Base", "Now"), rows, empty="No samples yet.")


def marked(words: list[Word]) -> str:
    """Words as a terminal shows them beside the reference: `[wrong]` and `-missing-`."""
    marks = {"same": "{}", "wrong": "[{}]", "missing": "-{}-"}
    return " ".join(marks[word.kind].format(word.text) for word in words)


@app.command("compare")
@command
def compare(
    job_ids: Annotated[list[str], typer.Argument(help="Two to six jobs.")],
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Set two to six jobs side by side: settings that differ, and figures of held-out clips."""
    with acting(user) as (session, actor):
        found = comparisons.compare_jobs(session, actor=actor, job_ids=job_ids)
    if as_json:
        print_json(ComparisonPublic.of(found, keys=[], max_points=600))
        return
    names = [view.job.name for view in found.views]
    settings = [(row.key, *map(_text, row.values)) for row in found.differences]
    print_table(("Setting", *names), settings, empty="All settings are the same.")
    print_line("")
    figures = [("status", *(view.job.status.value for view in found.views))]
    for row in found.metrics:
        metric = METRICS[row.key]
        pairs = zip(row.base, row.best, row.last, strict=True)
        now = [(base, best if best is not None else last) for base, best, last in pairs]
        figures.append((metric.name, *(f"{metric.text(base)} → {metric.text(value)}" for base, value in now)))
    print_table(("Result", *names), figures, empty="")


def _text(value: Any) -> str:
    return "–" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)
