"""Two to six jobs side by side: what was set differently, what came of it, and the same clips in each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlmodel import Session

from qlora_studio.contracts.metrics import METRICS
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db.models import Clip, Job, JobSample, User
from qlora_studio.jobs import metrics
from qlora_studio.services import job_reading, jobs
from qlora_studio.services.job_schemas import JobView
from qlora_studio.services.words import Word, compare_output
from qlora_studio.storage import layout

MIN_JOBS, MAX_JOBS = 2, 6
_NOT_SETTINGS = frozenset(("name", "after_job_id", "after_condition"))


@dataclass(frozen=True)
class Difference:
    """A setting by its dotted name, and its value in each job; None where a job has none."""

    key: str
    values: list[Any]


@dataclass(frozen=True)
class MetricRow:
    """One figure of held-out clips in each job: of the base model, at the best step, and the newest."""

    key: str
    base: list[float | None]
    best: list[float | None]
    last: list[float | None]


@dataclass(frozen=True)
class Output:
    """What one job made of a clip, word by word; `sample` is None where it has none of that clip."""

    sample: JobSample | None
    words: list[Word] = field(default_factory=list)


@dataclass(frozen=True)
class ComparedClip:
    """A validation clip of at least two of the jobs, and what each made of it at its newest evaluation."""

    clip_id: str
    reference: str
    clip: Clip | None
    outputs: list[Output]


@dataclass(frozen=True)
class Comparison:
    """Jobs in the order asked for; every list below has one item for each of them."""

    views: list[JobView]
    differences: list[Difference]
    metrics: list[MetricRow]
    clips: list[ComparedClip]


def compare_jobs(session: Session, *, actor: User, job_ids: Sequence[str]) -> Comparison:
    """Return two to six of the actor's jobs side by side; an id that comes twice counts once.

    Raises:
        InvalidInput: there are fewer than two or more than six.
        NotFound: one of them isn't the actor's.
    """
    wanted = check_ids(job_ids)
    views = [jobs.get_view(session, actor=actor, job_id=job_id) for job_id in wanted]
    found = [view.job for view in views]
    return Comparison(
        views=views,
        differences=differences([settings_of(job) for job in found]),
        metrics=_metric_rows(found),
        clips=_same_clips(session, actor, found),
    )


def check_ids(job_ids: Sequence[str]) -> list[str]:
    """Return the ids, each once.

    Raises:
        InvalidInput: there are fewer than two or more than six.
    """
    wanted = list(dict.fromkeys(job_id.strip() for job_id in job_ids if job_id.strip()))
    if not MIN_JOBS <= len(wanted) <= MAX_JOBS:
        message = f"Choose two to six jobs to compare, not {len(wanted)}."
        raise InvalidInput(message, fields={"ids": message})
    return wanted


def settings_of(job: Job) -> dict[str, Any]:
    """A job's spec, with the version of the dataset that it used."""
    return {**job.spec, "dataset_version": job.dataset_version}


def differences(specs: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """Return the settings that are not the same in all specs, in the order of the first spec.

    Args:
        specs: specs as JSON values; parts are looked into, so that a key reads `qlora.rank`.
    """
    flat = [_flatten(spec) for spec in specs]
    keys = dict.fromkeys(key for one in flat for key in one)
    rows = [Difference(key, [one.get(key) for one in flat]) for key in keys if key not in _NOT_SETTINGS]
    return [row for row in rows if any(value != row.values[0] for value in row.values)]


def read_curves(
    job_ids: Sequence[str], keys: Sequence[str] | None = None, *, max_points: int = metrics.MAX_POINTS
) -> list[dict[str, metrics.Series]]:
    """Return the curves of each job, for a caller that has checked who asks."""
    wanted = list(keys) if keys is not None else None
    return [job_reading.read_curves(job_id, wanted, max_points=max_points) for job_id in job_ids]


def curve_keys(job_ids: Sequence[str]) -> list[str]:
    """The curves that at least one of the jobs has, without those of the machine."""
    found = {key for job_id in job_ids for key in metrics.keys(layout.run_path(job_id) / "metrics")}
    return sorted(found - metrics.SYSTEM_KEYS)


def _flatten(part: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in part.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _metric_rows(found: Sequence[Job]) -> list[MetricRow]:
    rows = [
        MetricRow(
            key,
            base=[job.base_metrics.get(key) for job in found],
            best=[job.best_metrics.get(key) for job in found],
            last=[job.last_metrics.get(key) for job in found],
        )
        for key in METRICS
    ]
    return [row for row in rows if any(v is not None for v in (*row.base, *row.best, *row.last))]


def _same_clips(session: Session, actor: User, found: Sequence[Job]) -> list[ComparedClip]:
    """The clips that two jobs or more have looked at, where the worst is worst first."""
    panels = [
        {s.clip_id: s for s in job_reading.list_samples(session, actor=actor, job_id=job.id)} for job in found
    ]
    counts = dict.fromkeys(clip_id for panel in panels for clip_id in panel)
    shared = [clip_id for clip_id in counts if sum(clip_id in panel for panel in panels) > 1]
    clips: dict[str, Clip] = {}
    for panel in panels:
        wanted = [sample for clip_id, sample in panel.items() if clip_id in shared and clip_id not in clips]
        clips |= job_reading.find_sample_clips(session, samples=wanted) if wanted else {}
    rows = [_compared(clip_id, [panel.get(clip_id) for panel in panels], clips) for clip_id in shared]
    return sorted(rows, key=lambda row: -max((o.sample.error or 0.0) for o in row.outputs if o.sample))


def _compared(clip_id: str, samples: Sequence[JobSample | None], clips: Mapping[str, Clip]) -> ComparedClip:
    reference = next(sample.reference for sample in samples if sample is not None)
    return ComparedClip(clip_id, reference, clips.get(clip_id), [_output(sample) for sample in samples])


def _output(sample: JobSample | None) -> Output:
    return Output(sample, compare_output(sample, sample.now) if sample is not None else [])
