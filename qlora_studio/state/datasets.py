"""The list of datasets."""

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar

import reflex as rx

from qlora_studio.contracts.enums import DatasetStatus, Role, Task
from qlora_studio.db import engine
from qlora_studio.db.models.dataset import Dataset
from qlora_studio.db.models.user import User
from qlora_studio.services import datasets
from qlora_studio.state import formats
from qlora_studio.state.auth import authorized
from qlora_studio.state.resources import ResourcesState
from qlora_studio.state.sharing import facts_of
from qlora_studio.state.tables import parsed

TASK_LABELS = {
    Task.SPEECH_TO_TEXT: "Speech to text",
    Task.AUDIO_CLASSIFICATION: "Audio classification",
    Task.SPEAKER_DIARIZATION: "Speaker diarization",
    Task.TEXT_TO_AUDIO: "Text to audio",
}


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
    owner: str = ""
    sharing: str = "private"
    may_change: bool = True
    may_train: bool = True


def _page(actor: User, wanted: dict[str, Any]) -> tuple[list[DatasetRow], int]:
    wanted = parsed(wanted, status=DatasetStatus, task=Task)
    with engine.read() as session:
        found, total = datasets.list_datasets(session, actor=actor, **wanted)
        facts = facts_of(session, actor, found)
    return [_row(dataset, facts[dataset.id]) for dataset in found], total


def _row(dataset: Dataset, facts: dict[str, Any]) -> DatasetRow:
    added = formats.when(dataset.created_at)
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
        progress=_progress(dataset),
        **facts,
    )


def _progress(dataset: Dataset) -> str:
    if dataset.status is not DatasetStatus.PROCESSING:
        return ""
    if dataset.progress_total:
        return f"{dataset.progress_done:,} of {dataset.progress_total:,}"
    return fetched_text(dataset)


def fetched_text(dataset: Dataset) -> str:
    """`4.0 MB of 96.0 MB` of what comes from elsewhere; nothing before the first byte."""
    fetched = dataset.source.get("fetched") or {}
    done, total = int(fetched.get("bytes") or 0), fetched.get("total")
    if total:
        return f"{formats.size(done)} of {formats.size(total)}"
    return formats.size(done) if done else ""


def users_of(actor: User, dataset_id: str) -> tuple[str, list[str]]:
    """A dataset's name and what was made with it."""
    with engine.read() as session:
        dataset = datasets.get_dataset(session, actor=actor, dataset_id=dataset_id)
        return dataset.name, datasets.list_users_of(session, dataset_id=dataset_id)


def delete_dataset(actor: User, dataset_id: str) -> None:
    """Delete a dataset in a transaction of its own."""
    with engine.write() as session:
        datasets.delete(session, actor=actor, dataset_id=dataset_id)


class DatasetsState(ResourcesState, rx.State):
    """The list, its search and filters, and the dialog that deletes."""

    _path: ClassVar[str] = "/datasets"
    _has_shelf: ClassVar[bool] = True
    _under_way: ClassVar[tuple[str, ...]] = (DatasetStatus.PROCESSING,)
    rows: list[DatasetRow] = []

    _page = staticmethod(_page)
    _users_of = staticmethod(users_of)
    _delete = staticmethod(delete_dataset)

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


def _add_example(actor: User) -> str:
    with engine.write() as session:
        return datasets.add_example(session, actor=actor).id
