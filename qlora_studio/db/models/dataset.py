"""Datasets, their clips, and what is known about them: findings, exclusions, versions."""
# pyright: reportAssignmentType=false

from datetime import datetime
from typing import Any

from sqlalchemy import Index, Text, text
from sqlmodel import Field, SQLModel

from qlora_studio.contracts.enums import ClipStatus, DatasetStatus, Sharing, Split, Task
from qlora_studio.core.clock import utc_now
from qlora_studio.core.ids import new_id
from qlora_studio.db.columns import BigNumber, JsonType, UtcDateTime, enum_type, index_of_shared

DATASET_SORTS = ("created_at", "updated_at", "n_clips", "duration_s", "size_bytes", "status", "task")
CLIP_SORTS = ("filename", "duration_s", "loudness_db", "label", "split", "status")


class Dataset(SQLModel, table=True):
    """A named set of clips. Counts are kept beside it so that a list costs one query.

    `version` goes up and `content_hash` changes with each change of content.
    """

    __tablename__ = "dataset"
    __table_args__ = (
        index_of_shared("dataset"),
        *(Index(f"ix_dataset_by_{name}", "owner_id", name, "id") for name in DATASET_SORTS),
        Index("ix_dataset_by_name", "owner_id", text("lower(name)"), "id"),
    )

    id: str = Field(default_factory=lambda: new_id("ds"), primary_key=True, max_length=32)
    owner_id: str = Field(foreign_key="user.id", max_length=32)
    sharing: Sharing = Field(default=Sharing.PRIVATE, sa_type=enum_type(Sharing))  # type: ignore[arg-type]
    name: str = Field(max_length=120)
    description: str = Field(default="", max_length=2000)
    task: Task = Field(sa_type=enum_type(Task))  # type: ignore[arg-type]
    status: DatasetStatus = Field(default=DatasetStatus.AWAITING_FILES, sa_type=enum_type(DatasetStatus))  # type: ignore[arg-type]
    error: str | None = Field(default=None, max_length=1000)
    source: dict[str, Any] = Field(default_factory=dict, sa_type=JsonType)  # type: ignore[arg-type]
    mapping: dict[str, Any] = Field(default_factory=dict, sa_type=JsonType)  # type: ignore[arg-type]
    n_clips: int = Field(default=0)
    n_excluded: int = Field(default=0)
    n_rejected: int = Field(default=0)
    duration_s: float = Field(default=0.0)
    size_bytes: int = Field(default=0, sa_type=BigNumber)
    version: int = Field(default=0)
    content_hash: str = Field(default="", max_length=64)
    progress_done: int = Field(default=0)  # clips ingested so far, of progress_total
    progress_total: int = Field(default=0)
    checks: dict[str, Any] = Field(default_factory=dict, sa_type=JsonType)  # type: ignore[arg-type]
    augmentation: dict[str, Any] = Field(default_factory=dict, sa_type=JsonType)  # type: ignore[arg-type]
    report_key: str = Field(default="", max_length=64)  # of the content and the limits that findings are of
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    updated_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class Clip(SQLModel, table=True):
    """One recording of a dataset. The original bytes are kept under their SHA-256.

    `peaks` holds the waveform as unsigned bytes, low and high in turn, for the player. `reason` says why
    a rejected clip could not be used. `fingerprint` tells what it sounds like, however it is coded.
    """

    __tablename__ = "clip"
    __table_args__ = (
        Index("ix_clip_dataset_position", "dataset_id", "position"),
        Index("ix_clip_dataset_status_split", "dataset_id", "status", "split"),
        *(Index(f"ix_clip_by_{name}", "dataset_id", name, "position") for name in CLIP_SORTS),
        # elsewhere an index can't hold a long text
        Index("ix_clip_by_text", "dataset_id", "text", "position").ddl_if(dialect="sqlite"),
    )

    id: str = Field(default_factory=lambda: new_id("clip"), primary_key=True, max_length=32)
    dataset_id: str = Field(foreign_key="dataset.id", ondelete="CASCADE", max_length=32)
    position: int
    filename: str = Field(max_length=1000)
    sha256: str = Field(default="", max_length=64, index=True)
    size_bytes: int = Field(default=0, sa_type=BigNumber)
    duration_s: float = Field(default=0.0)
    sample_rate: int = Field(default=0)
    channels: int = Field(default=0)
    peak: float = Field(default=0.0)  # of full scale, 0 to 1
    loudness_db: float | None = Field(default=None)  # RMS, dB of full scale; None for silence
    text: str | None = Field(default=None, sa_type=Text)
    label: str | None = Field(default=None, max_length=200)
    speaker: str | None = Field(default=None, max_length=200)
    split: Split = Field(default=Split.TRAIN, sa_type=enum_type(Split))  # type: ignore[arg-type]
    status: ClipStatus = Field(default=ClipStatus.OK, sa_type=enum_type(ClipStatus))  # type: ignore[arg-type]
    reason: str | None = Field(default=None, max_length=500)
    peaks: bytes | None = Field(default=None)
    clipped_ratio: float = Field(default=0.0)  # samples at full scale, of all
    fingerprint: bytes | None = Field(default=None)
    exclusion_id: str | None = Field(default=None, foreign_key="exclusion.id", index=True, max_length=32)


class Exclusion(SQLModel, table=True):
    """Clips left out together, so that it can be undone together. `check` is empty for a choice by hand."""

    __tablename__ = "exclusion"

    id: str = Field(default_factory=lambda: new_id("excl"), primary_key=True, max_length=32)
    dataset_id: str = Field(foreign_key="dataset.id", ondelete="CASCADE", index=True, max_length=32)
    check: str = Field(default="", max_length=40)
    n_clips: int = Field(default=0)
    created_by: str | None = Field(default=None, max_length=32)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    undone_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class ClipFinding(SQLModel, table=True):
    """What one check of the quality report says of one clip. Clips of one `group` belong together."""

    __tablename__ = "clip_finding"
    __table_args__ = (Index("ix_clip_finding_dataset_check", "dataset_id", "check"),)

    clip_id: str = Field(foreign_key="clip.id", ondelete="CASCADE", primary_key=True, max_length=32)
    check: str = Field(primary_key=True, max_length=40)
    dataset_id: str = Field(foreign_key="dataset.id", ondelete="CASCADE", max_length=32)
    detail: str = Field(default="", max_length=300)
    group: str | None = Field(default=None, max_length=64)


class DatasetVersion(SQLModel, table=True):
    """One immutable state of a dataset's content."""

    __tablename__ = "dataset_version"

    dataset_id: str = Field(foreign_key="dataset.id", ondelete="CASCADE", primary_key=True, max_length=32)
    number: int = Field(primary_key=True)
    content_hash: str = Field(max_length=64)
    n_clips: int = Field(default=0)
    duration_s: float = Field(default=0.0)
    summary: str = Field(default="", max_length=300)
    created_by: str | None = Field(default=None, max_length=32)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class ClipChange(SQLModel, table=True):
    """What a version changed in one clip: the fields that differ, before and after.

    A former state is the present one with these undone, newest first; so a version costs what it changed,
    not what the dataset holds.
    """

    __tablename__ = "clip_change"

    dataset_id: str = Field(foreign_key="dataset.id", ondelete="CASCADE", primary_key=True, max_length=32)
    version: int = Field(primary_key=True)
    clip_id: str = Field(primary_key=True, max_length=32)
    before: dict[str, Any] = Field(default_factory=dict, sa_type=JsonType)  # type: ignore[arg-type]
    after: dict[str, Any] = Field(default_factory=dict, sa_type=JsonType)  # type: ignore[arg-type]


class Credential(SQLModel, table=True):
    """A key that its owner gave for cloud storage or the Hub; only its ciphertext is kept."""

    __tablename__ = "credential"

    id: str = Field(default_factory=lambda: new_id("cred"), primary_key=True, max_length=32)
    owner_id: str = Field(foreign_key="user.id", ondelete="CASCADE", index=True, max_length=32)
    name: str = Field(max_length=120)
    kind: str = Field(max_length=16)  # s3, gs, hub
    ciphertext: str = Field(sa_type=Text)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
