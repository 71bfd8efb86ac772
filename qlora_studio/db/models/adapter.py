"""Adapters: what a job leaves behind."""
# pyright: reportAssignmentType=false

from datetime import datetime
from typing import Any

from sqlalchemy import Index, Text, func, select, text
from sqlmodel import Field, SQLModel, col

from qlora_studio.contracts.enums import AdapterStage, Sharing
from qlora_studio.core.clock import utc_now
from qlora_studio.core.ids import new_id
from qlora_studio.db.columns import BigNumber, JsonType, UtcDateTime, enum_type, index_of_shared


def _next_version(context: Any) -> int:
    row = context.get_current_parameters()
    same = (
        col(Adapter.owner_id) == row["owner_id"],
        col(Adapter.base_model_id) == row["base_model_id"],
    )
    newest = select(func.max(Adapter.version)).where(*same)
    return (context.connection.execute(newest).scalar() or 0) + 1


class Adapter(SQLModel, table=True):
    """A PEFT adapter on disk. `metrics` and `base_metrics` are from the same held-out clips.

    `version` counts an owner's adapters of one base model; it is filled in as the row is written. One of
    these at most is active: the default of its base model, of which `active_strength` counts.
    `certificate` tells what the adapter does to its base model, `origin` where one comes from that was made
    elsewhere; both are empty where there is nothing to tell.
    """

    __tablename__ = "adapter"
    __table_args__ = (
        index_of_shared("adapter"),
        Index(
            "ix_adapter_active_once",
            "owner_id",
            "base_model_id",
            unique=True,
            sqlite_where=text("is_active"),
            postgresql_where=text("is_active"),
        ),
    )

    id: str = Field(default_factory=lambda: new_id("ada"), primary_key=True, max_length=32)
    owner_id: str = Field(foreign_key="user.id", index=True, max_length=32)
    sharing: Sharing = Field(default=Sharing.PRIVATE, sa_type=enum_type(Sharing))  # type: ignore[arg-type]
    name: str = Field(max_length=120, index=True)
    job_id: str | None = Field(default=None, foreign_key="job.id", unique=True, max_length=32)
    base_model_id: str = Field(foreign_key="model.id", index=True, max_length=32)
    base_model_hash: str = Field(default="", max_length=64)
    dataset_id: str | None = Field(default=None, foreign_key="dataset.id", index=True, max_length=32)
    dataset_version: int = Field(default=0)
    stage: AdapterStage = Field(default=AdapterStage.DRAFT, sa_type=enum_type(AdapterStage))  # type: ignore[arg-type]
    version: int | None = Field(default=None, nullable=False, sa_column_kwargs={"default": _next_version})
    tags: list[str] = Field(default_factory=list, sa_type=JsonType)  # type: ignore[arg-type]
    notes: str = Field(default="", sa_type=Text)
    is_active: bool = Field(default=False)
    active_strength: float = Field(default=1.0)
    path: str = Field(max_length=1000)
    size_bytes: int = Field(default=0, sa_type=BigNumber)
    metrics: dict[str, Any] = Field(default_factory=dict, sa_type=JsonType)  # type: ignore[arg-type]
    base_metrics: dict[str, Any] = Field(default_factory=dict, sa_type=JsonType)  # type: ignore[arg-type]
    certificate: dict[str, Any] = Field(default_factory=dict, sa_type=JsonType)  # type: ignore[arg-type]
    origin: dict[str, Any] = Field(default_factory=dict, sa_type=JsonType)  # type: ignore[arg-type]
    created_at: datetime = Field(default_factory=utc_now, index=True, sa_type=UtcDateTime)
    archived_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
