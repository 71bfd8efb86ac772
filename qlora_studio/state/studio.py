"""The prompt editor of the page *Studio*: a text, what makes it, and how."""

import asyncio
import math
import secrets
import time
from dataclasses import dataclass
from typing import Any

import reflex as rx
from pydantic import ValidationError

from qlora_studio.contracts.enums import Role
from qlora_studio.contracts.inference import MAX_PROMPT, MAX_SEED, MAX_STRENGTH
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db import engine as db
from qlora_studio.db.models import User
from qlora_studio.services import generations, models, sound_desk
from qlora_studio.services.generation_schemas import MOST_TAKES, GenerationCreate
from qlora_studio.services.prompt_template_schemas import PromptTemplatePublic
from qlora_studio.services.sound_desk import SoundModel
from qlora_studio.state.auth import authorized
from qlora_studio.state.own_templates import OwnTemplatesState, read_templates
from qlora_studio.state.takes import TakesState

TEMPLATES = (
    ("Rain", "steady rain on a tin roof"),
    ("Bell", "a small bell, struck once, with a long tail"),
    ("Piano", "a slow piano melody over soft rain"),
    ("Drums", "a dry drum loop at 90 beats a minute"),
    ("Wind", "wind in dry leaves"),
)
DOUBLE_PRESS_S = 1.5
_ASKED = ("prompt", "model_id", "adapter_id", "strength", "seconds", "n_takes", "guidance", "temperature")
_BOUNDS = {
    "strength": (0.0, MAX_STRENGTH),
    "seconds": (1.0, 30.0),
    "guidance": (1.0, 20.0),
    "temperature": (0.1, 2.0),
    "n_takes": (1.0, float(MOST_TAKES)),
}


@dataclass(frozen=True)
class _Desk:
    models: list[SoundModel]
    recent: list[str]


class StudioState(OwnTemplatesState, rx.State):
    """What somebody is about to have made."""

    _models: list[SoundModel] = []
    _is_by_hand: bool = False  # the adapter; else it is the model's default one
    _last: str = ""  # what was asked for last; the second press of a double one comes after the first is done
    _last_at: float = 0.0

    is_loaded: bool = False
    is_sending: bool = False
    may_make: bool = False
    may_rate: bool = False
    models: list[tuple[str, str]] = []
    adapters: list[tuple[str, str]] = []
    every_adapter: list[tuple[str, str]] = []
    recent: list[str] = []
    templates: list[tuple[str, str]] = list(TEMPLATES)
    model_id: str = ""
    adapter_id: str = ""
    is_steered: bool = False
    most_seconds: str = "30"
    prompt: str = ""
    strength: str = "1"
    seconds: str = "8"
    guidance: str = "3"
    temperature: str = "1"
    n_takes: str = "4"
    seed: str = ""
    is_seed_locked: bool = False
    refusal: str = ""

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Show the models; what the address names is chosen, or what was before while it is there."""
        self.may_make = actor.role in (Role.ADMIN, Role.TRAINER)
        self.may_rate = actor.role is not Role.VIEWER
        desk = await asyncio.to_thread(_read, actor)
        self._models, self.recent = desk.models, desk.recent
        self.models = [(model.id, model.name) for model in desk.models]
        self.every_adapter = [adapter for model in desk.models for adapter in model.adapters]
        named = self.router.url.query_parameters
        wanted = named.get("model", "") or self.model_id
        known = [model.id for model in desk.models]
        if wanted not in known or wanted != self.model_id:
            self._choose(wanted if wanted in known else next(iter(known), ""))
        else:
            self._refresh_adapters()
        model = self._model()
        if model is not None and named.get("adapter", "") in dict(model.adapters):
            self._is_by_hand = True
            self._choose_adapter(model, named["adapter"])
        self._take_in_templates(await asyncio.to_thread(read_templates, actor))
        self.is_loaded = True

    @rx.event
    @authorized(Role.TRAINER)
    async def add_starter(self, actor: User):
        """Add the small model that comes with the studio; the only one there is gets chosen."""
        self.is_sending = True
        yield
        try:
            await asyncio.to_thread(_add_starter, actor)
        finally:
            self.is_sending = False
        yield StudioState.load

    @rx.event
    @authorized()
    async def choose_model(self, model_id: str):
        """Make sound with another model."""
        if model_id in [model.id for model in self._models]:
            self._choose(model_id)

    @rx.event
    @authorized()
    async def choose_adapter(self, adapter_id: str):
        """Make sound with another adapter, or with the base model alone."""
        model = self._model()
        if model is None:
            return
        self._is_by_hand = True
        self._choose_adapter(model, adapter_id)

    @rx.event
    @authorized()
    async def write(self, text: str):
        """Take in what the sound should be."""
        self.prompt, self.refusal = text[:MAX_PROMPT], ""

    @rx.event
    @authorized()
    async def set_number(self, name: str, value: float | str):
        """Set a slider, within its bounds."""
        try:
            number = float(value)
        except ValueError:
            return
        if name not in _BOUNDS or math.isnan(number):
            return
        low, high = _BOUNDS[name]
        if name == "seconds":
            high = min(high, float(self.most_seconds))
        number = min(max(number, low), high)
        setattr(self, name, f"{round(number) if name == 'n_takes' else number:g}")

    @rx.event
    @authorized()
    async def set_seed(self, value: float | str):
        """Choose the seed, which then stays."""
        try:
            self.seed = str(min(max(int(float(value)), 0), MAX_SEED))
        except (ValueError, OverflowError):
            self.seed = ""
        self.is_seed_locked = bool(self.seed)

    @rx.event
    @authorized()
    async def lock_seed(self, is_locked: bool):
        """Keep the seed from one generation to the next, or draw a new one each time."""
        self.is_seed_locked = is_locked
        if is_locked and not self.seed:
            self.seed = str(secrets.randbelow(MAX_SEED + 1))

    @rx.event
    @authorized(Role.TRAINER)
    async def generate(self, actor: User):
        """Have the takes made. A second press finds the first one under way."""
        wanted = repr([getattr(self, name) for name in _ASKED])
        if self.is_sending or (wanted == self._last and time.monotonic() - self._last_at < DOUBLE_PRESS_S):
            return
        self.refusal = ""
        if not self.prompt.strip():
            self.refusal = "Describe the sound first."
            return
        self.is_sending = True
        yield
        try:
            made = await asyncio.to_thread(_start, actor, self._form())
            self._last, self._last_at = wanted, time.monotonic()
            self.seed = str(made)
            self.recent = list(dict.fromkeys([" ".join(self.prompt.split()), *self.recent]))[:12]
        except InvalidInput as error:
            self.refusal = error.message
        finally:
            self.is_sending = False
        if not self.refusal:
            yield TakesState.load

    def _form(self) -> GenerationCreate:
        try:
            return GenerationCreate(**self._settings())
        except ValidationError as error:
            raise InvalidInput("Choose a model and describe the sound.") from error

    def _settings(self) -> dict[str, Any]:
        """What is written and set, as a template keeps it."""
        return {
            "prompt": self.prompt.strip(),
            "model_id": self.model_id or None,
            "adapter_id": self.adapter_id or None,
            "strength": float(self.strength),
            "duration_s": float(self.seconds),
            "n_takes": int(self.n_takes),
            "guidance": float(self.guidance),
            "temperature": float(self.temperature),
            "seed": int(self.seed) if self.is_seed_locked and self.seed else None,
        }

    def _use(self, kept: PromptTemplatePublic) -> None:
        """Take in a template."""
        if kept.model_id in [model.id for model in self._models] and kept.model_id != self.model_id:
            self._choose(kept.model_id)
        model = self._model()
        is_same = model is not None and kept.model_id == model.id
        if model is not None and is_same and (kept.adapter_id or "") in ["", *dict(model.adapters)]:
            self._is_by_hand = True
            self._choose_adapter(model, kept.adapter_id or "")
            self.strength = f"{kept.strength:g}"
        self.prompt, self.refusal = kept.prompt, ""
        self.seconds = f"{min(kept.duration_s, float(self.most_seconds)):g}"
        self.n_takes, self.guidance = str(kept.n_takes), f"{kept.guidance:g}"
        self.temperature = f"{kept.temperature:g}"
        self.is_seed_locked = kept.seed is not None
        if kept.seed is not None:
            self.seed = str(kept.seed)

    def _choose_adapter(self, model: SoundModel, adapter_id: str) -> None:
        self.adapter_id = adapter_id if adapter_id in dict(model.adapters) else ""
        self.strength = f"{model.active_strength:g}" if self.adapter_id == model.active_id else "1"

    def _refresh_adapters(self) -> None:
        """Show the adapters that there are now; the default one is chosen unless somebody chose by hand."""
        model = self._model()
        self.adapters = model.adapters if model else []
        is_gone = self.adapter_id not in ["", *dict(self.adapters)]
        if model is not None and (is_gone or not self._is_by_hand):
            self._is_by_hand = False
            self._choose_adapter(model, model.active_id)

    def _model(self) -> SoundModel | None:
        return next((model for model in self._models if model.id == self.model_id), None)

    def _choose(self, model_id: str) -> None:
        self.model_id = model_id
        model = self._model()
        self._is_by_hand = False
        self.adapters = model.adapters if model else []
        self.adapter_id = model.active_id if model else ""
        self.strength = f"{model.active_strength:g}" if model else "1"
        self.is_steered = model.is_steered if model else False
        most = min(model.max_seconds, 30.0) if model else 30.0
        self.most_seconds = f"{most:g}"
        usual = (model.usual_seconds if model else None) or float(self.seconds)
        self.seconds = f"{min(usual, most):g}"
        self.templates = list((model.prompts if model else ()) or TEMPLATES)


def _add_starter(actor: User) -> None:
    with db.write() as session:
        models.add_starter(session, actor=actor, which="sound")


def _read(actor: User) -> _Desk:
    with db.read() as session:
        found = sound_desk.list_sound_models(session, actor=actor)
        return _Desk(found, sound_desk.list_recent_prompts(session, actor=actor))


def _start(actor: User, form: GenerationCreate) -> int:
    """Begin a generation; returns its seed."""
    with db.write() as session:
        return generations.start(session, actor=actor, form=form).seed
