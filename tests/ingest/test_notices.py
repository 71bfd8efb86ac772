"""Taking in what takes long is told; what is over in a moment is not."""

import pytest
from sqlmodel import Session, select

from qlora_studio.contracts.enums import DatasetStatus, Task
from qlora_studio.contracts.notices import NoticeKind
from qlora_studio.db.engine import read
from qlora_studio.db.models import Dataset, Notification, User
from qlora_studio.ingest import launching, notices, pipeline, staging
from tests.ingest import sounds


@pytest.fixture
def dataset(session: Session, user: User, decoding_here: None) -> Dataset:
    made = Dataset(
        owner_id=user.id, name="calls", task=Task.SPEECH_TO_TEXT, status=DatasetStatus.PROCESSING,
        source={"kind": "upload"},
    )  # fmt: skip
    session.add(made)
    session.commit()
    return made


def stage(dataset: Dataset, name: str, content: bytes) -> None:
    with staging.Receiver(dataset.id, name, start=0, size=len(content), max_bytes=1 << 30) as receiver:
        receiver.write(content)
        receiver.finish()


def told() -> list[tuple[str, str, str, str]]:
    with read() as session:
        return [(n.kind, n.title, n.body, n.href) for n in session.exec(select(Notification))]


def test_a_long_import_is_told_with_what_came_of_it(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "LONG_S", 0.0)
    stage(dataset, "good.wav", sounds.wav(0.2))
    stage(dataset, "bad.wav", b"RIFF nonsense")
    pipeline.run(dataset.id)
    body = "1 clip, 1 could not be used."
    assert told() == [(NoticeKind.DATASET_READY, "Dataset “calls” is ready", body, f"/datasets/{dataset.id}")]


def test_a_long_import_that_fails_says_why(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "LONG_S", 0.0)
    pipeline.run(dataset.id)
    ((kind, title, body, _),) = told()
    assert (kind, title) == (NoticeKind.DATASET_FAILED, "Dataset “calls” could not be taken in")
    assert "no files to take in" in body


def test_a_short_one_is_not_told(dataset: Dataset) -> None:
    pipeline.run(dataset.id)
    assert told() == []
    launching._fail(dataset.id, "late")
    assert told() == [], "it had ended already"


def test_the_death_of_the_process_is_told(dataset: Dataset) -> None:
    launching._fail(dataset.id, "It was ended by signal 9.")
    assert [body for _, _, body, _ in told()] == ["It was ended by signal 9."]
