"""What is asked of an adapter and what is told of it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BaseModel, Field, WithJsonSchema

from qlora_studio.contracts.enums import AdapterStage, Sharing, Verdict
from qlora_studio.contracts.inference import Strength
from qlora_studio.contracts.spec import Strict
from qlora_studio.db.models import Adapter

ACTIVE = "active"  # given as an adapter's id: whichever is active for the model
MOST_TAGS = 10
MAX_TAG = 32
MAX_NOTES = 4000


def _as_tag(text: str) -> str:
    tag = " ".join(text.lower().split())
    if not tag:
        raise ValueError("a tag has at least one character")
    return tag


Tag = Annotated[str, Field(max_length=MAX_TAG), AfterValidator(_as_tag)]


@dataclass(frozen=True)
class AdapterView:
    """An adapter with the names of what it came from."""

    adapter: Adapter
    model_name: str
    dataset_name: str
    job_name: str


class AdapterUpdate(Strict):
    """What may be changed of an adapter; what is left out stays.

    Attributes:
        tags: words to find it by; kept in small letters, each once.
        archived: put away, which also ends its being active; or taken back.
    """

    name: str | None = None
    stage: AdapterStage | None = None
    tags: Annotated[list[Tag], Field(max_length=MOST_TAGS)] | None = None
    notes: Annotated[str, Field(max_length=MAX_NOTES)] | None = None
    archived: bool | None = None


class Activation(Strict):
    """How an adapter becomes the default of its base model.

    Attributes:
        strength: the share of it that counts, 0 to 2.
        insist: even if its certificate says that it is broken, or its base model has changed since.
        model_id: refuse unless this is its base model, if one is given.
    """

    strength: Strength = 1.0
    insist: bool = False
    model_id: Annotated[str, Field(max_length=32)] | None = None


class Changed(NamedTuple):
    """An adapter after a change, and the one that it has followed in production, if that was the change."""

    view: AdapterView
    replaced: Adapter | None = None


class Choices(NamedTuple):
    """What adapters can be filtered by; models and datasets as pairs of id and name, all by name."""

    tags: list[str]
    models: list[tuple[str, str]]
    datasets: list[tuple[str, str]]


class Chosen(NamedTuple):
    """The adapter that a request means, none for the base model alone, and how much of it counts."""

    adapter_id: str | None
    strength: float


# Empty for an adapter that was never measured; else as the worker wrote it.
CertificateFields = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "properties": {"verdict": {"type": "string", "enum": [verdict.value for verdict in Verdict]}},
            "additionalProperties": True,
        }
    ),
]


class AdapterPublic(BaseModel):
    """An adapter as the REST API answers it.

    `version` counts an account's adapters of one base model. `active_strength` is what it was last
    activated with.
    """

    id: str
    owner_id: str
    owner: str | None = None  # how they are called, if somebody else
    sharing: Sharing
    name: str
    version: int
    base_model_id: str
    base_model_name: str
    base_model_hash: str
    job_id: str | None
    dataset_id: str | None
    dataset_version: int
    metrics: dict[str, Any]
    base_metrics: dict[str, Any]
    certificate: CertificateFields
    origin: dict[str, Any]
    stage: AdapterStage
    tags: list[str]
    notes: str
    is_active: bool
    active_strength: float
    size_bytes: int
    created_at: datetime
    archived_at: datetime | None

    @classmethod
    def of(cls, view: AdapterView) -> "AdapterPublic":
        """Return the public form of an adapter."""
        return cls(**cls._values(view))

    @classmethod
    def _values(cls, view: AdapterView) -> dict[str, Any]:
        own = [name for name in AdapterPublic.model_fields if name not in ("base_model_name", "owner")]
        return {name: getattr(view.adapter, name) for name in own} | {"base_model_name": view.model_name}


class AdapterChanged(AdapterPublic):
    """An adapter after a change; `replaces` names the one that it has followed in production."""

    replaces: str | None = None

    @classmethod
    def after(cls, changed: Changed) -> "AdapterChanged":
        """Return the public form of an adapter that was changed."""
        replaced = changed.replaced
        return cls(**cls._values(changed.view), replaces=replaced.id if replaced else None)
