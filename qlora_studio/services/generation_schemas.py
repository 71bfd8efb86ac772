"""What is asked of a generation and what is told of it."""

from collections.abc import Container, Sequence
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from qlora_studio.contracts.enums import GenerationStatus, Sharing
from qlora_studio.contracts.inference import Guidance, Prompt, Seed, SoundSeconds, Strength, Temperature
from qlora_studio.contracts.spec import Strict
from qlora_studio.db.models import Generation, Take

MOST_TAKES = 16


class GenerationCreate(Strict):
    """A text to make takes of.

    Attributes:
        adapter_id: none for the base model alone; `active` for its active adapter at the strength that this
            one was activated with, or the base model where none is active.
        duration_s: how long each becomes, or at most becomes where the model itself ends.
        seed: of the first take; the next ones count up from it. Drawn if none is given.
        guidance: how much more to follow the text than to do without; 1 is not at all.
        temperature: how varied; lower is less.
        sharing: what others may do with the takes.
    """

    prompt: Prompt
    model_id: Annotated[str, Field(min_length=1, max_length=32)]
    adapter_id: Annotated[str, Field(max_length=32)] | None = None
    strength: Strength = 1.0
    duration_s: SoundSeconds = 8.0
    seed: Seed | None = None
    n_takes: Annotated[int, Field(ge=1, le=MOST_TAKES)] = 1
    guidance: Guidance = 3.0
    temperature: Temperature = 1.0
    sharing: Sharing = Sharing.PRIVATE


class GenerationUpdate(Strict):
    """What may be changed of a generation."""

    sharing: Sharing


class TakePublic(BaseModel):
    """One sound; `GET /takes/{id}/audio` has it. `index` counts from 0, `mean_stars` is over all ratings.

    `is_favorite` says whether it is among the favourites of whoever asks.
    """

    id: str
    generation_id: str
    index: int
    seed: int
    duration_s: float
    sample_rate: int
    size_bytes: int
    n_ratings: int
    mean_stars: float | None
    is_favorite: bool = False
    created_at: datetime

    @classmethod
    def of(cls, take: Take, favorites: Container[str] = ()) -> "TakePublic":
        """Return the public form of a take; `favorites` are ids of takes."""
        same = set(cls.model_fields) - {"index", "is_favorite"}
        values = {name: getattr(take, name) for name in same}
        return cls(**values, index=take.position, is_favorite=take.id in favorites)


class GenerationPublic(BaseModel):
    """A generation as the REST API answers it, with the takes that are there.

    `label` and `percent` tell of the take that is being made. `listening_test_id` is the test that it was
    made for, if it was.
    """

    id: str
    owner_id: str
    sharing: Sharing
    prompt: str
    model_id: str
    model_name: str
    adapter_id: str | None
    adapter_name: str
    strength: float
    duration_s: float
    seed: int
    n_takes: int
    guidance: float
    temperature: float
    status: GenerationStatus
    n_done: int
    label: str
    percent: int
    error: str
    created_at: datetime
    finished_at: datetime | None
    listening_test_id: str | None
    takes: list[TakePublic]

    @classmethod
    def of(
        cls, generation: Generation, takes: Sequence[Take], favorites: Container[str] = ()
    ) -> "GenerationPublic":
        """Return the public form of a generation; `favorites` are ids of takes."""
        same = set(cls.model_fields) - {"takes"}
        return cls(
            **{name: getattr(generation, name) for name in same},
            takes=[TakePublic.of(take, favorites) for take in takes],
        )
