"""What the services for jobs give: the job as the API and the pages show it, and the answer of a check."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel

from qlora_studio.contracts.enums import ExitReason, JobStatus, Sharing, StopMode, TrainingType
from qlora_studio.contracts.spec import Strict
from qlora_studio.db.models import Job
from qlora_studio.services.remedies import NextAction, find_kind, find_next_action


@dataclass(frozen=True)
class JobView:
    """A job with the names of what it uses. `queue_position` counts from 1, None once it has begun.

    `after_name` is the name of the job that it runs after, `group_name` that of its sweep.
    """

    job: Job
    model_name: str
    dataset_name: str
    adapter_id: str | None = None
    queue_position: int | None = None
    after_name: str = ""
    group_name: str = ""


@dataclass
class JobCheck:
    """Whether a job could be launched. `errors` maps a field's dotted name to its sentence."""

    errors: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    forecast: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    yaml: str = ""

    @property
    def ok(self) -> bool:
        return not self.errors


class ProgressPublic(BaseModel):
    step: int
    total_steps: int
    epoch: float
    percent: float
    eta_s: float | None


class MetricsPublic(BaseModel):
    last: dict[str, Any]
    best: dict[str, Any]
    base: dict[str, Any]


class JobPublic(BaseModel):
    """A job as the REST API answers it. Memory in bytes. `next_action` is there after a failure.

    `is_stalled` says that the worker is alive but tells nothing any more.

    `forecast` is what was foretold at its launch; `actual` what it took, as far as it is known:
    `peak_rss_bytes`, `peak_gpu_bytes`, and once it has ended `disk_bytes` and `seconds`.
    """

    id: str
    owner_id: str
    owner: str | None = None  # how they are called, if somebody else
    sharing: Sharing
    name: str
    status: JobStatus
    is_stalled: bool
    reason: ExitReason | None
    message: str | None
    phase: str
    training_type: TrainingType
    dataset_id: str
    dataset_name: str
    dataset_version: int
    model_id: str
    model_name: str
    after_job_id: str | None
    group_id: str | None
    progress: ProgressPublic
    metrics: MetricsPublic
    attempt: int
    pid: int | None
    adapter_id: str | None
    queue_position: int | None
    next_action: NextAction | None
    samples_per_s: float | None
    peak_rss_bytes: int | None
    spec: dict[str, Any]
    forecast: dict[str, Any]
    actual: dict[str, Any]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, view: JobView) -> Self:
        """Return the public form of a job."""
        job = view.job
        same = set(cls.model_fields) - {"progress", "metrics", "model_name", "dataset_name"}
        same -= {"adapter_id", "queue_position", "next_action", "is_stalled", "owner"}
        return cls(
            **{name: getattr(job, name) for name in same},
            model_name=view.model_name,
            dataset_name=view.dataset_name,
            adapter_id=view.adapter_id,
            queue_position=view.queue_position,
            is_stalled=is_stalled(job),
            next_action=find_kind(job),  # a list reads no checkpoints
            progress=ProgressPublic(
                step=job.step,
                total_steps=job.total_steps,
                epoch=job.epoch,
                percent=percent_of(job),
                eta_s=job.eta_s,
            ),
            metrics=MetricsPublic(last=job.last_metrics, best=job.best_metrics, base=job.base_metrics),
        )


class JobDetail(JobPublic):
    """One job alone: `report` is what its result tells beyond figures, such as a confusion matrix.

    Its `next_action` knows whether there is a checkpoint to resume from, and of which step.
    """

    report: dict[str, Any]

    @classmethod
    def of(cls, view: JobView) -> Self:
        """Return the public form of a job; may read a checkpoint of gigabytes in full."""
        found = super().of(view)
        found.next_action = find_next_action(view.job)
        return found


def is_stalled(job: Job) -> bool:
    """Whether its worker lives and tells nothing."""
    return job.is_stalled and job.status in (JobStatus.RUNNING, JobStatus.STOPPING)


def percent_of(job: Job) -> float:
    """How far a job is, 0 to 100; only one that has succeeded is at 100."""
    if job.status is JobStatus.SUCCEEDED:
        return 100.0
    if not job.total_steps:
        return 0.0
    return round(min(99.9, 100 * job.step / job.total_steps), 1)


class TrackingPublic(BaseModel):
    """Where else a job can be looked at. `mlflow_url` is None unless it is told to an MLflow server."""

    has_tensorboard: bool
    mlflow_url: str | None


class StopRequest(Strict):
    """`save` ends in order and keeps an adapter; `kill` ends at once and keeps nothing new."""

    mode: StopMode = StopMode.SAVE
