"""Listening tests: who is compared by what, the takes it needs, and what raters were asked and answered."""
# pyright: reportAssignmentType=false

from datetime import datetime

from sqlmodel import Field, Index, SQLModel, UniqueConstraint

from qlora_studio.contracts.enums import Audience, ListeningStatus, Preference, QuestionKind
from qlora_studio.core.clock import utc_now
from qlora_studio.core.ids import new_id
from qlora_studio.db.columns import JsonType, UtcDateTime, enum_type


class ListeningTest(SQLModel, table=True):
    """A blind comparison of base models and adapters.

    Attributes:
        n_seeds: takes of each contestant for each text; the first has `seed`, the next ones count up.
        catch_every: of so many questions one is a catch pair; 0 for none.
        max_votes: it closes with so many votes; None for never.
        max_per_rater: questions of one rater; None for no bound.
        sample_rate: all of its sounds are given at this rate, so that it tells nothing.
        n_votes: answers that rank: no catch pairs, no repeats, no skips.
    """

    __tablename__ = "listening_test"
    __table_args__ = (
        Index("ix_listening_test_by_owner", "owner_id", "created_at", "id"),
        Index("ix_listening_test_by_audience", "audience", "status", "created_at"),
    )

    id: str = Field(default_factory=lambda: new_id("test"), primary_key=True, max_length=32)
    owner_id: str = Field(foreign_key="user.id", max_length=32)
    name: str = Field(max_length=120)
    status: ListeningStatus = Field(
        default=ListeningStatus.MAKING,
        index=True,
        sa_type=enum_type(ListeningStatus),  # type: ignore[arg-type]
    )
    audience: Audience = Field(sa_type=enum_type(Audience))  # type: ignore[arg-type]
    prompts: list[str] = Field(sa_type=JsonType)  # type: ignore[arg-type]
    seed: int
    n_seeds: int
    duration_s: float
    guidance: float
    temperature: float
    catch_every: int
    max_votes: int | None = Field(default=None)
    max_per_rater: int | None = Field(default=None)
    sample_rate: int = Field(default=0)
    n_votes: int = Field(default=0)
    error: str = Field(default="", max_length=1000)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    opened_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    closed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class ListeningContestant(SQLModel, table=True):
    """A base model, or one of its adapters. Both names are copied: a test outlives them."""

    __tablename__ = "listening_contestant"

    test_id: str = Field(foreign_key="listening_test.id", ondelete="CASCADE", primary_key=True, max_length=32)
    position: int = Field(primary_key=True)
    model_id: str = Field(max_length=32)
    model_name: str = Field(max_length=120)
    adapter_id: str | None = Field(default=None, max_length=32)
    adapter_name: str = Field(default="", max_length=120)
    strength: float = Field(default=1.0)


class ListeningCell(SQLModel, table=True):
    """The takes of one contestant for one text. `generation_id` is none until they are asked for."""

    __tablename__ = "listening_cell"

    test_id: str = Field(foreign_key="listening_test.id", ondelete="CASCADE", primary_key=True, max_length=32)
    contestant: int = Field(primary_key=True)
    prompt: int = Field(primary_key=True)
    generation_id: str | None = Field(default=None, index=True, max_length=32)
    n_tries: int = Field(default=0)


class ListeningQuestion(SQLModel, table=True):
    """What one rater was asked, and the answer. It says all that the results need, also without the takes.

    Attributes:
        id: all that a rater learns of it.
        number: counts a rater's questions from 0.
        left, right: positions of the contestants.
        damaged: the side of the broken copy in such a catch pair.
    """

    __tablename__ = "listening_question"
    __table_args__ = (
        UniqueConstraint("test_id", "rater_id", "number"),
        Index("ix_listening_question_by_answer", "test_id", "answered_at"),
    )

    id: str = Field(default_factory=lambda: new_id("ask"), primary_key=True, max_length=32)
    test_id: str = Field(foreign_key="listening_test.id", ondelete="CASCADE", max_length=32)
    rater_id: str = Field(foreign_key="user.id", max_length=32)
    number: int
    kind: QuestionKind = Field(sa_type=enum_type(QuestionKind))  # type: ignore[arg-type]
    prompt: int
    seed: int
    left: int
    right: int
    left_take_id: str = Field(max_length=32)
    right_take_id: str = Field(max_length=32)
    damaged: str = Field(default="", max_length=8)
    verdict: Preference | None = Field(
        default=None,
        nullable=True,
        sa_type=enum_type(Preference),  # type: ignore[arg-type]
    )
    asked_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    answered_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class ListeningRater(SQLModel, table=True):
    """What a test's owner has decided about a rater: left out, or kept, whatever the rule says."""

    __tablename__ = "listening_rater"

    test_id: str = Field(foreign_key="listening_test.id", ondelete="CASCADE", primary_key=True, max_length=32)
    rater_id: str = Field(foreign_key="user.id", primary_key=True, max_length=32)
    is_left_out: bool
