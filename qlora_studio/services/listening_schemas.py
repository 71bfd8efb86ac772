"""Listening tests: what is asked for, what raters hear, and what comes of it."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, model_validator

from qlora_studio.contracts.enums import Audience, ListeningStatus, Preference
from qlora_studio.contracts.inference import Guidance, Prompt, Seed, SoundSeconds, Strength, Temperature
from qlora_studio.contracts.spec import Strict

MOST_CONTESTANTS = 8
MOST_PROMPTS = 50
MOST_SEEDS = 8
MOST_TAKES = 600
CATCH_EVERY = (0, 5, 10, 20)
Id = Annotated[str, Field(min_length=1, max_length=32)]


def _as_line(text: str) -> str:
    line = " ".join(text.split())
    if not line:
        raise ValueError("write a few words")
    return line


Name = Annotated[str, Field(max_length=120), AfterValidator(_as_line)]
Line = Annotated[Prompt, AfterValidator(_as_line)]


class ContestantIn(Strict):
    """A base model, or one of its adapters at a strength."""

    model_id: Id
    adapter_id: Annotated[str, Field(max_length=32)] | None = None
    strength: Strength = 1.0

    @property
    def key(self) -> tuple[str, str, float]:
        """What makes its sound: two with the same key are the same."""
        return self.model_id, self.adapter_id or "", self.strength if self.adapter_id else 1.0


class ListeningTestCreate(Strict):
    """A listening test.

    Attributes:
        prompts: each contestant makes `n_seeds` takes of each.
        seed: of the first take of each text.
        catch_every: of so many questions one is a catch pair and one a repeat; 0 for no catch pairs.
        max_votes: the test closes with so many votes; none for never.
        max_per_rater: questions of one rater; none for as many as there are.
    """

    name: Name
    contestants: Annotated[list[ContestantIn], Field(min_length=2, max_length=MOST_CONTESTANTS)]
    prompts: Annotated[list[Line], Field(min_length=1, max_length=MOST_PROMPTS)]
    n_seeds: Annotated[int, Field(ge=1, le=MOST_SEEDS)] = 2
    seed: Seed = 0
    duration_s: SoundSeconds = 8.0
    guidance: Guidance = 3.0
    temperature: Temperature = 1.0
    audience: Audience = Audience.EVERYONE
    catch_every: Literal[0, 5, 10, 20] = 10
    max_votes: Annotated[int, Field(ge=1, le=100_000)] | None = None
    max_per_rater: Annotated[int, Field(ge=5, le=10_000)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len({one.key for one in self.contestants}) < len(self.contestants):
            raise ValueError("two contestants are the same")
        if len(set(self.prompts)) < len(self.prompts):
            raise ValueError("two texts are the same")
        if self.n_takes > MOST_TAKES:
            raise ValueError(f"that makes {self.n_takes:,} takes; {MOST_TAKES} are the most")
        return self

    @property
    def n_takes(self) -> int:
        """How many takes it needs."""
        return len(self.contestants) * len(self.prompts) * self.n_seeds


class Contestant(BaseModel):
    """Who is compared; `label` is its name for people, unlike all others of the test."""

    position: int
    label: str
    model_id: str
    model_name: str
    adapter_id: str | None
    adapter_name: str
    strength: float


class ListeningTestPublic(BaseModel):
    """A listening test as the REST API answers it.

    `contestants` and `error` are for its owner alone. `n_answered` are the caller's own answers.
    """

    id: str
    name: str
    status: ListeningStatus
    audience: Audience
    is_own: bool
    owner_name: str
    contestants: list[Contestant]
    n_contestants: int
    prompts: list[str]
    n_seeds: int
    duration_s: float
    catch_every: int
    max_votes: int | None
    max_per_rater: int | None
    n_takes: int
    n_takes_done: int
    percent: int
    n_votes: int
    n_raters: int
    n_answered: int
    error: str
    created_at: datetime
    opened_at: datetime | None
    closed_at: datetime | None


class BlindQuestion(BaseModel):
    """Two sounds of one text: `GET …/questions/{id}/left` and `…/right` have them."""

    id: str
    prompt: str


class Asked(BaseModel):
    """What a rater hears now and next; nothing once all is answered. `n_most` is none without a bound."""

    questions: list[BlindQuestion]
    n_answered: int
    n_most: int | None
    status: ListeningStatus


class Answer(Strict):
    """What a rater says."""

    verdict: Preference


class Decision(Strict):
    """Whether a rater's votes are left out; none for what the rule says."""

    is_left_out: bool | None


class StandingPublic(BaseModel):
    """A contestant's place. Strengths are in log odds around a mean of 0, see `listening.strengths`."""

    position: int
    label: str
    strength: float
    low: float
    high: float
    n_votes: int
    first_place: int
    last_place: int


class ComparisonPublic(BaseModel):
    """Two contestants: the share of the votes that the first is expected to get, and what is missing.

    `votes_needed`: 0 if they are told apart, none if more than 100,000 were needed or nothing links them.
    """

    one: int
    other: int
    n_votes: int
    share: float
    low: float
    high: float
    is_told_apart: bool
    votes_needed: int | None


class RaterPublic(BaseModel):
    """How one rater did. `reason` is the rule's; `decided` the owner's word; `is_left_out` what holds."""

    rater_id: str
    name: str
    n_votes: int
    n_known: int
    n_right: int
    n_repeats: int
    n_same: int
    reason: str
    decided: bool | None
    is_left_out: bool


class AgreementPublic(BaseModel):
    """Krippendorff's alpha with its interval."""

    alpha: float | None
    low: float | None
    high: float | None
    n_units: int


class Results(BaseModel):
    """What the votes say. `n_votes` count, `n_left_out` are of raters who are left out."""

    summary: str
    n_votes: int
    n_left_out: int
    tie_share: float | None
    lean: float
    lean_low: float
    lean_high: float
    standings: list[StandingPublic]
    comparisons: list[ComparisonPublic]
    agreement: AgreementPublic
    raters: list[RaterPublic]


class AnswerRow(BaseModel):
    """One answer of an export; `correct` for catch pairs alone."""

    number: int
    rater: str
    prompt: str
    seed: int
    left: str
    right: str
    kind: str
    damaged: str
    verdict: Preference
    correct: bool | None
    answered_at: datetime
