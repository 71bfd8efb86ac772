"""What is asked of a dictation and what is told of it."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from qlora_studio.contracts.enums import DictationStatus
from qlora_studio.contracts.inference import Strength
from qlora_studio.contracts.spec import Strict
from qlora_studio.db.models import Clip, Dictation, Transcript

Which = Literal["without_text", "all"]


class DictationCreate(Strict):
    """Which model listens, and to which of the dataset's usable clips."""

    model_id: Annotated[str, Field(min_length=1, max_length=32)]
    adapter_id: Annotated[str, Field(max_length=32)] | None = None
    strength: Strength = 1.0
    clips: Which = "without_text"


class TranscriptPut(Strict):
    """What was really said."""

    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4096)]


class CorrectionsCreate(Strict):
    """The name of the dataset that the corrected clips become."""

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]


class DictationPublic(BaseModel):
    """A dictation as the REST API answers it; `n_checked` clips have been looked at."""

    id: str
    dataset_id: str
    model_id: str
    model_name: str
    adapter_id: str | None
    adapter_name: str
    strength: float
    status: DictationStatus
    n_clips: int
    n_done: int
    n_checked: int
    error: str
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, dictation: Dictation) -> "DictationPublic":
        """Return the public form of a dictation."""
        return cls(**{name: getattr(dictation, name) for name in cls.model_fields})


class TranscriptPublic(BaseModel):
    """One clip of a dictation: what the model heard and, once somebody has looked, what was said."""

    clip_id: str
    filename: str
    duration_s: float
    heard: str | None
    text: str | None
    error: str

    @classmethod
    def of(cls, transcript: Transcript, clip: Clip) -> "TranscriptPublic":
        """Return the public form of a transcript and its clip."""
        return cls(
            clip_id=clip.id,
            filename=clip.filename,
            duration_s=clip.duration_s,
            heard=transcript.heard,
            text=transcript.text,
            error=transcript.error,
        )


class Applied(BaseModel):
    """How many clips of the dataset have another text now, and its version."""

    n_changed: int
    version: int
