"""One dataset: what it holds, how taking it in goes, and its clips."""

import asyncio
import time
from typing import Any, ClassVar

import reflex as rx
from typing_extensions import TypedDict

from qlora_studio.contracts.enums import ClipStatus, DatasetStatus, Role, Split
from qlora_studio.core.errors import InvalidInput, NotFound
from qlora_studio.db import engine
from qlora_studio.db.models.user import User
from qlora_studio.services import clips, datasets, splits
from qlora_studio.services.clips import ClipUpdate
from qlora_studio.services.datasets import DatasetUpdate
from qlora_studio.state.auth import authorized
from qlora_studio.state.dataset_rows import ClipRow, DatasetView, ReasonRow, clip_row, reason_rows, view_of
from qlora_studio.state.datasets import delete_dataset, users_of
from qlora_studio.state.library import LOOK_EVERY_S, EditState
from qlora_studio.state.tables import TableState, parsed
from qlora_studio.state.watching import Watch


class ClipFields(TypedDict, total=False):
    """The form that corrects a clip."""

    text: str
    label: str
    speaker: str
    split: str


class SplitFields(TypedDict, total=False):
    """The form that deals the clips out anew; shares in percent."""

    validation: str
    test: str
    seed: str


def _update(actor: User, dataset_id: str, name: str, description: str) -> None:
    form = DatasetUpdate(name=name, description=description)
    with engine.write() as session:
        datasets.update(session, actor=actor, dataset_id=dataset_id, form=form)


class DatasetState(EditState, TableState, rx.State):
    """The page `/datasets/[dataset_id]`; search, filters, sort and paging are those of its clips."""

    _path: ClassVar[str] = ""
    _filter_names: ClassVar[tuple[str, ...]] = ("split", "status")
    _first_sort: ClassVar[str] = "position"
    _list_path: ClassVar[str] = "/datasets"
    _dialogs: ClassVar[tuple[str, ...]] = ("edit", "delete", "split")  # and "clip", which has its own handler
    _watch_id: int = 0

    dataset: DatasetView = DatasetView()
    reasons: list[ReasonRow] = []
    rows: list[ClipRow] = []
    clip: ClipRow = ClipRow()

    _users_of = staticmethod(users_of)
    _update = staticmethod(_update)
    _delete = staticmethod(delete_dataset)

    def _shown(self) -> DatasetView:
        return self.dataset

    def _address(self, **changes: Any) -> str:
        return f"/datasets/{self.dataset_id}" + super()._address(**changes)

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Build the page from the database, whatever it showed before."""
        self._read_address()
        if self.dataset.id != self.dataset_id:
            self.dataset, self.rows, self.reasons, self.is_loading = DatasetView(), [], [], True
        self.dialog, self.field_errors, self.is_missing = "", {}, False
        try:
            await self._fill(actor)
            self.load_error = ""
        except NotFound:
            self.is_missing = True
        except InvalidInput as error:
            self.load_error = error.message
        self.is_loading = False

    async def _fill(self, actor: User) -> None:
        loaded = await asyncio.to_thread(_load, actor, self.dataset_id, self._wanted())
        self.dataset, self.reasons, self.rows, self.total = loaded

    @rx.event(background=True)
    @authorized()
    async def watch(self, actor: User):
        """Show how taking in goes, until it is done."""
        watch, dataset_id = Watch(self), self.dataset_id
        await watch.take_over()
        started_at, done_before = time.monotonic(), -1
        while await watch.goes_on(every_s=LOOK_EVERY_S):
            try:
                view = await asyncio.to_thread(_view, actor, dataset_id)
            except NotFound:
                return
            if done_before < 0 or view.done < done_before:
                started_at, done_before = time.monotonic(), view.done
            view = view.with_speed((view.done - done_before) / max(0.5, time.monotonic() - started_at))
            if view != self.dataset:
                was_ready = self.dataset.status == DatasetStatus.READY
                async with self:
                    self.dataset = view
                    if view.status in (DatasetStatus.READY, DatasetStatus.ERROR) and not was_ready:
                        await self._fill(actor)
            if view.status == DatasetStatus.READY:
                return

    @rx.event
    @authorized()
    async def open_clip(self, clip_id: str):
        """Open the dialog that corrects a clip of the page."""
        found = next((row for row in self.rows if row.id == clip_id), None)
        if found is not None:
            self.clip, self.field_errors, self.dialog = found, {}, "clip"

    @rx.event
    @authorized(Role.TRAINER)
    async def save_clip(self, actor: User, form: ClipFields):
        """Correct a clip."""
        await asyncio.to_thread(_update_clip, actor, self.clip.id, ClipUpdate.model_validate(dict(form)))
        self.dialog = ""
        await self._fill(actor)

    @rx.event
    @authorized(Role.TRAINER)
    async def leave_out(self, actor: User, clip_id: str, is_out: bool):
        """Leave a clip out, or take it back."""
        status = ClipStatus.EXCLUDED if is_out else ClipStatus.OK
        await asyncio.to_thread(_update_clip, actor, clip_id, ClipUpdate(status=status))
        await self._fill(actor)

    @rx.event
    @authorized(Role.TRAINER)
    async def deal(self, actor: User, form: SplitFields):
        """Deal the clips out anew."""
        ratios, seed = _ratios(form)
        await asyncio.to_thread(_split, actor, self.dataset_id, ratios, seed)
        self.dialog = ""
        await self._fill(actor)

    @rx.event
    @authorized(Role.TRAINER)
    async def start_again(self, actor: User):
        """Take the files in once more, after an error."""
        await asyncio.to_thread(_start, actor, self.dataset_id)
        await self._fill(actor)
        return DatasetState.watch


def _load(
    actor: User, dataset_id: str, wanted: dict[str, Any]
) -> tuple[DatasetView, list[ReasonRow], list[ClipRow], int]:
    wanted = parsed(wanted, split=Split, status=ClipStatus)
    with engine.read() as session:
        dataset = datasets.get_dataset(session, actor=actor, dataset_id=dataset_id)
        counts = datasets.count_splits(session, dataset_id=dataset_id)
        reasons = datasets.count_reasons(session, dataset_id=dataset_id)
        found, total = clips.list_clips(session, actor=actor, dataset_id=dataset_id, **wanted)
    return view_of(dataset, counts), reason_rows(reasons), [clip_row(c) for c in found], total


def _view(actor: User, dataset_id: str) -> DatasetView:
    with engine.read() as session:
        dataset = datasets.get_dataset(session, actor=actor, dataset_id=dataset_id)
        return view_of(dataset, datasets.count_splits(session, dataset_id=dataset_id))


def _update_clip(actor: User, clip_id: str, form: ClipUpdate) -> None:
    with engine.write() as session:
        clips.update(session, actor=actor, clip_id=clip_id, form=form)


def _ratios(form: SplitFields) -> tuple[dict[Split, float], int]:
    try:
        validation, test = float(form.get("validation") or 0) / 100, float(form.get("test") or 0) / 100
        seed = int(form.get("seed") or 0)
    except ValueError:
        raise InvalidInput("Give whole numbers.", fields={"ratios": "Give whole numbers."}) from None
    return {Split.TRAIN: 1 - validation - test, Split.VALIDATION: validation, Split.TEST: test}, seed


def _split(actor: User, dataset_id: str, ratios: dict[Split, float], seed: int) -> None:
    with engine.write() as session:
        form = splits.SplitRequest(ratios=ratios, seed=seed)
        splits.deal_out(session, actor=actor, dataset_id=dataset_id, form=form)


def _start(actor: User, dataset_id: str) -> None:
    with engine.write() as session:
        datasets.start_ingest(session, actor=actor, dataset_id=dataset_id)
