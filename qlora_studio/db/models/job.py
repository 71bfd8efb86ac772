"""Training jobs, their sample panel, and the wizard's draft."""
# pyright: reportAssignmentType=false

from datetime import datetime
from typing import Any

from sqlalchemy import Text
from sqlmodel import Field, SQLModel

from qlora_studio.contracts.enums import ExitReason, JobStatus, Sharing, TrainingType
from qlora_studio.core.clock import utc_now
from qlora_studio.core.ids import new_id
from qlora_studio.db.columns import BigNumber, JsonType, UtcDateTime, enum_type, index_of_shared


class Job(SQLModel, table=True):
    """A training job. The run folder is the truth about the run; this row is what the lists show of it.

    State changes are compare-and-set on (id, status, attempt). `event_offset` and `last_seq` say how far the
    attempt's `events.jsonl` has been taken in. Memory in bytes, `eta_s` in seconds.

    `rank` is its owner's order of queued jobs, lowest first: seconds since the epoch at which it was queued,
    unless it was moved. `is_stalled` is kept by the supervisor: the worker lives and tells nothing.
    `actual` is what the run really took, beside `forecast`: `peak_rss_bytes`, `peak_gpu_bytes`, `disk_bytes`,
    `seconds`.
    """

    __tablename__ = "job"
    __table_args__ = (index_of_shared("job"),)

    id: str = Field(default_factory=lambda: new_id("job"), primary_key=True, max_length=32)
    owner_id: str = Field(foreign_key="user.id", index=True, max_length=32)
    sharing: Sharing = Field(default=Sharing.PRIVATE, sa_type=enum_type(Sharing))  # type: ignore[arg-type]
    name: str = Field(max_length=120, index=True)
    status: JobStatus = Field(default=JobStatus.QUEUED, index=True, sa_type=enum_type(JobStatus))  # type: ignore[arg-type]
    attempt: int = Field(default=1)
    training_type: TrainingType = Field(sa_type=enum_type(TrainingType))  # type: ignore[arg-type]
    dataset_id: str = Field(foreign_key="dataset.id", index=True, max_length=32)
    dataset_version: int = Field(default=0)
    dataset_hash: str = Field(default="", max_length=64)
    model_id: str = Field(foreign_key="model.id", index=True, max_length=32)
    after_job_id: str | None = Field(default=None, foreign_key="job.id", max_length=32)
    group_id: str | None = Field(default=None, foreign_key="job_group.id", index=True, max_length=32)
    rank: float = Field(default_factory=lambda: utc_now().timestamp(), index=True)
    spec: dict[str, Any] = Field(default_factory=dict, sa_type=JsonType)  # type: ignore[arg-type]
    forecast: dict[str, Any] = Field(default_factory=dict, sa_type=JsonType)  # type: ignore[arg-type]
    actual: dict[str, Any] = Field(default_factory=dict, sa_type=JsonType)  # type: ignore[arg-type]
    launch_key: str | None = Field(default=None, unique=True, max_length=200)  # one launch, one job

    reason: ExitReason | None = Field(default=None, sa_type=enum_type(ExitReason))  # type: ignore[arg-type]
    message: str | None = Field(default=None, max_length=2000)
    phase: str = Field(default="", max_length=200)
    step: int = Field(default=0)
    total_steps: int = Field(default=0)
    epoch: float = Field(default=0.0)
    eta_s: float | None = Field(default=None)
    last_metrics: dict[str, Any] = Field(default_factory=dict, sa_type=JsonType)  # type: ignore[arg-type]
    best_metrics: dict[str, Any] = Field(default_factory=dict, sa_type=JsonType)  # type: ignore[arg-type]
    base_metrics: dict[str, Any] = Field(default_factory=dict, sa_type=JsonType)  # type: ignore[arg-type]
    report: dict[str, Any] = Field(default_factory=dict, sa_type=JsonType)  # type: ignore[arg-type]
    peak_rss_bytes: int | None = Field(default=None, sa_type=BigNumber)
    samples_per_s: float | None = Field(default=None)
    pid: int | None = Field(default=None)
    boot_id: str = Field(default="", max_length=64)
    event_offset: int = Field(default=0, sa_type=BigNumber)
    last_seq: int = Field(default=0, sa_type=BigNumber)
    is_stalled: bool = Field(default=False)
    heartbeat_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    created_at: datetime = Field(default_factory=utc_now, index=True, sa_type=UtcDateTime)
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class JobSample(SQLModel, table=True):
    """What the model said of one clip of the fixed panel at one evaluation.

    `details` tells what a text cannot: `SampleEvent.details`.
    """

    __tablename__ = "job_sample"

    job_id: str = Field(foreign_key="job.id", primary_key=True, ondelete="CASCADE", max_length=32)
    step: int = Field(primary_key=True)
    clip_id: str = Field(primary_key=True, max_length=32)
    reference: str = Field(default="", sa_type=Text)
    base: str | None = Field(default=None, sa_type=Text)
    now: str = Field(default="", sa_type=Text)
    error: float | None = Field(default=None)
    details: dict[str, Any] = Field(default_factory=dict, sa_type=JsonType)  # type: ignore[arg-type]


class WizardDraft(SQLModel, table=True):
    """What a person has typed into the training wizard so far."""

    __tablename__ = "wizard_draft"

    user_id: str = Field(foreign_key="user.id", primary_key=True, ondelete="CASCADE", max_length=32)
    data: dict[str, Any] = Field(default_factory=dict, sa_type=JsonType)  # type: ignore[arg-type]
    updated_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
