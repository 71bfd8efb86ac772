"""Adapters on their way to the Hugging Face Hub."""
# pyright: reportAssignmentType=false

from datetime import datetime

from sqlmodel import Field, SQLModel

from qlora_studio.core.clock import utc_now
from qlora_studio.core.ids import new_id
from qlora_studio.db.columns import BigNumber, UtcDateTime


class HubPush(SQLModel, table=True):
    """One upload of an adapter, or of the model it was merged into, to a repository of its owner.

    `status` is waiting, running, succeeded, failed or cancelled; `has_repo` tells that this push has made the
    repository, so that it may go on in it. Sizes in bytes.
    """

    __tablename__ = "hub_push"

    id: str = Field(default_factory=lambda: new_id("psh"), primary_key=True, max_length=32)
    owner_id: str = Field(foreign_key="user.id", index=True, max_length=32)
    adapter_id: str = Field(foreign_key="adapter.id", ondelete="CASCADE", index=True, max_length=32)
    credential_id: str | None = Field(
        default=None, foreign_key="credential.id", ondelete="SET NULL", max_length=32
    )
    repo_id: str = Field(max_length=200)
    weights: str = Field(default="adapter", max_length=16)
    is_private: bool = Field(default=True)
    has_repo: bool = Field(default=False)
    status: str = Field(default="waiting", max_length=32)
    done_bytes: int = Field(default=0, sa_type=BigNumber)
    total_bytes: int = Field(default=0, sa_type=BigNumber)
    url: str = Field(default="", max_length=500)
    error: str = Field(default="", max_length=1000)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
