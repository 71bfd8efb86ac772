"""Who did what, when, to what; and the answers kept for repeated requests."""
# pyright: reportAssignmentType=false

from datetime import datetime
from typing import Any

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from qlora_studio.core.clock import utc_now
from qlora_studio.db.columns import JsonType, UtcDateTime


class AuditEvent(SQLModel, table=True):
    """One line of the audit log. Names are copied, so that it reads well after a deletion.

    What somebody does very often is one line a day: `n` times from `at` to `last_at`; `day_key` finds it.
    """

    __tablename__ = "audit_event"
    __table_args__ = tuple(
        Index(f"ix_audit_event_by_{name}", name, "id")
        for name in ("actor_name", "action", "object_type", "object_id")
    )

    id: int | None = Field(default=None, primary_key=True)
    at: datetime = Field(default_factory=utc_now, index=True, sa_type=UtcDateTime)
    actor_id: str | None = Field(default=None, index=True, max_length=32)
    actor_name: str = Field(default="", max_length=64)
    action: str = Field(max_length=64)  # "dataset.create", "job.stop", …
    object_type: str = Field(default="", max_length=32)
    object_id: str = Field(default="", max_length=32)
    object_name: str = Field(default="", max_length=200)
    details: dict[str, Any] = Field(default_factory=dict, sa_type=JsonType)  # type: ignore[arg-type]
    n: int = Field(default=1, sa_column_kwargs={"server_default": "1"})
    last_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    day_key: str | None = Field(default=None, unique=True, index=True, max_length=120)


class IdempotencyKey(SQLModel, table=True):
    """The answer given to a POST with an `Idempotency-Key`, to be given again."""

    __tablename__ = "idempotency_key"

    user_id: str = Field(foreign_key="user.id", primary_key=True, ondelete="CASCADE", max_length=32)
    key: str = Field(primary_key=True, max_length=200)
    request_hash: str = Field(max_length=64)
    status_code: int
    body: dict[str, Any] = Field(default_factory=dict, sa_type=JsonType)  # type: ignore[arg-type]
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
