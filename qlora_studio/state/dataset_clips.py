"""The clips of a dataset: found, heard, corrected where they stand, left out and taken back."""

import asyncio
from dataclasses import replace
from typing import Any, ClassVar, Literal

import reflex as rx
from pydantic import ValidationError

from qlora_studio.contracts.enums import ClipStatus, DatasetStatus, Role, Split
from qlora_studio.core.errors import InvalidInput, NotFound
from qlora_studio.db import engine
from qlora_studio.db.models import Dataset, User
from qlora_studio.ingest.quality import BY_KEY, CHECKS
from qlora_studio.services import clips, datasets, reports
from qlora_studio.services.access import Action
from qlora_studio.services.clips import ClipUpdate
from qlora_studio.state.auth import authorized
from qlora_studio.state.dataset import DatasetState
from qlora_studio.state.dataset_rows import ClipRow, clip_row
from qlora_studio.state.dataset_tabs import DatasetTab
from qlora_studio.state.tables import TableState, parsed

_IN_GROUPS = ("rare_class", "speaker_in_splits", "audio_in_splits")  # and all checks that keep a first one
Field = Literal["text", "label", "speaker", "split"]


class ClipsState(DatasetTab, TableState, rx.State):
    """The tab of the clips; search, filters, sort and paging are in the address."""

    _tab: ClassVar[str] = "clips"
    _path: ClassVar[str] = ""
    _filter_names: ClassVar[tuple[str, ...]] = ("split", "status", "label", "check")
    _first_sort: ClassVar[str] = "position"
    _labels_of: str = ""  # the content that `labels` are of

    rows: list[ClipRow] = []
    labels: list[list[str]] = []
    checks: list[list[str]] = []
    expanded: str = ""  # the clip whose details are open
    failures: int = 0  # corrections that were refused

    def _address(self, **changes: Any) -> str:
        return f"/datasets/{self.dataset_id}" + super()._address(tab=self._tab, **changes)

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Show the page of clips that the address names."""
        self._read_address()
        self.expanded = ""
        try:
            await self._fill(actor)
            self.load_error = ""
        except NotFound:
            return  # the head of the page says so
        except InvalidInput as error:
            self.load_error = error.message
        self.is_loading = False

    async def _fill(self, actor: User) -> None:
        dataset = await asyncio.to_thread(_dataset, actor, self.dataset_id)
        if not self._is_open() and dataset.status is not DatasetStatus.ERROR:
            return
        wanted = parsed(self._sorted(), split=Split, status=ClipStatus)
        self.rows, self.total = await asyncio.to_thread(_page, actor, dataset.id, wanted)
        self.checks = [[check.key, check.title] for check in CHECKS if dataset.task in check.tasks]
        content = f"{dataset.id} {dataset.content_hash}"
        if content != self._labels_of:
            self._labels_of, self.labels = content, await asyncio.to_thread(_labels, dataset.id)

    def _sorted(self) -> dict[str, Any]:
        """What is wanted; clips that belong together stand side by side unless another sort is asked for."""
        check = BY_KEY.get(self.filters.get("check", ""))
        in_groups = check is not None and (check.keeps_first or check.key in _IN_GROUPS)
        return self._wanted() | ({"sort": "group"} if in_groups and not self.sort else {})

    @rx.event
    @authorized()
    async def expand(self, clip_id: str):
        """Open the details of a clip, or close them."""
        self.expanded = "" if clip_id == self.expanded else clip_id

    @rx.event
    @authorized(Role.TRAINER)
    async def correct(self, actor: User, clip_id: str, field: Field, value: str):
        """Correct one field of a clip; the row stays where it is, whatever the filters say."""
        try:
            form = ClipUpdate.model_validate({field: value})
            self._replace(await asyncio.to_thread(_update, actor, clip_id, form))
        except ValidationError:
            self.failures += 1
            raise InvalidInput("That is longer than fits here.") from None
        except Exception:
            self.failures += 1
            raise
        return DatasetState.refresh

    @rx.event
    @authorized(Role.TRAINER)
    async def leave_out(self, actor: User, clip_id: str, is_out: bool):
        """Leave a clip out, or take it back."""
        status = ClipStatus.EXCLUDED if is_out else ClipStatus.OK
        self._replace(await asyncio.to_thread(_update, actor, clip_id, ClipUpdate(status=status)))
        return DatasetState.refresh

    def _replace(self, row: ClipRow) -> None:
        self.rows = [replace(row, findings=old.findings) if old.id == row.id else old for old in self.rows]


def _dataset(actor: User, dataset_id: str) -> Dataset:
    with engine.read() as session:
        return datasets.get_dataset(session, actor=actor, dataset_id=dataset_id, action=Action.SEE)


def _page(actor: User, dataset_id: str, wanted: dict[str, Any]) -> tuple[list[ClipRow], int]:
    if wanted["check"]:
        reports.bring_up_to_date(actor=actor, dataset_id=dataset_id)
    with engine.read() as session:
        found, total = clips.list_clips(session, actor=actor, dataset_id=dataset_id, **wanted)
        said = reports.list_findings(session, clip_ids=[clip.id for clip in found])
    return [clip_row(clip, said.get(clip.id, [])) for clip in found], total


def _labels(dataset_id: str) -> list[list[str]]:
    with engine.read() as session:
        largest, _ = reports.list_labels(session, dataset_id=dataset_id)
    return [[row.label, row.label] for row in largest]


def _update(actor: User, clip_id: str, form: ClipUpdate) -> ClipRow:
    with engine.write() as session:
        return clip_row(clips.update(session, actor=actor, clip_id=clip_id, form=form))
