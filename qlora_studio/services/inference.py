"""Try a model on a clip: who may, with which adapter, and what is asked of the inference process.

A training job comes first: while one is active, models answer on the CPU and leave the GPU to it, and an
inference process that idles on the GPU is ended within a second. Nothing is booked for it in the queue.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from sqlmodel import Session, col, func, select

from qlora_studio.audio.turns import Turn, to_rttm
from qlora_studio.contracts.enums import ACTIVE_STATUSES, ModelStatus, Task
from qlora_studio.contracts.events import ClassProbability
from qlora_studio.contracts.inference import (
    MAX_PROMPT,
    MAX_SOUND_S,
    MAX_STRENGTH,
    EngineAnswer,
    SpeakerSegment,
)
from qlora_studio.core.errors import InvalidInput, NotFound
from qlora_studio.db import engine as db
from qlora_studio.db.models import Adapter, BaseAudioModel, Job, User
from qlora_studio.modelfiles.refusal import ModelRefused
from qlora_studio.modelfiles.weights import find_weights
from qlora_studio.services import access, adapters, models, trial_clips
from qlora_studio.services.access import Action, Shelf
from qlora_studio.services.engine_host import EngineHost, Ticket
from qlora_studio.services.trial_clips import RATE, TrialClip

# Tasks that hear a clip; the one besides makes a sound of a text.
HEARING_TASKS = (Task.SPEECH_TO_TEXT, Task.AUDIO_CLASSIFICATION, Task.SPEAKER_DIARIZATION)
_DOES = {
    Task.SPEECH_TO_TEXT: "writes down speech",
    Task.AUDIO_CLASSIFICATION: "tells sounds apart",
    Task.SPEAKER_DIARIZATION: "tells speakers apart",
    Task.TEXT_TO_AUDIO: "makes sound from text",
}
SLOW_NOTE = "A training is running, so answers take longer than usual."
MOST_OFFERED = 100
_OWN_HEAD = "classifier."


@dataclass(frozen=True)
class Options:
    """What a model can be tried with.

    Attributes:
        adapters: the actor's adapters of this model, newest first; the newest `MOST_OFFERED` of very many.
        n_adapters: how many there are.
        active: the one that is the model's default, if any.
        is_base_of_use: whether it has something to say without an adapter.
        note: what to know before, or nothing.
    """

    task: Task
    adapters: list[Adapter]
    n_adapters: int
    is_base_of_use: bool
    note: str = ""
    active: Adapter | None = None


class Answered(BaseModel):
    """What REST and command line show of an answer; times in seconds.

    `heard_s` is how much of the clip was listened to, `note` what to know besides.
    """

    model_id: str
    adapter_id: str | None
    strength: float
    duration_s: float
    heard_s: float
    load_s: float
    run_s: float
    device: str
    note: str


class Transcription(Answered):
    """A clip written down."""

    text: str


class Classification(Answered):
    """A clip's class, and every class with its probability, the likeliest first."""

    label: str
    classes: list[ClassProbability]


class MadeSound(Answered):
    """A sound made of a text; `GET /trial-sounds/{sound_id}` has it for an hour."""

    sound_id: str


class Diarization(Answered):
    """Who speaks when in a clip, and the same as lines of RTTM."""

    segments: list[SpeakerSegment]
    rttm: str


def _is_training() -> bool:
    with db.read() as session:
        active = select(func.count()).select_from(Job).where(col(Job.status).in_(ACTIVE_STATUSES))
        return session.exec(active).one() > 0


host = EngineHost(must_leave_gpu=_is_training)


def take_clip(upload: Path, *, actor: User) -> TrialClip:
    """Decode received bytes; see `trial_clips.take_in`. Clips that a request waits with are kept."""
    return trial_clips.take_in(upload, actor=actor, is_in_use=host.is_asked_about)


def get_options(session: Session, *, actor: User, model_id: str, adapter_id: str = "") -> Options:
    """Return what a model can be tried with.

    Args:
        adapter_id: an adapter to offer in any case, if it is one of the model's.

    Raises:
        NotFound: it isn't there, or isn't the actor's.
    """
    model = models.get_model(session, actor=actor, model_id=model_id, action=Action.TRY)
    views, n_adapters = adapters.list_adapters(
        session, actor=actor, model_id=model_id, shelf=Shelf.ALL, action=Action.TRY, page_size=MOST_OFFERED
    )
    offered = [view.adapter for view in views]
    within = access.within(Adapter, actor=actor, shelf=Shelf.ALL, action=Action.TRY)
    mine = (within, col(Adapter.base_model_id) == model.id)
    wanted = session.exec(select(Adapter).where(col(Adapter.id) == adapter_id, *mine)).first()
    active = adapters.active_for(session, actor=actor, model_id=model.id)
    offered += [one for one in (wanted, active) if one is not None and one not in offered]
    is_ready = model.status == ModelStatus.READY
    return Options(
        model.task,
        offered,
        n_adapters,
        is_ready and _is_base_of_use(model),
        SLOW_NOTE if _is_training() else "",
        active,
    )


def with_chosen(session: Session, *, actor: User, fields: dict[str, Any]) -> dict[str, Any]:
    """Return a request's fields with the adapter that it means, where it says `active`."""
    names = ("model_id", "adapter_id", "strength")
    chosen = adapters.choose(session, actor=actor, **{name: fields[name] for name in names})
    return fields | chosen._asdict()


def prepare(
    session: Session,
    *,
    actor: User,
    model_id: str,
    clip: TrialClip,
    adapter_id: str | None = None,
    strength: float = 1.0,
    with_base: bool = False,
    task: Task | None = None,
) -> Ticket:
    """Return the request that has a model hear a clip; `host.submit` sends it.

    Args:
        adapter_id: one of the model's adapters, or none.
        strength: the share of the adapter that counts, 0 to 2.
        with_base: hear it with the base model as well, after the adapter.
        task: refuse models for another task, if one is given.

    Raises:
        NotFound: the model or the adapter isn't there, or isn't the actor's.
        InvalidInput: they don't go together, or can't do this.
        Conflict: the model isn't ready, or its files have changed.
    """
    model = models.get_model(session, actor=actor, model_id=model_id, action=Action.TRY)
    if model.task not in HEARING_TASKS or task not in (None, model.task):
        _refuse("model_id", f"“{model.name}” {_DOES[model.task]}; choose another model for this.")
    what = {"samples_path": str(clip.path), "sample_rate": RATE}
    return _ticket(session, actor, model, what, _Variants(adapter_id, strength, with_base=with_base))


def prepare_sound(
    session: Session,
    *,
    actor: User,
    model_id: str,
    prompt: str,
    seconds: float,
    seed: int = 0,
    adapter_id: str | None = None,
    strength: float = 1.0,
    with_base: bool = False,
    guidance: float | None = None,
    temperature: float | None = None,
    path: Path | None = None,
) -> Ticket:
    """Return the request that has a model make a sound of a text; see `prepare`.

    Args:
        seconds: how long it becomes, at most 30.
        seed: the same text and seed give the same sound.
        guidance, temperature: see `SoundWish`, which bounds them.
        path: the WAV file to write; by default one that is kept for an hour.

    Raises:
        NotFound: the model or the adapter isn't there, or isn't the actor's.
        InvalidInput: a field is wrong, or they don't go together.
        Conflict: the model isn't ready, or its files have changed.
    """
    model = models.get_model(session, actor=actor, model_id=model_id, action=Action.TRY)
    if model.task is not Task.TEXT_TO_AUDIO:
        _refuse("model_id", f"“{model.name}” {_DOES[model.task]}; choose another model for this.")
    if not 1 <= len(prompt.strip()) <= MAX_PROMPT:
        _refuse("prompt", f"Describe the sound in 1 to {MAX_PROMPT:,} characters.")
    if not 0 < seconds <= MAX_SOUND_S:
        _refuse("seconds", f"A sound is at most {MAX_SOUND_S:g} s long.")
    if not 0 <= seed < 2**31:
        _refuse("seed", "The seed is a whole number from 0 to 2,147,483,647.")
    wish: dict[str, object] = {"prompt": prompt.strip(), "seconds": seconds, "seed": seed}
    wish |= {"guidance": guidance, "temperature": temperature}
    wish["path"] = str(path or trial_clips.new_sound_path(actor=actor))
    return _ticket(
        session, actor, model, {"sound": wish}, _Variants(adapter_id, strength, with_base=with_base)
    )


@dataclass(frozen=True)
class _Variants:
    adapter_id: str | None
    strength: float
    with_base: bool


def _ticket(
    session: Session, actor: User, model: BaseAudioModel, what: dict[str, object], wanted: _Variants
) -> Ticket:
    if not 0 <= wanted.strength <= MAX_STRENGTH:
        _refuse("strength", f"The strength goes from 0 to {MAX_STRENGTH:g}.")
    models.check_unchanged(model)
    adapter = None if not wanted.adapter_id else _adapter_of(session, actor, model, wanted.adapter_id)
    asked = [{"adapter_path": adapter.path, "strength": wanted.strength}] if adapter else []
    if adapter is None or wanted.with_base:
        if not _is_base_of_use(model):
            lacks = "speakers" if model.task is Task.SPEAKER_DIARIZATION else "classes"
            _refuse("adapter_id", f"This model has no {lacks} of its own. Choose one of its adapters.")
        asked.append({})
    request = {
        "task": model.task,
        "model_path": model.path,
        "model_hash": model.content_hash,
        "variants": asked,
        "device": "cpu" if _is_training() else "auto",
        **what,
    }
    return Ticket(owner_id=actor.id, request=request)


def transcription(answer: EngineAnswer, ticket: Ticket, **about: object) -> Transcription:
    """Put an answer of a speech model into words; `about` names what was asked."""
    text = answer.heard[0].text or ""
    return Transcription(**_facts(answer, ticket), **about, text=text)


def classification(answer: EngineAnswer, ticket: Ticket, **about: object) -> Classification:
    """Put an answer of a classifier into words; `about` names what was asked."""
    classes = answer.heard[0].classes or []
    return Classification(**_facts(answer, ticket), **about, label=classes[0].label, classes=classes)


def diarization(answer: EngineAnswer, ticket: Ticket, **about: object) -> Diarization:
    """Put an answer of a model that tells speakers apart into words; `about` names what was asked."""
    segments = answer.heard[0].segments or []
    rttm = to_rttm("recording", (Turn(s.start_s, s.duration_s, s.speaker) for s in segments))
    return Diarization(**_facts(answer, ticket), **about, segments=segments, rttm=rttm)


def made_sound(answer: EngineAnswer, ticket: Ticket, **about: object) -> MadeSound:
    """Say where a sound is that was made; `about` names what was asked."""
    path = answer.heard[0].sound_path
    assert path is not None
    return MadeSound(**_facts(answer, ticket), **about, sound_id=path.stem)


def _facts(answer: EngineAnswer, ticket: Ticket) -> dict[str, object]:
    note = SLOW_NOTE if ticket.request["device"] == "cpu" else ""
    first = answer.heard[0]
    run_s = first.run_s + first.swap_s
    return {
        "heard_s": answer.heard_s,
        "load_s": answer.load_s,
        "run_s": run_s,
        "device": answer.device,
        "note": note,
    }


def _adapter_of(session: Session, actor: User, model: BaseAudioModel, adapter_id: str) -> Adapter:
    adapter = adapters.get_view(session, actor=actor, adapter_id=adapter_id, action=Action.TRY).adapter
    if adapter.base_model_id != model.id:
        _refuse("adapter_id", "This adapter belongs to another model.")
    adapters.folder_of(adapter)
    return adapter


def _is_base_of_use(model: BaseAudioModel) -> bool:
    """Whether a base says something without an adapter: a classifier needs a head that was trained."""
    if model.task in (Task.SPEECH_TO_TEXT, Task.TEXT_TO_AUDIO):
        return True
    try:
        names = [name for header in find_weights(Path(model.path)) for name in header.tensors]
        config = json.loads((Path(model.path) / "config.json").read_text())
    except (OSError, ValueError, ModelRefused):
        return False
    has_head = any(name.startswith(_OWN_HEAD) for name in names)
    if model.task is Task.SPEAKER_DIARIZATION:  # a head for whole clips has a projector before it
        return has_head and not any(name.startswith("projector.") for name in names)
    return has_head and bool(config.get("id2label"))


def _refuse(field: str, sentence: str) -> None:
    raise InvalidInput(sentence, fields={field: sentence})


_tickets: dict[str, Ticket] = {}


def start(ticket: Ticket) -> Ticket:
    """Send a request, to be looked at from time to time rather than waited for.

    Raises:
        TooManyTries: too many wait.
    """
    host.submit(ticket)
    for old in [other for other in _tickets.values() if other.ended.is_set()]:
        _tickets.pop(old.id, None)
    _tickets[ticket.id] = ticket
    return ticket


def cancel(ticket_id: str, *, actor: User) -> None:
    """Call off a request that `start` sent.

    Raises:
        NotFound: it isn't there any more, or isn't the actor's.
    """
    ticket = _tickets.get(ticket_id)
    if ticket is None or ticket.owner_id != actor.id:
        raise NotFound("That is over already.")
    ticket.cancel()
