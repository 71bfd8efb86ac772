"""One dataset: its head, how taking it in goes, and which of its tabs is open."""

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import ClassVar

import reflex as rx

from qlora_studio.contracts.enums import DatasetStatus, Role, Split
from qlora_studio.core.errors import NotFound
from qlora_studio.db import engine
from qlora_studio.db.models.user import User
from qlora_studio.services import datasets
from qlora_studio.services.access import Action
from qlora_studio.services.datasets import DatasetUpdate
from qlora_studio.state.auth import authorized
from qlora_studio.state.dataset_rows import DatasetView, ReasonRow, reason_rows, view_of
from qlora_studio.state.dataset_tabs import DatasetTab
from qlora_studio.state.datasets import delete_dataset, users_of
from qlora_studio.state.resources import LOOK_EVERY_S, EditState
from qlora_studio.state.sharing import facts_of
from qlora_studio.state.watching import Watch

_DONE = (DatasetStatus.READY, DatasetStatus.ERROR)


def _update(actor: User, dataset_id: str, name: str, description: str) -> None:
    form = DatasetUpdate(name=name, description=description)
    with engine.write() as session:
        datasets.update(session, actor=actor, dataset_id=dataset_id, form=form)


@dataclass(frozen=True)
class _Counts:
    """What is counted over all clips, and of which content: that is not done again at each click."""

    key: str = ""
    splits: dict[Split, tuple[int, float]] = field(default_factory=dict)
    reasons: list[tuple[str, int]] = field(default_factory=list)


class DatasetState(EditState, DatasetTab, rx.State):
    """The head of the page `/datasets/[dataset_id]`; each tab has a state of its own."""

    _list_path: ClassVar[str] = "/datasets"
    _kind: ClassVar[str] = "dataset"
    _watch_id: int = 0
    _counts: _Counts = _Counts()

    tab: str = "overview"
    dataset: DatasetView = DatasetView()
    reasons: list[ReasonRow] = []

    _users_of = staticmethod(users_of)
    _update = staticmethod(_update)
    _delete = staticmethod(delete_dataset)

    def _shown(self) -> DatasetView:
        return self.dataset

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Build the head from the database, whatever it showed before."""
        self.tab = self._open_tab()
        if self.dataset.id != self.dataset_id:
            self.dataset, self.reasons = DatasetView(), []
        self.dialog, self.field_errors, self.is_missing = "", {}, False
        try:
            await self._fill(actor)
        except NotFound:
            self.is_missing = True

    @rx.event
    @authorized()
    async def refresh(self, actor: User):
        """Show the counts and the version as they are now; a tab has changed something."""
        await self._fill(actor)

    async def _fill(self, actor: User) -> None:
        self.dataset, self._counts = await asyncio.to_thread(_load, actor, self.dataset_id, self._counts)
        self.reasons = reason_rows(self._counts.reasons)

    @rx.event(background=True)
    @authorized()
    async def watch(self, actor: User):
        """Show how taking in goes, until it is done; then every tab has something to load."""
        watch, dataset_id = Watch(self), self.dataset_id
        await watch.take_over()
        started_at, done_before, counts = time.monotonic(), -1, _Counts()
        while await watch.goes_on(every_s=LOOK_EVERY_S):
            try:
                view, counts = await asyncio.to_thread(_load, actor, dataset_id, counts)
            except NotFound:
                return None
            if done_before < 0 or view.done < done_before:
                started_at, done_before = time.monotonic(), view.done
            view = view.with_speed((view.done - done_before) / max(0.5, time.monotonic() - started_at))
            if view != self.dataset:
                was_done = self.dataset.status in _DONE
                async with self:
                    if not watch.is_newest:
                        return None
                    self.dataset, self.reasons = view, reason_rows(counts.reasons)
                if view.status in _DONE and not was_done:
                    return rx.redirect(self._address_now(), replace=True)
            if view.status == DatasetStatus.READY:
                return None
        return None

    @rx.event
    @authorized(Role.TRAINER)
    async def start_again(self, actor: User):
        """Take the files in once more, after an error."""
        await asyncio.to_thread(_start, actor, self.dataset_id)
        await self._fill(actor)
        return DatasetState.watch


def _load(actor: User, dataset_id: str, known: _Counts) -> tuple[DatasetView, _Counts]:
    with engine.read() as session:
        dataset = datasets.get_dataset(session, actor=actor, dataset_id=dataset_id, action=Action.SEE)
        facts = facts_of(session, actor, [dataset])[dataset.id]
        key = f"{dataset.id} {dataset.content_hash}" if dataset.status is DatasetStatus.READY else ""
        if not key or key != known.key:
            splits = datasets.count_splits(session, dataset_id=dataset_id)
            known = _Counts(key, splits, datasets.count_reasons(session, dataset_id=dataset_id))
    return replace(view_of(dataset, known.splits), **facts), known


def _start(actor: User, dataset_id: str) -> None:
    with engine.write() as session:
        datasets.start_ingest(session, actor=actor, dataset_id=dataset_id)
