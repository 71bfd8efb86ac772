"""The tab where a model writes clips down and somebody corrects it."""

import asyncio
from typing import Any, ClassVar

import reflex as rx
from pydantic import ValidationError

from qlora_studio.contracts.enums import Role, Task
from qlora_studio.core.errors import InvalidInput, NotFound
from qlora_studio.db import engine
from qlora_studio.db.models import Clip, Dictation, User
from qlora_studio.services import dictations, offers
from qlora_studio.services.dictation_schemas import DictationCreate, TranscriptPut
from qlora_studio.state.auth import authorized
from qlora_studio.state.dataset import DatasetState
from qlora_studio.state.dataset_tabs import DatasetTab
from qlora_studio.state.dictation_rows import (
    DictationView,
    TranscriptRow,
    dictation_choice,
    dictation_view,
    transcript_row,
)
from qlora_studio.state.tables import TableState
from qlora_studio.state.watching import Watch

_LOOK_EVERY_S = 0.7
_MOST_OFFERED = 100  # dictations
_NO_ADAPTER = ["", "Without an adapter"]


class DictationState(DatasetTab, TableState, rx.State):
    """The tab; which dictation is shown, search, filter and page are in the address."""

    _tab: ClassVar[str] = "transcribe"
    _filter_names: ClassVar[tuple[str, ...]] = ("show", "dictation")
    _first_sort: ClassVar[str] = "position"
    _watch_id: int = 0

    models: list[list[str]] = []
    adapters: list[list[str]] = []
    model_id: str = ""
    adapter_id: str = ""
    which: str = "without_text"
    is_asking: bool = False
    problem: str = ""
    dictation: DictationView = DictationView()
    choices: list[list[str]] = []
    rows: list[TranscriptRow] = []
    failures: int = 0  # corrections that were refused

    def _address(self, **changes: Any) -> str:
        return f"/datasets/{self.dataset_id}" + super()._address(tab=self._tab, **changes)

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Show the newest dictation, or the one that the address names, and what to make another with."""
        self._read_address()
        if not self._is_open():
            return None
        self.problem, self.load_error = "", ""
        try:
            await self._fill(actor)
        except NotFound:
            return None  # the head of the page says so
        self.is_loading = False
        return DictationState.watch if self.dictation.is_active else None

    async def _fill(self, actor: User) -> None:
        self.models = await asyncio.to_thread(_offered_models, actor)
        known = [model_id for model_id, _ in self.models]
        if self.model_id not in known:
            self.model_id = known[0] if known else ""
            await self._offer_adapters(actor)
        found, self.choices = await asyncio.to_thread(_dictations, actor, self.dataset_id)
        wanted = self.filters.get("dictation", "")
        shown = next((one for one in found if one.id == wanted), found[0] if found else None)
        self.dictation = dictation_view(shown) if shown is not None else DictationView()
        await self._fill_rows(actor)

    async def _fill_rows(self, actor: User) -> None:
        self.rows, self.total = await asyncio.to_thread(_page, actor, self.dictation.id, self._wanted())

    async def _offer_adapters(self, actor: User) -> None:
        self.adapters, self.adapter_id = await asyncio.to_thread(_offered_adapters, actor, self.model_id)

    @rx.event
    @authorized()
    async def choose_model(self, actor: User, model_id: str):
        """Listen with another model; its default adapter is chosen along."""
        if model_id in [known for known, _ in self.models]:
            self.model_id, self.problem = model_id, ""
            await self._offer_adapters(actor)

    @rx.event
    @authorized()
    async def choose_adapter(self, adapter_id: str):
        """Listen with an adapter, or without one."""
        if adapter_id in [known for known, _ in self.adapters]:
            self.adapter_id, self.problem = adapter_id, ""

    @rx.event
    @authorized()
    async def choose_clips(self, which: str):
        """Write down clips without words, or all."""
        self.which, self.problem = "all" if which == "all" else "without_text", ""

    @rx.event
    @authorized(Role.TRAINER)
    async def start(self, actor: User):
        """Have the clips written down."""
        self.is_asking, self.problem = True, ""
        yield
        try:
            await asyncio.to_thread(_start, actor, self.dataset_id, self._asked())
        except InvalidInput as error:
            self.problem = error.message
            return
        finally:
            self.is_asking = False
        if self.is_filtered or self.page > 1:  # the new one is shown from its first clip
            yield self._go(dictation="", show="", query="", page=1)
            return
        await self._fill(actor)
        yield DictationState.watch

    def _asked(self) -> DictationCreate:
        return DictationCreate.model_validate(
            {"model_id": self.model_id, "adapter_id": self.adapter_id or None, "clips": self.which}
        )

    @rx.event(background=True)
    @authorized()
    async def watch(self, actor: User):
        """Show how far it is until it is done; clips come as they are heard."""
        watch, dictation_id = Watch(self), self.dictation.id
        await watch.take_over()
        while await watch.goes_on(every_s=_LOOK_EVERY_S):
            try:
                view = await asyncio.to_thread(_look, actor, dictation_id)
            except NotFound:
                return
            if view != self.dictation:
                async with self:
                    if not watch.is_newest or self.dictation.id != dictation_id:
                        return
                    self.dictation = view
                    await self._fill_rows(actor)
            if not view.is_active:
                return

    @rx.event
    @authorized(Role.TRAINER)
    async def stop(self, actor: User):
        """Write down no more; what was heard stays."""
        self.dictation = await asyncio.to_thread(_stop, actor, self.dictation.id)

    @rx.event
    @authorized(Role.TRAINER)
    async def correct(self, actor: User, clip_id: str, _field: str, text: str):
        """Say what was really said; an empty text takes that back. The row stays, whatever the filter."""
        try:
            if text:
                TranscriptPut(text=text)
            await self._put(actor, clip_id, text)
        except ValidationError:
            self.failures += 1
            raise InvalidInput("That is longer than fits here.") from None
        except Exception:
            self.failures += 1
            raise

    @rx.event
    @authorized(Role.TRAINER)
    async def set_right(self, actor: User, clip_id: str, is_right: bool):
        """Say that a clip was heard rightly, or that it has to be looked at again."""
        row = next((row for row in self.rows if row.id == clip_id), None)
        if row is not None:
            await self._put(actor, clip_id, row.heard if is_right else "")

    async def _put(self, actor: User, clip_id: str, text: str) -> None:
        self.dictation, row = await asyncio.to_thread(_put, actor, self.dictation.id, clip_id, text)
        self.rows = [row if old.id == row.id else old for old in self.rows]

    @rx.event
    @authorized(Role.TRAINER)
    async def set_all_right(self, actor: User):
        """Say that every clip on this page was heard rightly."""
        ids = [row.id for row in self.rows]
        self.dictation = await asyncio.to_thread(_accept, actor, self.dictation.id, ids)
        await self._fill_rows(actor)

    @rx.event
    @authorized(Role.TRAINER)
    async def apply(self, actor: User):
        """Give the dataset's clips the corrected texts."""
        done = await asyncio.to_thread(_apply, actor, self.dictation.id)
        yield DatasetState.refresh
        if done.n_changed:
            yield rx.toast.success(f"Version {done.version}: {done.n_changed:,} clips have these texts now.")
        else:
            yield rx.toast.info("The dataset has these texts already.")

    @rx.event
    @authorized(Role.TRAINER)
    async def make_dataset(self, actor: User):
        """Make a dataset of the clips that were looked at, and go there."""
        dataset_state = await self.get_state(DatasetState)
        name = f"{dataset_state.dataset.name[:108]}, corrected"
        self.is_asking = True
        yield
        try:
            dataset_id = await asyncio.to_thread(_make_dataset, actor, self.dictation.id, name)
        finally:
            self.is_asking = False
        yield rx.toast.success(f"“{name}” is ready to train on.")
        yield rx.redirect(f"/datasets/{dataset_id}")


def _offered_models(actor: User) -> list[list[str]]:
    with engine.read() as session:
        found = offers.list_offers(session, actor=actor, task=Task.SPEECH_TO_TEXT)
    return [[offer.model.id, offer.name] for offer in found]


def _offered_adapters(actor: User, model_id: str) -> tuple[list[list[str]], str]:
    if not model_id:
        return [], ""
    with engine.read() as session:
        offer = offers.list_adapters(session, actor=actor, model_ids=[model_id])[model_id]
    return [_NO_ADAPTER, *([one, name] for one, name in offer.adapters)], offer.active_id


def _dictations(actor: User, dataset_id: str) -> tuple[list[Dictation], list[list[str]]]:
    with engine.read() as session:
        found, _ = dictations.list_dictations(
            session, actor=actor, dataset_id=dataset_id, page_size=_MOST_OFFERED
        )
    return found, [dictation_choice(one) for one in found]


def _page(actor: User, dictation_id: str, wanted: dict[str, Any]) -> tuple[list[TranscriptRow], int]:
    if not dictation_id:
        return [], 0
    show = wanted["show"] if wanted["show"] in ("open", "checked") else None
    asked = {name: wanted[name] for name in ("query", "page", "page_size")}
    with engine.read() as session:
        rows, total = dictations.list_transcripts(
            session, actor=actor, dictation_id=dictation_id, show=show, **asked
        )
    return [transcript_row(row, clip) for row, clip in rows], total


def _start(actor: User, dataset_id: str, form: DictationCreate) -> None:
    with engine.write() as session:
        dictations.start(session, actor=actor, dataset_id=dataset_id, form=form)


def _look(actor: User, dictation_id: str) -> DictationView:
    with engine.read() as session:
        return dictation_view(dictations.get_dictation(session, actor=actor, dictation_id=dictation_id))


def _stop(actor: User, dictation_id: str) -> DictationView:
    with engine.write() as session:
        return dictation_view(dictations.stop(session, actor=actor, dictation_id=dictation_id))


def _put(actor: User, dictation_id: str, clip_id: str, text: str) -> tuple[DictationView, TranscriptRow]:
    with engine.write() as session:
        row = dictations.put(session, actor=actor, dictation_id=dictation_id, clip_id=clip_id, text=text)
        clip = session.get_one(Clip, clip_id)
        view = dictation_view(dictations.get_dictation(session, actor=actor, dictation_id=dictation_id))
        return view, transcript_row(row, clip)


def _accept(actor: User, dictation_id: str, clip_ids: list[str]) -> DictationView:
    with engine.write() as session:
        dictations.accept(session, actor=actor, dictation_id=dictation_id, clip_ids=clip_ids)
        return dictation_view(dictations.get_dictation(session, actor=actor, dictation_id=dictation_id))


def _apply(actor: User, dictation_id: str) -> dictations.Applied:
    with engine.write() as session:
        return dictations.apply(session, actor=actor, dictation_id=dictation_id)


def _make_dataset(actor: User, dictation_id: str, name: str) -> str:
    with engine.write() as session:
        return dictations.make_dataset(session, actor=actor, dictation_id=dictation_id, name=name).id
