"""What a model wrote down of a dataset's clips, and how somebody corrected it."""
# pyright: reportAssignmentType=false

from datetime import datetime

from sqlalchemy import Index, Text
from sqlmodel import Field, SQLModel

from qlora_studio.contracts.enums import DictationStatus
from qlora_studio.core.clock import utc_now
from qlora_studio.core.ids import new_id
from qlora_studio.db.columns import UtcDateTime, enum_type


class Dictation(SQLModel, table=True):
    """One run of a speech model over clips of a dataset. Model and adapter are copied with their names."""

    __tablename__ = "dictation"
    __table_args__ = (Index("ix_dictation_by_dataset", "dataset_id", "created_at", "id"),)

    id: str = Field(default_factory=lambda: new_id("dict"), primary_key=True, max_length=32)
    owner_id: str = Field(foreign_key="user.id", index=True, max_length=32)
    dataset_id: str = Field(foreign_key="dataset.id", ondelete="CASCADE", max_length=32)
    model_id: str = Field(max_length=32)
    model_name: str = Field(max_length=120)
    adapter_id: str | None = Field(default=None, max_length=32)
    adapter_name: str = Field(default="", max_length=120)
    strength: float = Field(default=1.0)
    status: DictationStatus = Field(
        default=DictationStatus.QUEUED,
        index=True,
        sa_type=enum_type(DictationStatus),  # type: ignore[arg-type]
    )
    n_clips: int
    n_done: int = Field(default=0)
    n_checked: int = Field(default=0)
    error: str = Field(default="", max_length=1000)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Transcript(SQLModel, table=True):
    """What was heard in one clip. `heard` is None until it was listened to; `error` says why it could not be.

    `text` is what somebody says was really said; None until somebody has looked.
    """

    __tablename__ = "transcript"
    __table_args__ = (Index("ix_transcript_in_order", "dictation_id", "position"),)

    dictation_id: str = Field(foreign_key="dictation.id", ondelete="CASCADE", primary_key=True, max_length=32)
    clip_id: str = Field(
        foreign_key="clip.id", ondelete="CASCADE", primary_key=True, index=True, max_length=32
    )
    position: int
    heard: str | None = Field(default=None, sa_type=Text)
    text: str | None = Field(default=None, sa_type=Text)
    error: str = Field(default="", max_length=500)
