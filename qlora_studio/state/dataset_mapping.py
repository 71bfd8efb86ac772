"""Which column holds what, looked at and changed before a dataset's files are read."""

import asyncio
from dataclasses import dataclass

import reflex as rx

from qlora_studio.contracts.enums import DatasetStatus, Role, Task
from qlora_studio.core.errors import Conflict, NotFound
from qlora_studio.db import engine
from qlora_studio.db.models.user import User
from qlora_studio.ingest.manifests import FIELDS, LABEL_FROM, LABELS_FROM
from qlora_studio.ingest.preview import Preview, PreviewRow
from qlora_studio.services import datasets, mapping_previews
from qlora_studio.services.access import Action
from qlora_studio.services.datasets import DatasetUpdate
from qlora_studio.state import formats
from qlora_studio.state.auth import authorized

WORDS_FROM = {
    "manifest": "{tables}",
    "transcript list": "the list {tables}",
    "rttm": "{tables}",
    "text files": "the text file beside each recording",
    "folders": "the folders' names",
    "file names": "the beginnings of the file names",
    "none": "nowhere: the clips will have no labels",
}


@dataclass(frozen=True)
class MappedRow:
    """A clip as it would be read; with a `problem` it could not be used."""

    file: str
    text: str
    label: str
    speaker: str
    split: str
    problem: str


@dataclass(frozen=True)
class MappingView:
    """What would become of the files, formatted. `labels_from` says where words and labels come from."""

    is_shown: bool = False
    labels_from: str = ""
    matched: str = ""
    unmatched: str = ""
    n_unmatched: int = 0
    classes: str = ""
    more: str = ""
    refusal: str = ""
    has_columns: bool = False
    has_label_from: bool = False


class DatasetMappingState(rx.State):
    """The columns of a dataset that waits, what they are taken for, and the first rows read that way."""

    shown: MappingView = MappingView()
    rows: list[MappedRow] = []
    reasons: list[str] = []
    columns: list[str] = []
    mapping: dict[str, str] = {}
    trouble: str = ""  # why the files can't be looked at
    is_looking: bool = False
    is_sending: bool = False

    @rx.var
    def options(self) -> list[list[str]]:
        """Value and label of what a field may be read from; the first is nothing."""
        return [["", "Not used"], *([column, column] for column in self.columns)]

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Look at files that are here already; those of an upload only when all were sent."""
        self.shown, self.rows, self.reasons, self.mapping = MappingView(), [], [], {}
        self.is_sending, self.trouble = False, ""
        try:
            waits = await asyncio.to_thread(_waits, actor, self.dataset_id)
        except NotFound:
            return None
        return DatasetMappingState.look(True) if waits else None

    @rx.event
    @authorized(Role.TRAINER)
    async def look(self, actor: User, goes_on: bool):
        """Show how the files would be read; with `goes_on` read them if there is nothing to choose."""
        self.is_looking, self.trouble = True, ""
        yield
        try:
            is_choice = await self._fill(actor, None)
            if goes_on and not is_choice:
                await asyncio.to_thread(_use, actor, self.dataset_id, {})
                self.shown = MappingView()
        except Conflict as error:
            self.trouble = error.message
        finally:
            self.is_looking = False

    @rx.event
    @authorized(Role.TRAINER)
    async def choose(self, actor: User, field: str, column: str):
        """Take another column for a field, none if it is empty; or labels from somewhere else."""
        is_known = column in ("", *self.columns) if field in FIELDS else column in LABELS_FROM
        if field not in (*FIELDS, LABEL_FROM) or not is_known:
            return
        self.mapping = {**self.mapping, field: column}
        self.is_looking = True
        yield
        try:
            await self._fill(actor, dict(self.mapping))
        finally:
            self.is_looking = False

    @rx.event
    @authorized(Role.TRAINER)
    async def use(self, actor: User):
        """Read the files this way."""
        self.is_sending = True
        yield
        try:
            await asyncio.to_thread(_use, actor, self.dataset_id, dict(self.mapping))
            self.shown = MappingView()
        finally:
            self.is_sending = False

    @rx.event
    @authorized()
    async def go_back(self):
        """Back to the files of the upload."""
        self.shown = MappingView()

    async def _fill(self, actor: User, mapping: dict[str, str] | None) -> bool:
        task, preview = await asyncio.to_thread(_look, actor, self.dataset_id, mapping)
        self.shown, self.rows = view_of(preview, task), [_row(row) for row in preview.rows]
        self.reasons = [f"{name}: {formats.count(n, 'file')}" for name, n in preview.reasons]
        self.columns = preview.columns
        self.mapping = {**dict.fromkeys(FIELDS, ""), **(mapping or preview.mapping)}
        if self.shown.has_label_from and not self.mapping.get(LABEL_FROM):
            self.mapping[LABEL_FROM] = "none"
        return preview.is_choice


def view_of(preview: Preview, task: Task) -> MappingView:
    """Format what would become of the files."""
    tables = " and ".join(preview.tables[:2]) + (" …" if len(preview.tables) > 2 else "")
    n_more = preview.n_matched + preview.n_unmatched - len(preview.rows)
    names = ", ".join(f"{name} ({n:,})" for name, n in preview.labels[:8])
    return MappingView(
        is_shown=True,
        labels_from=WORDS_FROM.get(preview.label_source, "").format(tables=tables),
        matched=formats.count(preview.n_matched, "clip"),
        unmatched=formats.count(preview.n_unmatched, "file"),
        n_unmatched=preview.n_unmatched,
        classes=names + (" …" if len(preview.labels) > 8 else ""),
        more=_more(n_more, preview),
        refusal=preview.refusal or "",
        has_columns=bool(preview.columns) and preview.label_source in ("manifest", "none"),
        has_label_from=task is Task.AUDIO_CLASSIFICATION,
    )


def _more(n_more: int, preview: Preview) -> str:
    if preview.is_partial:
        return f"Only the first {formats.count(preview.n_files, 'file')} were looked at."
    return f"and {formats.count(n_more, 'more', 'more')}" if n_more > 0 else ""


def _row(row: PreviewRow) -> MappedRow:
    return MappedRow(
        file=row.file,
        text=row.text or "",
        label=row.label or "",
        speaker=row.speaker or "",
        split=(row.split or "").capitalize(),
        problem=row.reason or "",
    )


def _waits(actor: User, dataset_id: str) -> bool:
    """Whether all the files are here, and only somebody's look is waited for."""
    with engine.read() as session:
        dataset = datasets.get_dataset(session, actor=actor, dataset_id=dataset_id, action=Action.SEE)
    return dataset.status is DatasetStatus.AWAITING_FILES and dataset.source.get("kind") != "upload"


def _look(actor: User, dataset_id: str, mapping: dict[str, str] | None) -> tuple[Task, Preview]:
    with engine.read() as session:
        dataset = mapping_previews.find_files(session, actor=actor, dataset_id=dataset_id)
    return dataset.task, mapping_previews.look(dataset, mapping=mapping)


def _use(actor: User, dataset_id: str, mapping: dict[str, str]) -> None:
    with engine.write() as session:
        form = DatasetUpdate(mapping=mapping)
        datasets.update(session, actor=actor, dataset_id=dataset_id, form=form)
        datasets.start_ingest(session, actor=actor, dataset_id=dataset_id)
