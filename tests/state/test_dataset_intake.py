"""A dataset on its way in: progress and pace, columns looked at and changed, stopped and started again."""

from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from qlora_studio.contracts.enums import DatasetStatus, Role, Task
from qlora_studio.core.settings import get_settings
from qlora_studio.db.models import Dataset, User
from qlora_studio.ingest import launching, staging
from qlora_studio.state import dataset_intake
from qlora_studio.state.dataset_intake import DatasetIntakeState, IntakeView, Pace, intake_view
from qlora_studio.state.dataset_mapping import DatasetMappingState
from qlora_studio.state.datasets import _progress
from tests.state.calling import Opener, call

TABLE = b"clip,said,who\na.wav,hello,ann\nb.wav,world,bob\ngone.wav,nothing,ann\n"


@pytest.fixture(autouse=True)
def launched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Datasets whose files would be taken in by a process of their own."""
    started: list[str] = []
    monkeypatch.setattr(launching, "launch", started.append)
    return started


def dataset(session: Session, user: User, kind: str = "upload", **fields: Any) -> Dataset:
    source = fields.pop("source", {})
    fields = {"task": Task.SPEECH_TO_TEXT, **fields}
    made = Dataset(owner_id=user.id, name="d", source={"kind": kind, **source}, **fields)
    session.add(made)
    session.commit()
    return made


def receive(made: Dataset, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        with staging.Receiver(made.id, name, start=0, size=len(content), max_bytes=1 << 20) as receiver:
            receiver.write(content)
            receiver.finish()


def again(session: Session, made: Dataset) -> Dataset:
    session.rollback()  # and so see what others have written since
    session.refresh(made)
    return made


def _beside(monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    """Let a background handler lock a state that no server holds."""

    async def enter(self: Any) -> Any:
        return self

    async def leave(self: Any, *_: Any) -> None:
        return None

    monkeypatch.setattr(kind, "__aenter__", enter, raising=False)
    monkeypatch.setattr(kind, "__aexit__", leave, raising=False)


def test_pace_is_that_of_the_last_seconds() -> None:
    pace = Pace()
    assert pace.per_second(0, 0.0) == 0
    assert pace.per_second(50, 1.0) == 50
    for second in range(2, 30):
        speed = pace.per_second(50 + 10 * (second - 1), float(second))
    assert speed == pytest.approx(10)
    assert pace.per_second(5, 31.0) == 0, "it began again"


def test_bytes_while_they_come_and_clips_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    at = [100.0]
    monkeypatch.setattr(dataset_intake.time, "monotonic", lambda: at[0])
    row = Dataset(owner_id="u", name="d", task=Task.SPEECH_TO_TEXT, status=DatasetStatus.PROCESSING)
    row.source, pace = {"kind": "url"}, Pace()
    assert intake_view(row, pace).progress == "Asking for it"
    row.source = {"kind": "url", "fetched": {"bytes": 2_000_000, "total": 8_000_000}}
    at[0] = 102.0
    view = intake_view(row, pace)
    assert (view.is_fetching, view.percent, view.progress) == (True, 25, "2.0 MB of 8.0 MB")
    assert (view.has_files, _progress(row)) == (False, "2.0 MB of 8.0 MB")
    assert view.pace == "1.0 MB/s, 6.0 s left"
    row.source = {"kind": "url", "fetched": {"bytes": 3_000_000, "total": None}}
    assert (intake_view(row, pace).percent, intake_view(row, pace).progress) == (-1, "3.0 MB")
    row.progress_total, row.progress_done, row.duration_s = 120, 30, 95.0
    view = intake_view(row, pace)
    assert (view.is_fetching, view.percent) == (False, 25)
    assert view.progress == "30 of 120 files, 95 s of audio"
    at[0], row.progress_done = 104.0, 90
    assert intake_view(row, pace).pace == "30 clips a second, 1.0 s left"
    assert _progress(row) == "90 of 120"
    row.status = DatasetStatus.READY
    assert (intake_view(row, pace).progress, _progress(row)) == ("", "")


async def test_columns_are_shown_changed_and_used(
    opened: Opener, session: Session, user: User, launched: list[str]
) -> None:
    made = dataset(session, user)
    receive(made, {"a.wav": b"1", "b.wav": b"2", "list.csv": TABLE})
    state = opened(DatasetMappingState, dataset_id=made.id)
    await call(state, "load")
    assert state.shown.is_shown is False, "an upload is looked at once all was sent"
    await call(state, "look", goes_on=True)
    assert "no column for the text" in state.shown.refusal
    assert (state.shown.has_columns, state.mapping["file"], state.mapping["text"]) == (True, "clip", "")
    assert state.options == [["", "Not used"], ["clip", "clip"], ["said", "said"], ["who", "who"]]
    await call(state, "choose", field="text", column="said")
    await call(state, "choose", field="speaker", column="who")
    assert (state.shown.refusal, state.shown.matched, state.shown.unmatched) == ("", "2 clips", "1 file")
    assert state.reasons == ["Missing file: 1 file"]
    rows = [(row.file, row.text, row.speaker) for row in state.rows]
    assert rows[:2] == [("a.wav", "hello", "ann"), ("b.wav", "world", "bob")]
    assert state.rows[2].problem.startswith("Missing file")
    for field, column in (("text", "no such"), ("odd", "said"), ("label_from", "said")):
        await call(state, "choose", field=field, column=column)
    assert (state.mapping["text"], "odd" in state.mapping) == ("said", False)
    await call(state, "use")
    kept = again(session, made)
    assert (kept.status, launched) == (DatasetStatus.PROCESSING, [made.id])
    assert {key: value for key, value in kept.mapping.items() if value} == {
        "file": "clip", "text": "said", "speaker": "who",
    }  # fmt: skip
    assert state.shown.is_shown is False
    await call(state, "use")
    assert launched == [made.id], "a second press starts nothing twice"


async def test_a_guess_can_be_taken_away(opened: Opener, session: Session, user: User) -> None:
    made = dataset(session, user)
    receive(made, {"a.wav": b"1", "metadata.csv": b"file_name,text,label\na.wav,hello,x\n"})
    state = opened(DatasetMappingState, dataset_id=made.id)
    await call(state, "look", goes_on=True)
    assert state.rows[0].label == "x"
    await call(state, "choose", field="label", column="")
    assert (state.rows[0].label, state.mapping["label"]) == ("", "")


async def test_where_there_is_nothing_to_choose_it_goes_on(
    opened: Opener, session: Session, user: User, launched: list[str]
) -> None:
    made = dataset(session, user, "url", source={"url": "https://a.example/x.zip", "review": True})
    receive(made, {"a.wav": b"1", "a.txt": b"hello"})
    state = opened(DatasetMappingState, dataset_id=made.id)
    await call(state, "look", goes_on=False)
    assert state.shown.labels_from == "the text file beside each recording"
    assert launched == []
    await call(state, "look", goes_on=True)
    assert launched == [made.id]
    assert again(session, made).status is DatasetStatus.PROCESSING


async def test_labels_come_from_folder_or_prefix(opened: Opener, session: Session, user: User) -> None:
    made = dataset(session, user, task=Task.AUDIO_CLASSIFICATION)
    receive(made, {f"{kind}_{i}.wav": b"1" for kind in ("cat", "dog") for i in range(2)})
    state = opened(DatasetMappingState, dataset_id=made.id)
    await call(state, "look", goes_on=True)
    assert (state.shown.has_columns, state.shown.has_label_from) == (False, True)
    assert (state.mapping["label_from"], state.shown.classes) == ("prefix", "cat (2), dog (2)")
    await call(state, "choose", field="label_from", column="none")
    assert (state.mapping["label_from"], state.shown.classes) == ("none", "")


async def test_a_folder_that_is_gone_is_said_in_place(
    opened: Opener, session: Session, user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QLORA_STUDIO_DATASET_ROOTS", str(tmp_path))
    get_settings.cache_clear()
    made = dataset(session, user, "folder", source={"path": str(tmp_path / "gone"), "review": True})
    state = opened(DatasetMappingState, dataset_id=made.id)
    assert "goes_on" in "".join(await call(state, "load")), "it is looked at next"
    await call(state, "look", goes_on=True)
    assert "isn't there any more" in state.trouble
    assert state.is_looking is False


async def test_taking_in_is_stopped_and_started_again(
    opened: Opener, session: Session, user: User, launched: list[str]
) -> None:
    made = dataset(session, user, "hub", source={"repo_id": "a/b"}, status=DatasetStatus.PROCESSING)
    state = opened(DatasetIntakeState, dataset_id=made.id)
    await call(state, "load")
    assert (state.intake.kind, state.intake.origin) == ("hub", "the Hugging Face Hub")
    await call(state, "stop")
    assert again(session, made).status is DatasetStatus.ERROR
    assert "Nothing is under way" in "".join(await call(state, "stop"))
    await call(state, "start_again")
    assert again(session, made).status is DatasetStatus.PROCESSING
    assert launched == [made.id]


@pytest.mark.parametrize("before", [DatasetStatus.PROCESSING, DatasetStatus.ERROR])
async def test_files_fetched_between_two_looks_are_looked_at(
    opened: Opener, session: Session, user: User, monkeypatch: pytest.MonkeyPatch, before: DatasetStatus
) -> None:
    """Started again after a stop, a quick fetch may be over before the page sees that it began."""
    made = dataset(session, user, "url", status=before)
    state = opened(DatasetIntakeState, dataset_id=made.id)
    await call(state, "load")
    monkeypatch.setattr(dataset_intake, "LOOK_EVERY_S", 0.0)
    _beside(monkeypatch, DatasetIntakeState)
    looks = iter([DatasetStatus.AWAITING_FILES, DatasetStatus.PROCESSING, DatasetStatus.READY])

    def look(_actor: User, _dataset_id: str) -> Dataset:
        made.status = next(looks)
        return made

    monkeypatch.setattr(dataset_intake, "_dataset", look)
    (sent,) = [event async for event in DatasetIntakeState.event_handlers["watch"].fn(state)]
    assert sent.handler.fn is DatasetMappingState.look.fn


async def test_strangers_and_lookers_change_nothing(
    opened: Opener, session: Session, user: User, stranger: User, launched: list[str]
) -> None:
    theirs = dataset(session, stranger)
    receive(theirs, {"a.wav": b"1", "list.csv": TABLE})
    state = opened(DatasetIntakeState, dataset_id=theirs.id)
    await call(state, "load")
    assert state.intake == IntakeView()
    mapping = opened(DatasetMappingState, dataset_id=theirs.id)
    for handler, arguments in (("look", {"goes_on": True}), ("use", {})):
        assert "no such dataset" in "".join(await call(mapping, handler, **arguments))
    assert (mapping.rows, launched) == ([], [])
    mine = dataset(session, user)
    receive(mine, {"a.wav": b"1"})
    user.role = Role.VIEWER
    session.add(user)
    session.commit()
    looker = opened(DatasetMappingState, dataset_id=mine.id)
    assert "role" in "".join(await call(looker, "use"))
    assert launched == []
