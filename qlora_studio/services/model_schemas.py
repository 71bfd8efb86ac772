"""What goes into and comes out of the services for base models."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from qlora_studio.contracts.enums import ModelStatus, Sharing, Task
from qlora_studio.contracts.spec import Strict
from qlora_studio.db.models.model import BaseAudioModel

SOURCE_KINDS = ("hub", "path", "upload", "starter")


class HubSource(Strict):
    """A public model of the Hugging Face Hub."""

    kind: Literal["hub"]
    repo_id: Annotated[str, Field(min_length=1, max_length=300)]
    revision: Annotated[str, Field(max_length=100)] = "main"


class PathSource(Strict):
    """A folder on the server, under one of the model roots."""

    kind: Literal["path"]
    path: Annotated[str, Field(min_length=1, max_length=4096)]


class UploadSource(Strict):
    """Files that are sent one by one, once the model is registered."""

    kind: Literal["upload"]


class StarterSource(Strict):
    """A small model that comes with the studio: it writes down speech, or makes sounds."""

    kind: Literal["starter"]
    name: Literal["speech", "sound"] = "speech"


class ModelCreate(Strict):
    """A model to register. `task` and `architecture`, when given, must be what the files say."""

    name: Annotated[str, Field(max_length=120)] = ""
    description: Annotated[str, Field(max_length=2000)] = ""
    task: Task | None = None
    architecture: Annotated[str, Field(max_length=120)] = ""
    source: Annotated[HubSource | PathSource | UploadSource | StarterSource, Field(discriminator="kind")]

    @model_validator(mode="before")
    @classmethod
    def _say_what_can_be_registered(cls, value: Any) -> Any:
        source = value.get("source") if isinstance(value, dict) else None
        if isinstance(source, dict) and source.get("kind") not in SOURCE_KINDS:
            raise ValueError(
                "A model comes from the Hugging Face Hub (kind “hub”), from a folder on the server (kind "
                "“path”), is sent by you (kind “upload”) or is a starter (kind “starter”)."
            )
        return value

    @field_validator("name", "description", "architecture")
    @classmethod
    def _trim(cls, value: str) -> str:
        return " ".join(value.split()) if "\n" not in value else value.strip()


class ModelUpdate(Strict):
    """What can be edited; None leaves a field as it is."""

    name: Annotated[str, Field(min_length=1, max_length=120)] | None = None
    description: Annotated[str, Field(max_length=2000)] | None = None


class ModelPublic(BaseModel):
    """A model as the REST API and the command line show it. Sizes in bytes, durations in seconds."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    owner_id: str
    owner: str | None = None  # how they are called, if somebody else
    sharing: Sharing
    name: str
    description: str
    task: Task
    architecture: str
    source: dict[str, Any]
    status: ModelStatus
    error: str | None
    n_parameters: int
    size_bytes: int
    downloaded_bytes: int
    sample_rate: int
    max_duration_s: float | None
    languages: list[str]
    license: str
    lora_targets: list[str]
    content_hash: str
    details: dict[str, Any]
    created_at: datetime
    updated_at: datetime

    @field_validator("details")
    @classmethod
    def _keep_places_inside(cls, value: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in value.items() if k != "files"}

    @classmethod
    def of(cls, model: BaseAudioModel) -> "ModelPublic":
        return cls.model_validate(model)
