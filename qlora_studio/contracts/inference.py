"""What the web side asks of the inference process, and what it answers: one JSON object a line.

    in   {"id": 1, "task": "speech-to-text", "model_path": "/…", "variants": [{…}, {…}], …}
    in   {"cancel": 1}
    out  {"id": 1, "progress": {"label": "Loading the model", "percent": 0}}
    out  {"id": 1, "answer": {…}}  or  {"id": 1, "refusal": "…"}  or  {"id": 1, "is_cancelled": true}

`docs/inference.md` tells the whole story.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from qlora_studio.contracts.enums import Task
from qlora_studio.contracts.events import ClassProbability

MAX_STRENGTH = 2.0
Strength = Annotated[float, Field(ge=0, le=MAX_STRENGTH, allow_inf_nan=False)]


class Variant(BaseModel):
    """The model to ask: with an adapter, of which `strength` is the share that counts, or as it is."""

    model_config = ConfigDict(extra="forbid")

    adapter_path: Path | None = None
    strength: Strength = 1.0


class EngineRequest(BaseModel):
    """One clip to be heard by one base model, in one or more variants, one after the other.

    Attributes:
        model_hash: the contents of the model's folder; another hash is another model.
        samples_path: the sound: raw little-endian 32-bit floats, one channel, at `sample_rate`.
        device: "cpu" leaves the GPU to a training job.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    id: int
    task: Task
    model_path: Path
    model_hash: str = ""
    samples_path: Path
    sample_rate: Annotated[int, Field(ge=1000, le=768_000)]
    variants: Annotated[list[Variant], Field(min_length=1, max_length=4)]
    device: Literal["auto", "cpu"] = "auto"


class SpeakerSegment(BaseModel):
    """A stretch of speech of one speaker, who has a number for a name; times in seconds."""

    start_s: float
    duration_s: float
    speaker: str


class Heard(BaseModel):
    """What one variant made of the clip: a transcript, every class with its probability, or who speaks when.

    `run_s` is the time it took without loading, in seconds; `swap_s` what putting the adapter in place took.
    """

    text: str | None = None
    classes: list[ClassProbability] | None = None
    segments: list[SpeakerSegment] | None = None
    run_s: float
    swap_s: float = 0.0


class EngineAnswer(BaseModel):
    """One `Heard` for each variant, in order.

    Attributes:
        load_s: seconds spent loading the base model; 0 when it was there already.
        device: where it ran, "cpu" or "cuda".
        heard_s: seconds of the clip that were listened to, from its beginning.
    """

    heard: list[Heard]
    load_s: float = 0.0
    device: str
    heard_s: float
