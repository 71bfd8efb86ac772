"""The lists of datasets, models and jobs, and the pages of one, called through their handlers."""

from types import SimpleNamespace
from typing import Any

import pytest
from sqlmodel import Session, select

from qlora_studio.contracts.enums import DatasetStatus, JobStatus, ModelStatus, Task, TrainingType
from qlora_studio.db.models import BaseAudioModel, Dataset, Job, User
from qlora_studio.services import datasets, models
from qlora_studio.state.dataset import DatasetState
from qlora_studio.state.datasets import DatasetsState
from qlora_studio.state.jobs import TrainingState
from qlora_studio.state.model import ModelState
from qlora_studio.state.models import ModelsState
from qlora_studio.state.tables import parsed
from tests.state.calling import Opener, SlowReading, call, hold_by_itself


@pytest.fixture
def things(session: Session, user: User) -> SimpleNamespace:
    """Two datasets and two models; a job was made with the first of each."""
    sets = [
        Dataset(owner_id=user.id, name=name, task=Task.SPEECH_TO_TEXT, status=DatasetStatus.READY)
        for name in ("used", "free")
    ]
    bases = [
        BaseAudioModel(owner_id=user.id, name=name, task=Task.SPEECH_TO_TEXT, status=ModelStatus.READY)
        for name in ("used", "free")
    ]
    session.add_all([*sets, *bases])
    session.flush()
    job = Job(
        owner_id=user.id, name="night run", training_type=TrainingType.QLORA, dataset_id=sets[0].id,
        model_id=bases[0].id, status=JobStatus.FAILED,
    )  # fmt: skip
    session.add(job)
    session.commit()
    return SimpleNamespace(datasets=sets, models=bases, job=job)


@pytest.mark.parametrize(("kind", "things_of"), [(DatasetsState, "datasets"), (ModelsState, "models")])
async def test_a_list_deletes_what_nothing_was_made_with(
    opened: Opener, things: SimpleNamespace, session: Session, kind: type, things_of: str
) -> None:
    used, free = getattr(things, things_of)
    state = opened(kind)
    await call(state, "load")
    assert (state.total, {row.name for row in state.rows}) == (2, {"used", "free"})
    await call(state, "ask_delete", row_id=used.id)
    assert state.deleting_name == "used"
    assert any("night run" in name for name in state.deleting_users)
    sent = await call(state, "delete")
    assert any("Delete" in text for text in sent), "refused, with what to do first"
    await call(state, "ask_delete", row_id=free.id)
    assert (state.deleting_id, state.deleting_users) == (free.id, [])
    await call(state, "cancel_delete")
    assert state.deleting_id == ""
    await call(state, "ask_delete", row_id=free.id)
    assert "free is deleted" in "".join(await call(state, "delete"))
    assert (state.deleting_id, state.is_sending, [row.name for row in state.rows]) == ("", False, ["used"])
    assert session.exec(select(type(free)).where(type(free).name == "free")).first() is None


@pytest.mark.parametrize(
    ("kind", "service", "reading"),
    [(DatasetsState, datasets, "list_datasets"), (ModelsState, models, "list_models")],
)
async def test_a_watch_that_began_at_another_address_does_not_bring_its_rows_back(
    opened: Opener,
    things: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    kind: Any,
    service: Any,
    reading: str,
) -> None:
    hold_by_itself(kind, monkeypatch)
    state = opened(kind, {"query": "no such thing"})
    assert await call(state, "load"), "a watch begins after it, never beside it"
    slow = SlowReading(service, reading, monkeypatch)
    watch = await slow.begin_watch(state)
    state.router.url.query_parameters = {}
    await call(state, "load")
    slow.may_end()
    await watch
    assert (state.total, {row.name for row in state.rows}) == (2, {"used", "free"})


async def test_a_watch_does_not_bring_back_what_was_deleted_meanwhile(
    opened: Opener, things: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold_by_itself(DatasetsState, monkeypatch)
    state = opened(DatasetsState)
    await call(state, "load")
    slow = SlowReading(datasets, "list_datasets", monkeypatch)
    watch = await slow.begin_watch(state)
    await call(state, "ask_delete", row_id=things.datasets[1].id)
    await call(state, "delete")
    slow.may_end()
    await watch
    assert [row.name for row in state.rows] == ["used"]


async def test_odd_words_in_an_address_are_an_error_or_nothing(
    opened: Opener, things: SimpleNamespace
) -> None:
    state = opened(DatasetsState, {"status": "error"})
    await call(state, "load")
    assert state.total == 0
    state = opened(DatasetsState, {"status": "odd", "task": Task.SPEECH_TO_TEXT.value})
    await call(state, "load")
    assert state.total == 2
    state = opened(ModelsState, {"sort": "odd"})
    await call(state, "load")
    assert state.load_error
    assert not state.is_loading
    assert parsed({"status": "ready", "page": 2}, status=ModelStatus) == {
        "status": ModelStatus.READY,
        "page": 2,
    }


@pytest.mark.parametrize(
    ("status", "total"), [("", 1), ("active", 0), ("failed", 1), ("lost", 0), ("odd", 1)]
)
async def test_jobs_are_filtered_by_status(
    opened: Opener, things: SimpleNamespace, status: str, total: int
) -> None:
    state = opened(TrainingState, {"status": status})
    await call(state, "load")
    assert state.total == total


async def test_the_list_of_jobs_asks_by_the_rows_name(opened: Opener, things: SimpleNamespace) -> None:
    state = opened(TrainingState)
    await call(state, "load")
    await call(state, "ask_delete", row_id="not a row")
    assert state.deleting_id == ""
    await call(state, "ask_delete", row_id=things.job.id)
    assert (state.deleting_id, state.deleting_name) == (things.job.id, "night run")
    assert "Job deleted" in "".join(await call(state, "delete"))
    assert state.deleting_id == ""


@pytest.mark.parametrize(
    ("kind", "things_of", "id_name", "shown", "list_path"),
    [
        (DatasetState, "datasets", "dataset_id", "dataset", "/datasets"),
        (ModelState, "models", "model_id", "model", "/models"),
    ],
)
async def test_a_page_edits_and_deletes_its_thing(
    opened: Opener,
    things: SimpleNamespace,
    kind: type,
    things_of: str,
    id_name: str,
    shown: str,
    list_path: str,
) -> None:
    used, free = getattr(things, things_of)
    state = opened(kind, **{id_name: used.id})
    await call(state, "load")
    await call(state, "open_dialog", name="delete")
    assert state.dialog == "delete"
    assert any("night run" in name for name in state.users)
    state = opened(kind, **{id_name: free.id})
    await call(state, "load")
    await call(state, "open_dialog", name="odd")
    assert state.dialog == ""
    await call(state, "open_dialog", name="edit")
    await call(state, "save", form={"name": " ", "description": ""})
    assert list(state.field_errors) == ["name"]
    await call(state, "save", form={"name": "renamed", "description": "why"})
    assert (state.dialog, getattr(state, shown).name, getattr(state, shown).description) == (
        "",
        "renamed",
        "why",
    )
    sent = "".join(await call(state, "delete"))
    assert "renamed is deleted" in sent
    assert list_path in sent
    state = opened(kind, **{id_name: free.id})
    await call(state, "load")
    assert state.is_missing
