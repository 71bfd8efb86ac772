"""What people say of takes, and what is told of it."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from qlora_studio.contracts.spec import Strict
from qlora_studio.db.models import Rating

MOST_TAGS = 20
OVERALL = "overall"


def _as_words(text: str) -> str:
    words = " ".join(text.split()).lower()
    if not words or not words.isprintable():
        raise ValueError("write a word or two")
    return words


Words = Annotated[str, Field(max_length=32), AfterValidator(_as_words)]


class RatingPut(Strict):
    """What somebody says of a take.

    Attributes:
        criterion: what is judged, in a word or two; each has a rating of its own.
        tags: words to find the take by; small letters, each once.
    """

    criterion: Words = OVERALL
    stars: Annotated[int, Field(ge=1, le=5, strict=True)]
    tags: Annotated[list[Words], Field(max_length=MOST_TAGS)] = []
    note: Annotated[str, Field(max_length=2000)] = ""


class RatingPublic(BaseModel):
    """A rating as the REST API answers it."""

    take_id: str
    rater_id: str
    criterion: str
    stars: int
    tags: list[str]
    note: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, rating: Rating) -> "RatingPublic":
        """Return the public form of a rating."""
        return cls(**{name: getattr(rating, name) for name in cls.model_fields})


class CriterionStats(BaseModel):
    """Ratings by one criterion: how many, their mean, and how many of 1, 2, 3, 4 and 5 stars."""

    criterion: str
    n: int
    mean_stars: float
    counts: list[int]


class PromptCoverage(BaseModel):
    """How many takes of a text a model has made, and how many of them somebody has rated."""

    prompt: str
    model_id: str
    n_takes: int
    n_rated: int


class FeedbackStats(BaseModel):
    """All feedback to somebody's takes, of one model or all.

    `mean_stars` is over all ratings. `prompts` are the `n_prompts` with the fewest rated takes, 50 at most.
    """

    n_takes: int
    n_rated: int
    n_ratings: int
    mean_stars: float | None
    criteria: list[CriterionStats]
    n_prompts: int
    n_prompts_rated: int
    prompts: list[PromptCoverage]


class DayCount(BaseModel):
    """How many ratings and votes were first given on a day of UTC's."""

    day: str
    n_ratings: int
    n_votes: int


class Rater(BaseModel):
    """Who has rated or compared somebody's takes, and how often."""

    id: str
    name: str
    n: int


Stars = Annotated[float, Field(ge=1, le=5)]
Needed = Annotated[int, Field(ge=1, le=1_000_000)]


class ReadinessRulePut(Strict):
    """When there is enough to train on: so many takes whose mean, by one criterion or all, is so high."""

    criterion: Words | None = None
    min_stars: Stars = 4.0
    n_needed: Needed = 50


class ReadinessRulePublic(BaseModel):
    """The rule that somebody's feedback is judged by; `is_own` if they have set it themselves."""

    criterion: str | None
    min_stars: float
    n_needed: int
    is_own: bool


class Readiness(BaseModel):
    """Whether there is enough to train on: `n_needed` takes whose mean is at least `min_stars`.

    The mean is over the ratings by one `criterion`, or by all.
    """

    is_ready: bool
    n_good: int
    n_needed: int
    n_missing: int
    min_stars: float
    criterion: str | None = None
    message: str
