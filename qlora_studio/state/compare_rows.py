"""Jobs side by side as their page shows them: frozen rows, each with one cell for each job."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qlora_studio.contracts.enums import ACTIVE_STATUSES
from qlora_studio.contracts.metrics import METRICS, Metric
from qlora_studio.services.comparisons import ComparedClip, Comparison, Difference, MetricRow
from qlora_studio.services.job_schemas import JobView, percent_of
from qlora_studio.state import formats
from qlora_studio.state.dataset_rows import peaks_text
from qlora_studio.state.job_rows import epochs_per_step, took_text
from qlora_studio.state.job_samples import SampleRow, sample_row

_COLORS = tuple(f"var(--chart-{i})" for i in range(1, 7))  # as the charts have them
_WORDS = {
    "dataset_id": "Dataset",
    "dataset_version": "Dataset version",
    "model_id": "Model",
    "training_type": "Training type",
    "start_adapter_id": "Starts from the adapter",
}


@dataclass(frozen=True)
class ComparedJob:
    """The head of one job's column."""

    id: str
    name: str
    href: str
    color: str
    status: str
    is_active: bool
    detail: str
    took: str


@dataclass(frozen=True)
class Cell:
    """One value; of a figure also where it came from, and whether it is the best of its row."""

    text: str
    detail: str = ""
    is_best: bool = False


@dataclass(frozen=True)
class ComparedLine:
    """One setting or figure with its value in each job."""

    label: str
    cells: list[Cell]


@dataclass(frozen=True)
class ComparedOutput:
    """What one job made of a clip; `has_output` is false where it has not looked at it."""

    name: str
    color: str
    has_output: bool
    row: SampleRow


@dataclass(frozen=True)
class ComparedClipRow:
    """One clip and what each job made of it."""

    id: str
    clip_id: str
    duration_s: str
    peaks: str
    reference: str
    outputs: list[ComparedOutput]


def compared_jobs(comparison: Comparison) -> list[ComparedJob]:
    """Return the heads of the columns."""
    return [_job(view, _COLORS[i]) for i, view in enumerate(comparison.views)]


def runs_of(comparison: Comparison) -> list[dict[str, Any]]:
    """Return what charts have to know of each run; see `components.charts.LiveChart`."""
    return [
        {
            "id": view.job.id,
            "name": view.job.name,
            "start": view.job.started_at.timestamp() if view.job.started_at else 0.0,
            "epochs": epochs_per_step(view.job),
        }
        for view in comparison.views
    ]


def setting_lines(comparison: Comparison) -> list[ComparedLine]:
    """Return the settings that differ; models and datasets by their names."""
    return [_setting(row, comparison.views) for row in comparison.differences]


def figure_lines(comparison: Comparison) -> list[ComparedLine]:
    """Return the figures of held-out clips, the best of each marked."""
    return [_figure(row) for row in comparison.metrics]


def clip_rows(comparison: Comparison) -> list[ComparedClipRow]:
    """Return the clips that two jobs or more have looked at."""
    return [_clip(row, comparison.views) for row in comparison.clips]


def _job(view: JobView, color: str) -> ComparedJob:
    job = view.job
    is_active = job.status in ACTIVE_STATUSES
    return ComparedJob(
        id=job.id,
        name=job.name,
        href=f"/training/{job.id}",
        color=color,
        status=job.status.value,
        is_active=is_active,
        detail=f"{view.model_name} on {view.dataset_name}",
        took=f"{percent_of(job):.0f} %" if is_active else took_text(job),
    )


def _setting(row: Difference, views: Sequence[JobView]) -> ComparedLine:
    names = {"dataset_id": [v.dataset_name for v in views], "model_id": [v.model_name for v in views]}
    texts = names.get(row.key) or [_text(value) for value in row.values]
    if row.key in names and len(set(texts)) < len(set(row.values)):  # two things of one name
        texts = [f"{text} ({value})" for text, value in zip(texts, row.values, strict=True)]
    label = _WORDS.get(row.key, row.key.rpartition(".")[2].replace("_", " ").capitalize())
    return ComparedLine(label, [Cell(text) for text in texts])


def _text(value: Any) -> str:
    if value is None or value in ({}, []):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return formats.number(value)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _figure(row: MetricRow) -> ComparedLine:
    metric = METRICS[row.key]
    now = [best if best is not None else last for best, last in zip(row.best, row.last, strict=True)]
    best = _best(metric, now)
    cells = [
        Cell(
            formats.figure(metric, value),
            f"from {formats.figure(metric, base)}" if base is not None else "",
            value is not None and value == best and any(v != best for v in now),
        )
        for value, base in zip(now, row.base, strict=True)
    ]
    return ComparedLine(metric.name[:1].upper() + metric.name[1:], cells)


def _best(metric: Metric, values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None and math.isfinite(v)]
    return (max if metric.is_higher_better else min)(known, default=None)


def _clip(row: ComparedClip, views: Sequence[JobView]) -> ComparedClipRow:
    clip = row.clip
    empty = SampleRow("", "", "", "", [], False, [], [], [], "", False)
    outputs = [
        ComparedOutput(
            name=view.job.name,
            color=_COLORS[i],
            has_output=output.sample is not None,
            row=sample_row(output.sample, clip) if output.sample is not None else empty,
        )
        for i, (view, output) in enumerate(zip(views, row.outputs, strict=True))
    ]
    seen = next(output.row for output in outputs if output.has_output)
    return ComparedClipRow(
        id=row.clip_id,
        clip_id=clip.id if clip else "",
        duration_s=f"{clip.duration_s:.3f}" if clip else "",
        peaks=peaks_text(clip.peaks) if clip else "",
        reference=seen.reference,
        outputs=outputs,
    )
