"""Trying a model on a clip: what is chosen, how far it is, and what came out."""

import asyncio
import base64
from dataclasses import dataclass, field

import reflex as rx

from qlora_studio.audio.turns import Turn
from qlora_studio.contracts.enums import Task
from qlora_studio.contracts.inference import MAX_PROMPT, MAX_SOUND_S, MAX_STRENGTH, EngineAnswer, Heard
from qlora_studio.core.errors import Conflict, InvalidInput, NotFound, StudioError
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db
from qlora_studio.db.models.user import User
from qlora_studio.services import inference, trial_clips
from qlora_studio.services.engine_host import Ticket
from qlora_studio.state import formats
from qlora_studio.state.auth import authorized
from qlora_studio.state.timelines import NO_ANSWER, AnswerLine, answer_line
from qlora_studio.state.watching import is_tab_open

_LOOK_EVERY_S = 0.15
_MOST_CLASSES = 8
_BASE = "Base model"


@dataclass(frozen=True)
class ClassRow:
    """A class with its probability, in words and in percent of the bar."""

    label: str
    probability: str
    percent: float


@dataclass(frozen=True)
class ResultView:
    """What one variant of the model made of the clip."""

    title: str
    detail: str = ""
    text: str = ""
    is_silent: bool = False
    classes: list[ClassRow] = field(default_factory=list)
    timeline: AnswerLine = NO_ANSWER
    sound_url: str = ""
    sound_s: str = ""
    peaks: str = ""


@dataclass(frozen=True)
class Choice:
    """What somebody wants to hear with: fixed when it is asked for, whatever is chosen meanwhile."""

    model_id: str
    clip_id: str
    adapter_id: str
    strength: float
    with_base: bool
    prompt: str = ""
    seconds: float = 0.0
    seed: int = 0


class ModelTryState(rx.State):
    """The card “Try it” of a model's page."""

    _ticket_id: str = ""
    _n_asked: int = 0  # a newer request has taken over when it differs

    task: str = ""
    is_offered: bool = False
    adapters: list[tuple[str, str]] = []
    left_out: str = ""
    has_base: bool = False
    adapter_id: str = ""
    strength: str = "1"
    with_base: bool = False
    clip_id: str = ""
    most_bytes: int = 0
    most_s: float = 0.0
    makes_sound: bool = False
    prompt: str = ""
    seconds: str = "8"
    seed: str = "0"
    is_busy: bool = False
    label: str = ""
    percent: int = 0
    note: str = ""
    refusal: str = ""
    results: list[ResultView] = []

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Start without a clip, with the model's active adapter.

        Where none is, the newest adapter is chosen if the base has nothing to say.
        """
        if self._ticket_id:
            await asyncio.to_thread(_forget, actor, self.clip_id, self._ticket_id)
        n_asked = self._n_asked
        self.reset()
        self._n_asked = n_asked + 1
        settings = get_settings()
        self.most_bytes, self.most_s = settings.max_trial_bytes, settings.max_trial_s
        wanted = self.router.url.query_parameters.get("adapter", "")
        try:
            options = await asyncio.to_thread(_options, actor, self.model_id, wanted)
        except NotFound:
            return
        self.task, self.note, self.has_base = options.task.value, options.note, options.is_base_of_use
        self.makes_sound = options.task is Task.TEXT_TO_AUDIO
        self.is_offered = self.makes_sound or options.task in inference.HEARING_TASKS
        active = options.active
        self.adapters = [(a.id, f"{a.name} (active)" if a is active else a.name) for a in options.adapters]
        n_left = options.n_adapters - len(self.adapters)
        self.left_out = ""
        if n_left > 0:
            self.left_out = f"{formats.count(n_left, 'older one')} can be tried from the adapter's own page."
        known = [adapter_id for adapter_id, _ in self.adapters]
        newest = known[0] if known and not self.has_base else ""
        self.adapter_id = wanted if wanted in known else active.id if active else newest
        if active is not None and self.adapter_id == active.id:
            self.strength = f"{active.active_strength:g}"

    @rx.event
    @authorized()
    async def choose_adapter(self, value: str):
        """Hear with another adapter, or with the base alone."""
        self.adapter_id = value if value in [adapter_id for adapter_id, _ in self.adapters] else ""

    @rx.event
    @authorized()
    async def set_strength(self, value: float | str):
        """Let the adapter count more or less."""
        try:
            number = float(value)
        except ValueError:
            return
        self.strength = f"{min(max(number, 0.0), MAX_STRENGTH):g}"

    @rx.event
    @authorized()
    async def set_with_base(self, value: bool):
        """Show what the base makes of the clip as well."""
        self.with_base = value

    @rx.event
    @authorized()
    async def set_prompt(self, value: str):
        """Take in what the sound should be."""
        self.prompt = value[:MAX_PROMPT]

    @rx.event
    @authorized()
    async def set_seconds(self, value: float | str):
        """Choose how long the sound becomes."""
        try:
            number = float(value)
        except ValueError:
            return
        self.seconds = f"{min(max(number, 1.0), MAX_SOUND_S):g}"

    @rx.event
    @authorized()
    async def set_seed(self, value: float | str):
        """Choose another sound of the same text."""
        try:
            number = int(float(value))
        except (ValueError, OverflowError):
            return
        self.seed = str(min(max(number, 0), 2**31 - 1))

    @rx.event
    @authorized()
    async def take_clip(self, clip_id: str):
        """Hear a clip that has arrived."""
        self.clip_id, self.results, self.refusal = clip_id[:40], [], ""
        return ModelTryState.listen

    @rx.event
    @authorized()
    async def let_clip_go(self, actor: User):
        """Forget the clip, here and on the server."""
        clip_id, self.clip_id, self.results, self.refusal = self.clip_id, "", [], ""
        await asyncio.to_thread(_forget, actor, clip_id, self._ticket_id)

    @rx.event(background=True)
    @authorized()
    async def listen(self, actor: User):
        """Have the model hear the clip, once, however often it is asked for meanwhile.

        A clip that comes while another one is being heard, or called off, is heard after that.
        """
        async with self:
            if self.is_busy or not (self.prompt.strip() if self.makes_sound else self.clip_id):
                return
            self.is_busy, self.label, self.percent = True, "Waiting", 0
            self._n_asked += 1
            n_asked = self._n_asked
            self.results, self.refusal = [], ""
            names = dict(self.adapters)
            choice = Choice(
                self.model_id,
                self.clip_id,
                self.adapter_id,
                float(self.strength),
                self.with_base,
                self.prompt if self.makes_sound else "",
                float(self.seconds),
                int(self.seed),
            )
        results: list[ResultView] = []
        refusal = ""
        try:
            ticket = await asyncio.to_thread(_start, actor, choice)
            answer = await self._follow(ticket)
            results = await asyncio.to_thread(_views, answer, choice, names)
        except Conflict as error:
            refusal = "" if error.message == "Cancelled." else error.message
        except StudioError as error:
            refusal = error.message
        finally:
            async with self:
                if self._n_asked == n_asked:
                    self.is_busy, self._ticket_id = False, ""
                if self._n_asked == n_asked and self.clip_id == choice.clip_id:
                    self.results, self.refusal = results, refusal
                is_next = self._n_asked == n_asked and self.clip_id not in ("", choice.clip_id)
        return ModelTryState.listen if is_next else None

    async def _follow(self, ticket: Ticket) -> EngineAnswer:
        """Show how far it is until the answer is there; a tab that has gone calls it off."""
        async with self:
            self._ticket_id = ticket.id
        shown = ("", -1)
        while not ticket.ended.is_set():
            await asyncio.sleep(_LOOK_EVERY_S)
            if not is_tab_open():
                ticket.cancel()
            if (ticket.label, ticket.percent) != shown:
                shown = (ticket.label, ticket.percent)
                async with self:
                    self.label, self.percent = shown
        return ticket.result(0)

    @rx.event
    @authorized()
    async def cancel(self, actor: User):
        """Call off what is being heard."""
        if self._ticket_id:
            await asyncio.to_thread(inference.cancel, self._ticket_id, actor=actor)
            self.label = "Cancelling"


def _options(actor: User, model_id: str, adapter_id: str) -> inference.Options:
    with db.read() as session:
        return inference.get_options(session, actor=actor, model_id=model_id, adapter_id=adapter_id)


def _start(actor: User, choice: Choice) -> Ticket:
    if choice.prompt:
        with db.read() as session:
            ticket = inference.prepare_sound(
                session,
                actor=actor,
                model_id=choice.model_id,
                prompt=choice.prompt,
                seconds=choice.seconds,
                seed=choice.seed,
                adapter_id=choice.adapter_id or None,
                strength=choice.strength,
                with_base=choice.with_base,
            )
        return inference.start(ticket)
    clip = trial_clips.get_clip(choice.clip_id, actor=actor)
    with db.read() as session:
        ticket = inference.prepare(
            session,
            actor=actor,
            model_id=choice.model_id,
            clip=clip,
            adapter_id=choice.adapter_id or None,
            strength=choice.strength,
            with_base=choice.with_base,
        )
    return inference.start(ticket)


def _forget(actor: User, clip_id: str, ticket_id: str) -> None:
    for forget in (
        lambda: inference.cancel(ticket_id, actor=actor),
        lambda: trial_clips.discard(clip_id, actor=actor),
    ):
        try:
            forget()
        except (NotFound, InvalidInput):
            continue


def _views(answer: EngineAnswer, choice: Choice, names: dict[str, str]) -> list[ResultView]:
    titles = [names[choice.adapter_id]] if choice.adapter_id else []
    if len(answer.heard) > len(titles):
        titles.append(_BASE)
    loading = f", and {_took(answer.load_s)} to load the model" if answer.load_s else ""
    where = "GPU" if answer.device == "cuda" else "CPU"
    views = []
    for title, heard in zip(titles, answer.heard, strict=True):
        took = _took(heard.run_s + heard.swap_s)
        weaker = f", strength {choice.strength:g}" if title != _BASE and choice.strength != 1 else ""
        views.append(_view(heard, title, f"{took} on the {where}{loading}{weaker}"))
        loading = ""
    return views


def _took(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else formats.duration(seconds)


def _view(heard: Heard, title: str, detail: str) -> ResultView:
    rows = [
        ClassRow(item.label, f"{100 * item.probability:.1f} %", round(100 * item.probability, 1))
        for item in (heard.classes or [])[:_MOST_CLASSES]
    ]
    if heard.sound_path is not None:
        seconds, peaks = trial_clips.measure_sound(heard.sound_path)
        url = f"/api/v1/trial-sounds/{heard.sound_path.stem}"
        return ResultView(
            title, detail, sound_url=url, sound_s=f"{seconds:.2f}", peaks=base64.b64encode(peaks).decode()
        )
    text = heard.text or ""
    if heard.segments is not None:
        turns = [Turn(s.start_s, s.duration_s, s.speaker) for s in heard.segments]
        return ResultView(title, detail, timeline=answer_line(turns), is_silent=not turns)
    return ResultView(title, detail, text, is_silent=not text and not rows, classes=rows)
