"""What is asked of a text that is kept under a name, and what is told of it."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from qlora_studio.contracts.inference import Guidance, Prompt, Seed, SoundSeconds, Strength, Temperature
from qlora_studio.contracts.spec import Strict
from qlora_studio.db.models import PromptTemplate
from qlora_studio.services.generation_schemas import MOST_TAKES


def _as_name(text: str) -> str:
    name = " ".join(text.split())
    if not name or not name.isprintable():
        raise ValueError("write a name")
    return name


Name = Annotated[str, Field(max_length=60), AfterValidator(_as_name)]
Id = Annotated[str, Field(max_length=32)]


class PromptTemplateCreate(Strict):
    """A text to keep, with the settings that go with it; they are those of a generation.

    Attributes:
        name: another one than the account's others, capitals aside.
        model_id, adapter_id: none to use it with whatever is chosen then. They may be gone by then.
        seed: none to draw one each time.
    """

    name: Name
    prompt: Prompt
    model_id: Id | None = None
    adapter_id: Id | None = None
    strength: Strength = 1.0
    duration_s: SoundSeconds = 8.0
    n_takes: Annotated[int, Field(ge=1, le=MOST_TAKES)] = 1
    guidance: Guidance = 3.0
    temperature: Temperature = 1.0
    seed: Seed | None = None


class PromptTemplateUpdate(Strict):
    """What may be changed: the name, the text."""

    name: Name | None = None
    prompt: Prompt | None = None


class PromptTemplatePublic(BaseModel):
    """A text under its name, as the REST API answers it."""

    id: str
    name: str
    prompt: str
    model_id: str | None
    adapter_id: str | None
    strength: float
    duration_s: float
    n_takes: int
    guidance: float
    temperature: float
    seed: int | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, template: PromptTemplate) -> "PromptTemplatePublic":
        """Return the public form of a template."""
        return cls(**{name: getattr(template, name) for name in cls.model_fields})
