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


MAX_PROMPT = 1000  # characters
MAX_SOUND_S = 30.0
Prompt = Annotated[str, Field(min_length=1, max_length=MAX_PROMPT)]
SoundSeconds = Annotated[float, Field(gt=0, le=MAX_SOUND_S, allow_inf_nan=False)]
MAX_SEED = 2**31 - 1
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Guidance = Annotated[float, Field(ge=1, le=20, allow_inf_nan=False)]
Temperature = Annotated[float, Field(ge=0.1, le=2, allow_inf_nan=False)]


class SoundWish(BaseModel):
    """A sound to be made of a text, written to `path`; of later variants with `-1`, `-2` before `.wav`.

    Attributes:
        guidance: how much more to follow the text than to do without; 1 is not at all.
        temperature: how varied; lower is less. Models that speak have no use for either.
    """

    model_config = ConfigDict(extra="forbid")

    prompt: Prompt
    seconds: SoundSeconds
    seed: Seed
    path: Path
    guidance: Guidance | None = None
    temperature: Temperature | None = None


class EngineRequest(BaseModel):
    """One clip to be heard, or one sound to be made, by one base model in one or more variants in turn.

    Attributes:
        model_hash: the contents of the model's folder; another hash is another model.
        samples_path: the sound: raw little-endian 32-bit floats, one channel, at `sample_rate`.
        sound: what to make; then there is nothing to hear.
        device: "cpu" leaves the GPU to a training job.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    id: int
    task: Task
    model_path: Path
    model_hash: str = ""
    samples_path: Path | None = None
    sample_rate: Annotated[int, Field(ge=1000, le=768_000)] = 16_000
    sound: SoundWish | None = None
    variants: Annotated[list[Variant], Field(min_length=1, max_length=4)]
    device: Literal["auto", "cpu"] = "auto"


class SpeakerSegment(BaseModel):
    """A stretch of speech of one speaker, who has a number for a name; times in seconds."""

    start_s: float
    duration_s: float
    speaker: str


class Heard(BaseModel):
    """What one variant made of it: a text, every class with its probability, who speaks when, or a sound.

    `run_s` is the time it took without loading, in seconds; `swap_s` what putting the adapter in place took.
    """

    text: str | None = None
    classes: list[ClassProbability] | None = None
    segments: list[SpeakerSegment] | None = None
    sound_path: Path | None = None
    run_s: float
    swap_s: float = 0.0


class EngineAnswer(BaseModel):
    """One `Heard` for each variant, in order.

    Attributes:
        load_s: seconds spent loading the base model; 0 when it was there already.
        device: where it ran, "cpu" or "cuda".
        heard_s: seconds of the clip that were listened to, from its beginning, or of the longest sound made.
    """

    heard: list[Heard]
    load_s: float = 0.0
    device: str
    heard_s: float
