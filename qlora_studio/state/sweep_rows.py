"""A sweep as its page shows it: one line a job, everything formatted."""

from dataclasses import dataclass
from typing import Any

from qlora_studio.contracts.enums import ACTIVE_STATUSES, TERMINAL_STATUSES, JobStatus
from qlora_studio.contracts.metrics import METRICS, Metric
from qlora_studio.services import sweeps
from qlora_studio.services.sweeps import SweepDetail, SweepRow
from qlora_studio.state import formats


@dataclass(frozen=True)
class SweepView:
    """The head of the page. `axes` are the labels of the columns that vary, up to three."""

    id: str = ""
    name: str = ""
    progress: str = ""
    percent: float = 0.0
    is_live: bool = False
    metric: str = ""
    best: str = ""
    best_href: str = ""
    axis_1: str = ""
    axis_2: str = ""
    axis_3: str = ""
    jobs_href: str = ""


@dataclass(frozen=True)
class SweepJobRow:
    """One job of the sweep."""

    id: str
    name: str
    href: str
    value_1: str
    value_2: str
    value_3: str
    status: str
    percent: float
    is_active: bool
    progress: str
    base: str
    result: str
    is_best: bool
    adapter_href: str
    message: str


def sweep_view(found: SweepDetail) -> SweepView:
    """Return the head of the page."""
    n_over = sum(row.status in TERMINAL_STATUSES for row in found.rows)
    percent = sum(100.0 if row.status in TERMINAL_STATUSES else row.percent for row in found.rows)
    metric = METRICS[found.metric]
    best = next((row for row in found.rows if row.is_best), None)
    labels = [sweeps.label_of(axis).capitalize() for axis in found.axes]
    return SweepView(
        id=found.id,
        name=found.name,
        progress=f"{n_over} of {formats.count(len(found.rows), 'job')} ended",
        percent=round(percent / max(1, len(found.rows)), 1),
        is_live=n_over < len(found.rows),
        metric=metric.short,
        best=_best(best, metric),
        best_href=f"/training/{best.job_id}" if best else "",
        jobs_href=f"/training?group={found.id}",
        **{f"axis_{number}": label for number, label in enumerate(labels, start=1)},
    )


def _best(best: SweepRow | None, metric: Metric) -> str:
    if best is None:
        return ""
    return f"{sweeps.describe(best.values)}: {metric.short} {formats.figure(metric, best.best)}"


def sweep_rows(found: SweepDetail, sort: str = "") -> list[SweepJobRow]:
    """Return the jobs, sorted by `value_1`, `status`, `result` … (`-` before it: the other way round).

    Those that have nothing there come last either way.
    """
    column = sort.removeprefix("-")
    keyed = [(_key(row, found, column), row) for row in found.rows]
    there = [pair for pair in keyed if pair[0] is not None]
    there.sort(key=lambda pair: (isinstance(pair[0], str), pair[0]), reverse=sort.startswith("-"))
    rows = [row for _, row in there] + [row for key, row in keyed if key is None]
    return [_row(row, found) for row in rows]


def _key(row: SweepRow, found: SweepDetail, column: str) -> Any:
    """What a column is sorted by; None for nothing."""
    name, _, number = column.partition("_")
    if name == "value" and number.isdigit() and 1 <= int(number) <= len(found.axes):
        return row.values[list(found.axes)[int(number) - 1]]
    columns = {"status": row.status.value, "progress": row.percent, "result": row.best, "base": row.base}
    return columns.get(column)


def _row(row: SweepRow, found: SweepDetail) -> SweepJobRow:
    metric = METRICS[found.metric]
    values = [sweeps.text_of(row.values[axis]) for axis in found.axes] + ["", "", ""]
    return SweepJobRow(
        id=row.job_id,
        name=row.name,
        href=f"/training/{row.job_id}",
        value_1=values[0],
        value_2=values[1],
        value_3=values[2],
        status=row.status.value,
        percent=row.percent,
        is_active=row.status in ACTIVE_STATUSES,
        progress=f"{row.percent:.0f} %" if row.status is not JobStatus.QUEUED else "–",
        base=formats.figure(metric, row.base),
        result=formats.figure(metric, row.best),
        is_best=row.is_best,
        adapter_href=f"/adapters/{row.adapter_id}" if row.adapter_id else "",
        message=row.message or "" if row.status in (JobStatus.FAILED, JobStatus.LOST) else "",
    )
