"""The takes of a listening test: made, tried again after a kill, or said to be impossible."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import Session, func, select

from qlora_studio.contracts.enums import GenerationStatus, ListeningStatus, Role
from qlora_studio.core.errors import Forbidden, InvalidInput
from qlora_studio.db import engine as db
from qlora_studio.db.models import BaseAudioModel, Generation, ListeningTest, Take, User
from qlora_studio.services import (
    generation_lists,
    inference,
    listening_making,
    listening_tests,
    making,
    votes,
)
from qlora_studio.services.engine_host import EngineHost
from qlora_studio.services.listening_schemas import ListeningTestCreate
from qlora_studio.storage import layout
from tests.services.test_engine_host import COMMAND, wait_for
from tests.services.test_generations import sound_model


@pytest.fixture
def host(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineHost]:
    made = EngineHost(COMMAND, idle_s=60.0)
    monkeypatch.setattr(inference, "host", made)
    for module in (making, listening_making):
        monkeypatch.setattr(module, "_LOOK_EVERY_S", 0.01)
    yield made
    made._end_child()
    for thread in threading.enumerate():
        if thread.name.startswith("takes "):
            thread.join(10)


def form(*models: BaseAudioModel, **more) -> ListeningTestCreate:
    contestants = [{"model_id": model.id} for model in models]
    fields = {"name": "Which", "contestants": contestants, "prompts": ["rain", "snow"], "duration_s": 0.1}
    return ListeningTestCreate.model_validate(fields | more)


def create(user: User, wanted: ListeningTestCreate, *, in_background: bool = False) -> ListeningTest:
    with db.write() as session:
        return listening_tests.create(session, actor=user, form=wanted, in_background=in_background)


def now(test: ListeningTest) -> ListeningTest:
    with db.read() as session:
        return session.get_one(ListeningTest, test.id)


def n_rows(table: type) -> int:
    with db.read() as session:
        return len(session.exec(select(table)).all())


def put_right(model: BaseAudioModel) -> None:
    """The model's folder gets a name with which the stand-in makes sounds."""
    with db.write() as session:
        row = session.get_one(BaseAudioModel, model.id)
        good = Path(row.path).with_name(f"good {model.id}")
        Path(row.path).rename(good)
        row.path = str(good)
        session.add(row)


def test_it_opens_once_all_takes_are_there(host, session: Session, user: User) -> None:
    one, other = sound_model(session, user), sound_model(session, user, "gpu")
    test = create(user, form(one, other), in_background=True)
    wait_for(lambda: now(test).status is ListeningStatus.OPEN)
    assert (now(test).sample_rate, n_rows(Take)) == (16_000, 8)
    with db.read() as reading:
        (told,) = listening_tests.to_public(reading, actor=user, tests=[now(test)])
    assert (told.n_takes, told.n_takes_done, told.percent) == (8, 8, 100)
    assert [c.label for c in told.contestants] == ["Rain cpu", "Rain gpu"]
    assert not layout.listening_lock(test.id).exists()
    with db.read() as reading:
        assert generation_lists.list_generations(reading, actor=user) == ([], 0), "they are heard blind"
        assert generation_lists.list_generations(reading, actor=user, from_tests=True)[1] == 4
        assert votes.get_next(reading, actor=user).pair is None


def test_a_server_that_starts_goes_on(host, session: Session, user: User) -> None:
    test = create(user, form(sound_model(session, user), sound_model(session, user, "gpu")))
    listening_making.advance(test.id)
    making.recover()
    listening_making.recover()
    wait_for(lambda: now(test).status is ListeningStatus.OPEN)
    assert n_rows(Take) == 8


def test_a_process_killed_in_the_middle_costs_one_try(host, session: Session, user: User) -> None:
    slow, fast = sound_model(session, user, "hang"), sound_model(session, user)
    test = create(user, form(slow, fast, prompts=["rain"], n_seeds=1), in_background=True)
    wait_for(lambda: _percent(slow) == 40)
    put_right(slow)
    os.kill(host._child._process.pid, signal.SIGKILL)
    wait_for(lambda: now(test).status is ListeningStatus.OPEN)
    assert (n_rows(Take), n_rows(Generation)) == (2, 2)


def _percent(model: BaseAudioModel) -> int:
    with db.read() as session:
        furthest = select(func.max(Generation.percent)).where(Generation.model_id == model.id)
        return session.exec(furthest).one() or 0


def test_what_fails_again_is_said_and_can_be_tried_anew(host, session: Session, user: User) -> None:
    bad = sound_model(session, user, "crash")
    test = create(user, form(bad, sound_model(session, user), prompts=["rain"]))
    listening_making.run(test.id)
    failed = now(test)
    assert failed.status is ListeningStatus.FAILED
    assert failed.error.startswith("“Rain crash”: ")
    assert "ended unexpectedly" in failed.error
    put_right(bad)
    with db.write() as writing:
        listening_tests.retry(writing, actor=user, test_id=test.id, in_background=False)
    listening_making.run(test.id)
    assert (now(test).status, now(test).error, n_rows(Take)) == (ListeningStatus.OPEN, "", 4)


def test_a_contestant_deleted_meanwhile_is_named(host, session: Session, user: User) -> None:
    gone = sound_model(session, user, "gone")
    test = create(user, form(sound_model(session, user), gone))
    with db.write() as writing:
        writing.delete(writing.get_one(BaseAudioModel, gone.id))
    listening_making.run(test.id)
    assert now(test).status is ListeningStatus.FAILED
    assert now(test).error.startswith("“Rain gone”: ")
    active = (GenerationStatus.QUEUED, GenerationStatus.RUNNING)
    with db.read() as reading:
        assert not [g for g in reading.exec(select(Generation)) if g.status in active]


def test_called_off_it_leaves_nothing_behind(host, session: Session, user: User) -> None:
    slow = sound_model(session, user, "hang")
    test = create(user, form(slow, sound_model(session, user)), in_background=True)
    wait_for(lambda: _percent(slow) == 40)
    with db.write() as writing:
        listening_tests.remove(writing, actor=user, test_id=test.id)
    wait_for(lambda: not any((layout.data_path() / "generations").iterdir()))
    wait_for(lambda: not layout.listening_lock(test.id).exists())
    assert (n_rows(ListeningTest), n_rows(Generation), n_rows(Take)) == (0, 0, 0)


def test_what_can_not_be_compared_is_refused_at_once(session: Session, user: User, stranger: User) -> None:
    mine, theirs = sound_model(session, user), sound_model(session, stranger, "theirs")
    with pytest.raises(InvalidInput, match="Contestant 2") as refused:
        create(user, form(mine, theirs))
    assert set(refused.value.fields) == {"contestants.1"}
    assert n_rows(ListeningTest) == 0
    user.role = Role.RATER
    with pytest.raises(Forbidden):
        create(user, form(mine, theirs))
