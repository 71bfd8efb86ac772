"""Base models that people registered."""
# pyright: reportAssignmentType=false

from datetime import datetime
from typing import Any

from sqlmodel import Field, SQLModel

from qlora_studio.contracts.enums import ModelStatus, Sharing, Task
from qlora_studio.core.clock import utc_now
from qlora_studio.core.ids import new_id
from qlora_studio.db.columns import BigNumber, JsonType, UtcDateTime, enum_type, index_of_shared


class BaseAudioModel(SQLModel, table=True):
    """A base model on disk, checked. `architecture` is the transformers class, `path` its folder.

    `details` holds the card that the check made: layers that can be 4-bit, LoRA targets by preset, vocabulary
    size, hidden size, number of layers.
    """

    __tablename__ = "model"
    __table_args__ = (index_of_shared("model"),)

    id: str = Field(default_factory=lambda: new_id("mod"), primary_key=True, max_length=32)
    owner_id: str = Field(foreign_key="user.id", index=True, max_length=32)
    sharing: Sharing = Field(default=Sharing.PRIVATE, sa_type=enum_type(Sharing))  # type: ignore[arg-type]
    name: str = Field(max_length=120, index=True)
    description: str = Field(default="", max_length=2000)
    task: Task = Field(sa_type=enum_type(Task))  # type: ignore[arg-type]
    architecture: str = Field(default="", max_length=120)
    source: dict[str, Any] = Field(default_factory=dict, sa_type=JsonType)  # type: ignore[arg-type]
    path: str = Field(default="", max_length=1000)
    status: ModelStatus = Field(default=ModelStatus.CHECKING, sa_type=enum_type(ModelStatus))  # type: ignore[arg-type]
    error: str | None = Field(default=None, max_length=1000)
    n_parameters: int = Field(default=0, sa_type=BigNumber)
    size_bytes: int = Field(default=0, sa_type=BigNumber)
    sample_rate: int = Field(default=0)
    max_duration_s: float | None = Field(default=None)
    languages: list[str] = Field(default_factory=list, sa_type=JsonType)  # type: ignore[arg-type]
    license: str = Field(default="", max_length=120)
    lora_targets: list[str] = Field(default_factory=list, sa_type=JsonType)  # type: ignore[arg-type]
    details: dict[str, Any] = Field(default_factory=dict, sa_type=JsonType)  # type: ignore[arg-type]
    content_hash: str = Field(default="", max_length=64)
    downloaded_bytes: int = Field(default=0, sa_type=BigNumber)
    created_at: datetime = Field(default_factory=utc_now, index=True, sa_type=UtcDateTime)
    updated_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
