"""Blind pairs: what is asked of a rater, and what the rater says."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, Field, model_validator

from qlora_studio.contracts.enums import Preference
from qlora_studio.contracts.spec import Strict
from qlora_studio.db.models import PreferenceVote, Take

TakeId = Annotated[str, Field(min_length=1, max_length=32)]


class BlindTake(BaseModel):
    """One side of a pair; `GET /takes/{id}/audio` has its sound."""

    id: str
    duration_s: float


class BlindPair(BaseModel):
    """Two takes of one text; `first` belongs on the left. Nothing says what made them."""

    id: str
    prompt: str
    first: BlindTake
    second: BlindTake

    @classmethod
    def of(cls, pair_key: str, prompt: str, first: Take, second: Take) -> Self:
        """Return a pair as a rater hears it."""
        sides = [BlindTake(id=take.id, duration_s=take.duration_s) for take in (first, second)]
        return cls(id=pair_key, prompt=prompt, first=sides[0], second=sides[1])


class NextPair(BaseModel):
    """What to hear next, none if nothing is left; and how many pairs the rater has answered."""

    pair: BlindPair | None
    n_answered: int


class VotePut(Strict):
    """What a rater says of two takes: what was left and right and the verdict, or which one is better.

    Attributes:
        first_take_id, second_take_id, verdict: as they were heard.
        chosen_id, rejected_id: the better and the worse one; in whatever order if `tie`.
    """

    first_take_id: TakeId | None = None
    second_take_id: TakeId | None = None
    verdict: Preference | None = None
    chosen_id: TakeId | None = None
    rejected_id: TakeId | None = None
    tie: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        heard = (self.first_take_id, self.second_take_id, self.verdict)
        better = (self.chosen_id, self.rejected_id)
        if None in heard and None in better:
            raise ValueError("give chosen_id and rejected_id, or first_take_id, second_take_id and verdict")
        if any(heard) and (any(better) or self.tie):
            raise ValueError("give either the better take or what was heard on which side, not both")
        if self.take_ids[0] == self.take_ids[1]:
            raise ValueError("a take can't be compared with itself")
        return self

    @property
    def take_ids(self) -> tuple[str, str]:
        """The left and the right one, or the better and the worse one."""
        return self.first_take_id or self.chosen_id or "", self.second_take_id or self.rejected_id or ""


class VotePublic(BaseModel):
    """A vote as the REST API answers it."""

    id: str
    first_take_id: str
    second_take_id: str
    verdict: Preference
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, vote: PreferenceVote) -> "VotePublic":
        """Return the public form of a vote."""
        return cls(**{name: getattr(vote, name) for name in cls.model_fields})


class TakenBack(BaseModel):
    """A vote that was taken back: its pair, and what it said."""

    pair: BlindPair
    verdict: Preference
    n_answered: int
