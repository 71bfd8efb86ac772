"""The list of datasets."""

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar

import reflex as rx

from qlora_studio.contracts.enums import DatasetStatus, Role, Task
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db import engine
from qlora_studio.db.models.dataset import Dataset
from qlora_studio.db.models.user import User
from qlora_studio.services import datasets
from qlora_studio.state import formats
from qlora_studio.state.auth import authorized
from qlora_studio.state.tables import TableState
from qlora_studio.state.watching import Watch

TASK_LABELS = {
    Task.SPEECH_TO_TEXT: "Speech to text",
    Task.AUDIO_CLASSIFICATION: "Audio classification",
    Task.SPEAKER_DIARIZATION: "Speaker diarization",
    Task.TEXT_TO_AUDIO: "Text to audio",
}
LOOK_EVERY_S = 1.0


@dataclass(frozen=True)
class DatasetRow:
    """One line of the list, formatted."""

    id: str
    name: str
    task: str
    status: str
    clips: str
    hours: str
    size: str
    added: str
    added_exact: str
    progress: str


class DatasetsState(TableState, rx.State):
    """The list, its search and filters, and the dialog that deletes."""

    _path: ClassVar[str] = "/datasets"
    _watch_id: int = 0

    rows: list[DatasetRow] = []
    deleting_id: str = ""
    deleting_name: str = ""
    deleting_users: list[str] = []
    is_sending: bool = False

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Show the page of the list that the address names."""
        self._read_address()
        try:
            await self._fill(actor)
            self.load_error = ""
        except InvalidInput as error:
            self.load_error = error.message
        self.is_loading = False

    async def _fill(self, actor: User) -> None:
        self.rows, self.total = await asyncio.to_thread(_page, actor, self._wanted())

    def _wanted(self) -> dict[str, Any]:
        paging = {"page": self.page, "page_size": self.page_size}
        return {**self.filters, "query": self.query, "sort": self.sort or "-created_at"} | paging

    @rx.event(background=True)
    @authorized()
    async def watch(self, actor: User):
        """Keep the rows fresh while something on the page is being processed."""
        watch = Watch(self)
        await watch.take_over()
        while await watch.goes_on(every_s=LOOK_EVERY_S):
            rows, total = await asyncio.to_thread(_page, actor, self._wanted())
            if rows != self.rows:
                async with self:
                    self.rows, self.total = rows, total
            if not any(row.status == DatasetStatus.PROCESSING for row in rows):
                return

    @rx.event
    @authorized(Role.TRAINER)
    async def add_example(self, actor: User):
        """Add the embedded example and show it."""
        self.is_sending = True
        yield
        try:
            dataset_id = await asyncio.to_thread(_add_example, actor)
            yield rx.redirect(f"/datasets/{dataset_id}")
        finally:
            self.is_sending = False

    @rx.event
    @authorized(Role.TRAINER)
    async def ask_delete(self, actor: User, dataset_id: str):
        """Open the dialog that deletes, naming what depends on the dataset."""
        self.deleting_name, self.deleting_users = await asyncio.to_thread(_users_of, actor, dataset_id)
        self.deleting_id = dataset_id

    @rx.event
    @authorized()
    async def cancel_delete(self):
        """Close the dialog."""
        self.deleting_id = ""

    @rx.event
    @authorized(Role.TRAINER)
    async def delete(self, actor: User):
        """Delete what the dialog names."""
        self.is_sending = True
        yield
        try:
            await asyncio.to_thread(_delete, actor, self.deleting_id)
            yield rx.toast.success(f"{self.deleting_name} is deleted")
        finally:
            self.is_sending, self.deleting_id = False, ""
        await self._fill(actor)


def _page(actor: User, wanted: dict[str, Any]) -> tuple[list[DatasetRow], int]:
    status, task = wanted.pop("status", None), wanted.pop("task", None)
    with engine.read() as session:
        found, total = datasets.list_datasets(
            session,
            actor=actor,
            status=DatasetStatus(status) if status in set(DatasetStatus) else None,
            task=Task(task) if task in set(Task) else None,
            **wanted,
        )
    return [_row(dataset) for dataset in found], total


def _row(dataset: Dataset) -> DatasetRow:
    added = formats.when(dataset.created_at)
    is_busy = dataset.status is DatasetStatus.PROCESSING and dataset.progress_total > 0
    return DatasetRow(
        id=dataset.id,
        name=dataset.name,
        task=TASK_LABELS[dataset.task],
        status=dataset.status.value,
        clips=formats.count(dataset.n_clips),
        hours=formats.hours(dataset.duration_s),
        size=formats.size(dataset.size_bytes),
        added=added.relative,
        added_exact=added.exact,
        progress=f"{dataset.progress_done:,} of {dataset.progress_total:,}" if is_busy else "",
    )


def _add_example(actor: User) -> str:
    with engine.write() as session:
        return datasets.add_example(session, actor=actor).id


def _users_of(actor: User, dataset_id: str) -> tuple[str, list[str]]:
    with engine.read() as session:
        dataset = datasets.get_dataset(session, actor=actor, dataset_id=dataset_id)
        return dataset.name, datasets.list_users_of(session, dataset_id=dataset_id)


def _delete(actor: User, dataset_id: str) -> None:
    with engine.write() as session:
        datasets.delete(session, actor=actor, dataset_id=dataset_id)
