"""Sounds made of a text, to be listened to and rated: a request, and each take of it."""
# pyright: reportAssignmentType=false

import hashlib
from datetime import datetime
from typing import Any

from sqlmodel import Field, Index, SQLModel, UniqueConstraint, text

from qlora_studio.contracts.enums import GenerationStatus, Sharing
from qlora_studio.core.clock import utc_now
from qlora_studio.core.ids import new_id
from qlora_studio.db.columns import BigNumber, UtcDateTime, enum_type

IS_SHARED = text("generation.sharing != 'private'")  # as its index has it: a parameter would not match
IS_FAVORITE = text("generation.is_favorite")  # so too


def key_of_prompt(prompt: str) -> str:
    """The text's SHA-256, by which takes of one text are found: an index can't hold a long text."""
    return hashlib.sha256(prompt.encode()).hexdigest()


def _key_of_row(context: Any) -> str:
    return key_of_prompt(context.get_current_parameters()["prompt"])


class Generation(SQLModel, table=True):
    """One request for takes. Model and adapter are copied with their names: takes outlive both.

    `prompt_key` is filled in as the row is written, see `key_of_prompt`.
    `label` and `percent` say what is being done for the next take, and how far that is.
    `listening_test_id` is the test that it was made for: its takes are heard blind there, so that lists,
    pairs and counts leave them out. `is_rated` and `is_favorite`: its owner has rated, or likes, a take.
    """

    __tablename__ = "generation"
    __table_args__ = (
        Index("ix_generation_by_created_at", "owner_id", "created_at", "id"),
        Index("ix_generation_by_status", "owner_id", "status", "created_at", "id"),
        Index("ix_generation_by_model", "owner_id", "model_id", "created_at", "id"),
        Index(
            "ix_generation_shared",
            "sharing",
            "created_at",
            "id",
            sqlite_where=text("sharing != 'private'"),
            postgresql_where=text("sharing != 'private'"),
        ),
        Index("ix_generation_by_prompt", "owner_id", "model_id", "prompt_key", "id"),
        Index("ix_generation_by_rated", "owner_id", "is_rated", "created_at", "id"),
        Index(
            "ix_generation_favorite",
            "owner_id",
            "created_at",
            "id",
            sqlite_where=text("is_favorite"),
            postgresql_where=text("is_favorite"),
        ),
        Index(
            "ix_generation_of_tests",
            "owner_id",
            "created_at",
            "id",
            sqlite_where=text("listening_test_id IS NOT NULL"),
            postgresql_where=text("listening_test_id IS NOT NULL"),
        ),
    )

    id: str = Field(default_factory=lambda: new_id("gen"), primary_key=True, max_length=32)
    owner_id: str = Field(foreign_key="user.id", max_length=32)
    prompt: str = Field(max_length=1000)
    prompt_key: str | None = Field(
        default=None, max_length=64, nullable=False, sa_column_kwargs={"default": _key_of_row}
    )
    model_id: str = Field(max_length=32)
    model_name: str = Field(max_length=120)
    adapter_id: str | None = Field(default=None, index=True, max_length=32)
    adapter_name: str = Field(default="", max_length=120)
    strength: float = Field(default=1.0)
    duration_s: float
    seed: int
    n_takes: int
    guidance: float
    temperature: float
    status: GenerationStatus = Field(
        default=GenerationStatus.QUEUED,
        index=True,
        sa_type=enum_type(GenerationStatus),  # type: ignore[arg-type]
    )
    sharing: Sharing = Field(
        default=Sharing.PRIVATE,
        sa_type=enum_type(Sharing),  # type: ignore[arg-type]
    )
    listening_test_id: str | None = Field(default=None, max_length=32)
    is_rated: bool = Field(default=False)
    is_favorite: bool = Field(default=False)
    n_done: int = Field(default=0)
    label: str = Field(default="", max_length=120)
    percent: int = Field(default=0)
    error: str = Field(default="", max_length=1000)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Take(SQLModel, table=True):
    """One sound, whose file is there. `position` counts from 0; its seed is the request's and the position.

    `n_ratings`, `stars_sum` and `mean_stars` sum up its ratings, so that no list has to.
    """

    __tablename__ = "take"
    __table_args__ = (
        UniqueConstraint("generation_id", "position"),
        Index("ix_take_by_stars", "owner_id", "mean_stars"),
        Index("ix_take_by_model", "owner_id", "model_id", "mean_stars"),
    )

    id: str = Field(default_factory=lambda: new_id("take"), primary_key=True, max_length=32)
    generation_id: str = Field(foreign_key="generation.id", ondelete="CASCADE", max_length=32)
    owner_id: str = Field(foreign_key="user.id", max_length=32)
    model_id: str = Field(max_length=32)
    position: int
    seed: int
    duration_s: float
    sample_rate: int
    size_bytes: int = Field(sa_type=BigNumber)
    n_ratings: int = Field(default=0)
    stars_sum: int = Field(default=0)
    mean_stars: float | None = Field(default=None)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class GenerationTag(SQLModel, table=True):
    """A tag that the owner has given to a take of a generation, so that those with one are found at once."""

    __tablename__ = "generation_tag"

    owner_id: str = Field(foreign_key="user.id", primary_key=True, max_length=32)
    tag: str = Field(primary_key=True, max_length=32)
    generation_id: str = Field(
        foreign_key="generation.id", ondelete="CASCADE", primary_key=True, index=True, max_length=32
    )


class MarkState(SQLModel, table=True):
    """How often what an owner has rated, tagged or liked has become other. Earlier counts are old then."""

    __tablename__ = "mark_state"

    owner_id: str = Field(foreign_key="user.id", primary_key=True, max_length=32)
    changes: int = Field(default=0)


class Favorite(SQLModel, table=True):
    """A take that somebody likes to find again."""

    __tablename__ = "favorite"

    user_id: str = Field(foreign_key="user.id", primary_key=True, max_length=32)
    take_id: str = Field(
        foreign_key="take.id", ondelete="CASCADE", primary_key=True, index=True, max_length=32
    )
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class PromptTemplate(SQLModel, table=True):
    """A text that somebody keeps under a name, with the settings that go with it.

    Model and adapter may be gone by the time it is used. `seed` is none where it is drawn each time.
    """

    __tablename__ = "prompt_template"
    __table_args__ = (UniqueConstraint("owner_id", "name_key"),)

    id: str = Field(default_factory=lambda: new_id("tpl"), primary_key=True, max_length=32)
    owner_id: str = Field(foreign_key="user.id", max_length=32)
    name: str = Field(max_length=60)
    name_key: str = Field(max_length=120)
    prompt: str = Field(max_length=1000)
    model_id: str | None = Field(default=None, max_length=32)
    adapter_id: str | None = Field(default=None, max_length=32)
    strength: float = Field(default=1.0)
    duration_s: float
    n_takes: int
    guidance: float
    temperature: float
    seed: int | None = Field(default=None)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    updated_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
