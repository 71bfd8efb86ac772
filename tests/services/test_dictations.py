"""Clips written down by a stand-in for the inference process, corrected, and made a dataset of."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import DatasetStatus, DictationStatus, Role, Split, Task
from qlora_studio.core.errors import Conflict, Forbidden, InvalidInput, NotFound, TooLarge, TooManyTries
from qlora_studio.core.ids import new_id
from qlora_studio.db import engine as db
from qlora_studio.db.models import BaseAudioModel, Clip, Dataset, Dictation, Transcript, User
from qlora_studio.services import dictating, dictations, inference, trial_clips
from qlora_studio.services.dictation_schemas import DictationCreate
from qlora_studio.services.engine_host import EngineHost
from qlora_studio.services.trial_clips import TrialClip
from qlora_studio.storage import holding, layout
from tests.conftest import make_user
from tests.jobs.workbench import make_dataset
from tests.services.standing_in import ready_model
from tests.services.test_engine_host import COMMAND, wait_for


@pytest.fixture
def host(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineHost]:
    made = EngineHost(COMMAND, idle_s=60.0)
    monkeypatch.setattr(inference, "host", made)
    monkeypatch.setattr(dictating, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(trial_clips, "decode", decoded_here)
    yield made
    made._end_child()


def decoded_here(path: Path, *, actor: User) -> TrialClip:
    if path.read_bytes() == b"broken":
        raise InvalidInput("This is no recording.")
    clip_id = new_id("trc")
    target = layout.trials_path(actor.id) / f"{clip_id}.f32"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(bytes(64))
    return TrialClip(clip_id, target, 0.001)


def speech_model(session: Session, owner: User, does: str = "cpu") -> BaseAudioModel:
    return ready_model(session, owner, does, task=Task.SPEECH_TO_TEXT, name=f"Ear {does}")


@pytest.fixture
def model(session: Session, user: User) -> BaseAudioModel:
    return speech_model(session, user)


@pytest.fixture
def dataset(session: Session, user: User) -> Dataset:
    """Three clips without words and two with them; their recordings are there."""
    made = make_dataset(session, user, n_train=4, n_validation=1)
    for clip in session.exec(select(Clip).where(Clip.dataset_id == made.id)):
        layout.blob_path(clip.sha256).parent.mkdir(parents=True, exist_ok=True)
        layout.blob_path(clip.sha256).write_bytes(b"sound")
        clip.text = None if clip.position < 3 else clip.text
        clip.size_bytes = 5
        session.add(clip)
    session.commit()
    return made


def ask(user: User, dataset: Dataset, model: BaseAudioModel, **form) -> str:
    wanted = DictationCreate.model_validate({"model_id": model.id} | form)
    with db.write() as session:
        return dictations.start(
            session, actor=user, dataset_id=dataset.id, form=wanted, in_background=False
        ).id


def look(dictation_id: str) -> tuple[Dictation, list[Transcript]]:
    with db.read() as session:
        rows = select(Transcript).where(Transcript.dictation_id == dictation_id)
        rows = rows.order_by(col(Transcript.position))
        return session.get_one(Dictation, dictation_id), list(session.exec(rows))


def heard(user: User, dataset: Dataset, model: BaseAudioModel, **form) -> tuple[Dictation, list[Transcript]]:
    dictation_id = ask(user, dataset, model, **form)
    dictating.run(dictation_id)
    return look(dictation_id)


def correct(user: User, row: Transcript, text: str) -> None:
    with db.write() as session:
        dictations.put(session, actor=user, dictation_id=row.dictation_id, clip_id=row.clip_id, text=text)


def test_clips_without_words_are_written_down_and_nothing_else_changes(host, user, dataset, model) -> None:
    done, rows = heard(user, dataset, model)
    assert (done.status, done.error) == (DictationStatus.SUCCEEDED, "")
    assert (done.n_clips, done.n_done, done.n_checked) == (3, 3, 0)
    assert [row.position for row in rows] == [0, 1, 2]
    assert all(row.heard and row.heard.isdigit() and row.text is None for row in rows)
    assert list(layout.trials_path(user.id).iterdir()) == []
    with db.read() as session:
        assert session.get_one(Dataset, dataset.id).version == dataset.version
    _, rows = heard(user, dataset, model, clips="all")
    assert len(rows) == 5


def test_a_broken_recording_and_a_crash_cost_one_clip_each(host, session, user, dataset, model) -> None:
    layout.blob_path(f"{0:064x}").write_bytes(b"broken")  # the first clip's
    done, rows = heard(user, dataset, model)
    assert done.status is DictationStatus.SUCCEEDED
    assert (rows[0].heard, rows[0].error) == (None, "This is no recording.")
    assert rows[1].heard
    layout.blob_path(f"{0:064x}").write_bytes(b"sound")
    crashing = speech_model(session, user, "crash")
    failed, rows = heard(user, dataset, crashing)
    assert failed.status is DictationStatus.FAILED, "it does not go through all clips for nothing"
    assert "unexpectedly" in failed.error


def test_stopped_it_ends_soon_and_keeps_what_was_heard(host, session, user, dataset) -> None:
    hanging = speech_model(session, user, "hang")
    dictation_id = ask(user, dataset, hanging)
    dictating.launch(dictation_id, user.id)
    wait_for(lambda: look(dictation_id)[0].status is DictationStatus.RUNNING)
    with pytest.raises(Conflict, match="already"):
        ask(user, dataset, hanging)
    with db.write() as session:
        dictations.stop(session, actor=user, dictation_id=dictation_id)
    wait_for(lambda: not dictating._line._busy)
    assert look(dictation_id)[0].status is DictationStatus.STOPPED
    assert list(layout.trials_path(user.id).iterdir()) == []


def test_after_a_restart_it_goes_on_with_what_is_missing(host, user, dataset, model) -> None:
    dictation_id = ask(user, dataset, model)
    with db.write() as session:
        row = session.exec(select(Transcript).where(Transcript.position == 0)).one()
        row.heard = "there before"
        session.add(row)
        session.get_one(Dictation, dictation_id).status = DictationStatus.RUNNING
    with holding.held(layout.dictation_lock_path(dictation_id)):
        dictating.run(dictation_id)
        assert look(dictation_id)[1][1].heard is None, "somebody else is about it"
    dictating.take_up()
    wait_for(lambda: look(dictation_id)[0].status is DictationStatus.SUCCEEDED)
    rows = look(dictation_id)[1]
    assert rows[0].heard == "there before"
    assert rows[2].heard


def test_it_waits_behind_people_who_try_models(host, user, dataset, model, monkeypatch) -> None:
    submit, busy = host.submit, iter([True, True])

    def submit_in_the_end(ticket) -> None:
        if next(busy, False):
            raise TooManyTries("busy", retry_after_s=1)
        submit(ticket)

    monkeypatch.setattr(host, "submit", submit_in_the_end)
    done, _ = heard(user, dataset, model)
    assert (done.status, done.n_done) == (DictationStatus.SUCCEEDED, 3)


def test_corrections_are_counted_once_and_can_be_taken_back(host, user, dataset, model) -> None:
    done, rows = heard(user, dataset, model)
    correct(user, rows[0], "  one   two ")
    correct(user, rows[0], "one two three")
    with db.write() as session:
        n = dictations.accept(
            session, actor=user, dictation_id=done.id, clip_ids=[row.clip_id for row in rows[:2]]
        )
    assert n == 1, "what was corrected stays"
    done, rows = look(done.id)
    assert (done.n_checked, rows[0].text, rows[1].text) == (2, "one two three", rows[1].heard)
    correct(user, rows[1], "")
    done, rows = look(done.id)
    assert (done.n_checked, rows[1].text) == (1, None)
    with db.read() as session:
        for show, expected in (("open", 2), ("checked", 1), (None, 3)):
            found = dictations.list_transcripts(session, actor=user, dictation_id=done.id, show=show)
            assert (len(found[0]), found[1]) == (expected, expected)
        found, total = dictations.list_transcripts(
            session, actor=user, dictation_id=done.id, query="TWO three"
        )
    assert (total, found[0][1].filename) == (1, "0.flac")


def test_corrections_become_the_datasets_next_version(host, user, dataset, model) -> None:
    done, rows = heard(user, dataset, model)
    with pytest.raises(Conflict, match="Look at some"), db.write() as session:
        dictations.apply(session, actor=user, dictation_id=done.id)
    correct(user, rows[1], "what was said")
    with db.write() as session:
        first = dictations.apply(session, actor=user, dictation_id=done.id)
        again = dictations.apply(session, actor=user, dictation_id=done.id)
    assert (first.n_changed, again.n_changed) == (1, 0)
    assert again.version == first.version
    with db.read() as session:
        assert session.get_one(Clip, rows[1].clip_id).text == "what was said"
        assert session.get_one(Clip, rows[0].clip_id).text is None


def test_corrections_become_a_dataset_of_their_own(host, user, dataset, model) -> None:
    done, rows = heard(user, dataset, model, clips="all")
    for row in rows[1:4]:
        correct(user, row, f"said {row.position}")
    with db.write() as session:
        made = dictations.make_dataset(session, actor=user, dictation_id=done.id, name="Corrected")
    assert (made.status, made.task, made.n_clips) == (DatasetStatus.READY, Task.SPEECH_TO_TEXT, 3)
    assert (made.version, made.source["dictation_id"]) == (1, done.id)
    assert made.content_hash not in ("", dataset.content_hash)
    with db.read() as session:
        clips = session.exec(select(Clip).where(Clip.dataset_id == made.id).order_by("position")).all()
        before = session.exec(select(Clip).where(Clip.dataset_id == dataset.id)).all()
    assert [clip.text for clip in clips] == ["said 1", "said 2", "said 3"]
    assert {clip.sha256 for clip in clips} < {clip.sha256 for clip in before}
    assert {clip.split for clip in clips} == {Split.TRAIN, Split.VALIDATION}, "one is held out"


def test_it_is_its_owners_alone(host, session, user, stranger, dataset, model) -> None:
    done, rows = heard(user, dataset, model)
    asked = {"session": session, "actor": stranger, "dictation_id": done.id}
    for call in (
        lambda: dictations.get_dictation(**asked),
        lambda: dictations.list_transcripts(**asked),
        lambda: dictations.put(**asked, clip_id=rows[0].clip_id, text="mine"),
        lambda: dictations.accept(**asked, clip_ids=[rows[0].clip_id]),
        lambda: dictations.stop(**asked),
        lambda: dictations.apply(**asked),
        lambda: dictations.make_dataset(**asked, name="mine"),
        lambda: dictations.remove(**asked),
        lambda: dictations.list_dictations(session, actor=stranger, dataset_id=dataset.id),
    ):
        with pytest.raises(NotFound):
            call()
    session.rollback()
    rater = make_user(session, "rater", Role.RATER)
    with pytest.raises(Forbidden):
        dictations.stop(session, actor=rater, dictation_id=done.id)


@pytest.mark.parametrize("odd", ["words", "task", "model", "unready", "room"])
def test_what_cannot_be_written_down_is_said(
    odd: str, session, user, dataset, model, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected: type[Exception] = InvalidInput
    if odd == "words":
        for clip in session.exec(select(Clip).where(Clip.dataset_id == dataset.id)):
            clip.text = "there"
            session.add(clip)
    elif odd == "task":
        dataset.task = Task.AUDIO_CLASSIFICATION
    elif odd == "model":
        model.task = Task.TEXT_TO_AUDIO
    elif odd == "unready":
        dataset.status, expected = DatasetStatus.PROCESSING, Conflict
    if odd == "room":
        monkeypatch.setattr(dictations.dataset_sources, "left_bytes", lambda *_, **__: 4)
        monkeypatch.setattr(dictations.dataset_sources, "check_count", lambda *_, **__: None)
        dictation_id = ask(user, dataset, model)
        with db.write() as other:
            row = other.exec(select(Transcript).where(Transcript.position == 0)).one()
            row.text = "said"
            other.add(row)
        with pytest.raises(TooLarge), db.write() as other:
            dictations.make_dataset(other, actor=user, dictation_id=dictation_id, name="Too large")
        return
    session.add_all([dataset, model])
    session.commit()
    with pytest.raises(expected):
        ask(user, dataset, model)


def test_a_deleted_dataset_takes_its_dictations_along(host, user, dataset, model) -> None:
    done, _ = heard(user, dataset, model)
    with db.write() as session:
        session.delete(session.get_one(Dataset, dataset.id))
    with db.read() as session:
        assert session.get(Dictation, done.id) is None
        assert session.exec(select(Transcript)).first() is None
