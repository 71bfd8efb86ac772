"""What people say of takes, and running counts of it."""
# pyright: reportAssignmentType=false

from datetime import datetime

from sqlmodel import Field, Index, SQLModel, text

from qlora_studio.contracts.enums import GenerationStatus, Preference
from qlora_studio.core.clock import utc_now
from qlora_studio.core.ids import new_id
from qlora_studio.db.columns import JsonType, UtcDateTime, enum_type


class Rating(SQLModel, table=True):
    """What one person says of one take by one criterion; another one takes its place."""

    __tablename__ = "rating"
    __table_args__ = (Index("ix_rating_by_rater", "rater_id", "updated_at"),)

    take_id: str = Field(foreign_key="take.id", ondelete="CASCADE", primary_key=True, max_length=32)
    rater_id: str = Field(foreign_key="user.id", primary_key=True, max_length=32)
    criterion: str = Field(primary_key=True, max_length=32)
    stars: int
    tags: list[str] = Field(default_factory=list, sa_type=JsonType)  # type: ignore[arg-type]
    note: str = Field(default="", max_length=2000)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    updated_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class RatingTally(SQLModel, table=True):
    """How often the takes of one model were given so many stars by one criterion."""

    __tablename__ = "rating_tally"

    owner_id: str = Field(foreign_key="user.id", primary_key=True, max_length=32)
    model_id: str = Field(primary_key=True, max_length=32)
    criterion: str = Field(primary_key=True, max_length=32)
    stars: int = Field(primary_key=True)
    n: int = Field(default=0)


class PreferenceVote(SQLModel, table=True):
    """Which of two takes of one text a person prefers; the first one was on the left.

    Outside listening tests there is one of a person and pair, whichever way round: `pair_key` has both ids in
    order. Owner, model and text are the takes'.
    """

    __tablename__ = "preference_vote"
    __table_args__ = (
        Index(
            "ix_preference_vote_once",
            "rater_id",
            "pair_key",
            unique=True,
            sqlite_where=text("listening_test_id IS NULL"),
            postgresql_where=text("listening_test_id IS NULL"),
        ),
        Index("ix_preference_vote_by_rater", "rater_id", "updated_at", "id"),
        Index("ix_preference_vote_by_prompt", "owner_id", "model_id", "prompt_key", "rater_id"),
    )

    id: str = Field(default_factory=lambda: new_id("vote"), primary_key=True, max_length=32)
    rater_id: str = Field(foreign_key="user.id", max_length=32)
    first_take_id: str = Field(foreign_key="take.id", ondelete="CASCADE", index=True, max_length=32)
    second_take_id: str = Field(foreign_key="take.id", ondelete="CASCADE", index=True, max_length=32)
    pair_key: str = Field(max_length=70)
    owner_id: str = Field(foreign_key="user.id", max_length=32)
    model_id: str = Field(max_length=32)
    prompt_key: str = Field(max_length=64)
    verdict: Preference = Field(sa_type=enum_type(Preference))  # type: ignore[arg-type]
    listening_test_id: str | None = Field(default=None, index=True, max_length=32)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    updated_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class PromptTally(SQLModel, table=True):
    """How many takes of one text one model has made, how many were rated, and the votes between two of them.

    `prompt_key` is the text's SHA-256: an index can't hold a long text everywhere.
    """

    __tablename__ = "prompt_tally"
    __table_args__ = (
        Index("ix_prompt_tally_by_rated", "owner_id", "n_rated", "prompt_key"),
        Index("ix_prompt_tally_by_model", "owner_id", "model_id", "n_rated", "prompt_key"),
        Index("ix_prompt_tally_by_votes", "owner_id", "n_votes", "prompt_key"),
    )

    owner_id: str = Field(foreign_key="user.id", primary_key=True, max_length=32)
    model_id: str = Field(primary_key=True, max_length=32)
    prompt_key: str = Field(primary_key=True, max_length=64)
    prompt: str = Field(max_length=1000)
    n_takes: int = Field(default=0)
    n_rated: int = Field(default=0)
    n_votes: int = Field(default=0)


class TakeTally(SQLModel, table=True):
    """How many takes of one model have one mean of stars, 0 for those that nobody has rated."""

    __tablename__ = "take_tally"

    owner_id: str = Field(foreign_key="user.id", primary_key=True, max_length=32)
    model_id: str = Field(primary_key=True, max_length=32)
    mean_stars: float = Field(primary_key=True)
    n: int = Field(default=0)


class CriterionTally(SQLModel, table=True):
    """How many takes of one model have one mean of stars by one criterion; those that it has rated."""

    __tablename__ = "criterion_tally"

    owner_id: str = Field(foreign_key="user.id", primary_key=True, max_length=32)
    model_id: str = Field(primary_key=True, max_length=32)
    criterion: str = Field(primary_key=True, max_length=32)
    mean_stars: float = Field(primary_key=True)
    n: int = Field(default=0)


class FeedbackDay(SQLModel, table=True):
    """How many ratings (`kind` rating) or votes (vote) one person first gave to takes of one model on a day.

    Days are UTC's, as `2026-11-23`.
    """

    __tablename__ = "feedback_day"

    owner_id: str = Field(foreign_key="user.id", primary_key=True, max_length=32)
    model_id: str = Field(primary_key=True, max_length=32)
    day: str = Field(primary_key=True, max_length=10)
    rater_id: str = Field(primary_key=True, max_length=32)
    kind: str = Field(primary_key=True, max_length=8)
    n: int = Field(default=0)


class ReadinessRule(SQLModel, table=True):
    """When somebody has enough takes to train on; without a row it is as the server's settings say."""

    __tablename__ = "readiness_rule"

    user_id: str = Field(foreign_key="user.id", primary_key=True, ondelete="CASCADE", max_length=32)
    criterion: str | None = Field(default=None, max_length=32)
    min_stars: float
    n_needed: int


class GenerationTally(SQLModel, table=True):
    """How many generations of one model have one status."""

    __tablename__ = "generation_tally"

    owner_id: str = Field(foreign_key="user.id", primary_key=True, max_length=32)
    model_id: str = Field(primary_key=True, max_length=32)
    status: GenerationStatus = Field(primary_key=True, sa_type=enum_type(GenerationStatus))  # type: ignore[arg-type]
    n: int = Field(default=0)
