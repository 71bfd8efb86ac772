"""What orders jobs: whether the queue starts any, and groups of jobs that were launched as one sweep."""
# pyright: reportAssignmentType=false

from datetime import datetime
from typing import Any

from sqlmodel import Field, SQLModel

from qlora_studio.core.clock import utc_now
from qlora_studio.core.ids import new_id
from qlora_studio.db.columns import JsonType, UtcDateTime


class JobGroup(SQLModel, table=True):
    """Jobs that differ in up to three parameters. `axes` maps each parameter's dotted key to its values."""

    __tablename__ = "job_group"

    id: str = Field(default_factory=lambda: new_id("grp"), primary_key=True, max_length=32)
    owner_id: str = Field(foreign_key="user.id", index=True, max_length=32)
    name: str = Field(max_length=120)
    axes: dict[str, Any] = Field(default_factory=dict, sa_type=JsonType)  # type: ignore[arg-type]
    launch_key: str | None = Field(default=None, unique=True, max_length=200)  # one launch, one group
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class QueueState(SQLModel, table=True):
    """The one row (id 1) that says whether queued jobs may start, why not, and in which boot it was so."""

    __tablename__ = "queue_state"

    id: int = Field(default=1, primary_key=True)
    is_paused: bool = Field(default=False)
    note: str = Field(default="", max_length=500)
    boot_id: str = Field(default="", max_length=64)
    changed_by: str | None = Field(default=None, foreign_key="user.id", ondelete="SET NULL", max_length=32)
    changed_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
