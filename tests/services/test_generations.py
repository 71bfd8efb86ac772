"""Takes made by a stand-in for the inference process: kept, called off, crashed, taken up after a restart."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from sqlmodel import Session, select

from qlora_studio.contracts.enums import GenerationStatus, Role, Task
from qlora_studio.core.errors import Conflict, Forbidden, InvalidInput, NotFound, TooLarge, TooManyTries
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db
from qlora_studio.db.models import (
    Adapter,
    BaseAudioModel,
    Generation,
    GenerationTally,
    PromptTally,
    Take,
    TakeTally,
    User,
)
from qlora_studio.db.models.audit import AuditEvent
from qlora_studio.modelfiles.prepare import content_hash
from qlora_studio.services import (
    adapters,
    engine_host,
    generation_lists,
    generations,
    inference,
    making,
    models,
)
from qlora_studio.services.engine_host import EngineHost
from qlora_studio.services.generation_schemas import GenerationCreate
from qlora_studio.storage import holding, layout
from tests.conftest import make_user
from tests.services.standing_in import ready_model
from tests.services.test_engine_host import COMMAND, wait_for
from tests.training import melodies


@pytest.fixture
def host(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineHost]:
    made = EngineHost(COMMAND, idle_s=60.0)
    monkeypatch.setattr(inference, "host", made)
    monkeypatch.setattr(making, "_LOOK_EVERY_S", 0.01)
    yield made
    made._end_child()
    for thread in threading.enumerate():
        if thread.name.startswith("takes "):
            thread.join(10)


def sound_model(session: Session, owner: User, does: str = "cpu") -> BaseAudioModel:
    return ready_model(session, owner, does, task=Task.TEXT_TO_AUDIO, name=f"Rain {does}")


@pytest.fixture
def model(session: Session, user: User) -> BaseAudioModel:
    return sound_model(session, user)


def ask(user: User, model: BaseAudioModel, *, in_background: bool = False, **form) -> str:
    wanted = {"prompt": "rain on a roof", "duration_s": 0.2, "n_takes": 3, "seed": 5} | form
    with db.write() as session:
        made = generations.start(
            session,
            actor=user,
            form=GenerationCreate(model_id=model.id, **wanted),
            in_background=in_background,
        )
    return made.id


def look(generation_id: str) -> tuple[Generation | None, list[Take]]:
    with db.read() as session:
        takes = select(Take).where(Take.generation_id == generation_id).order_by("position")
        return session.get(Generation, generation_id), list(session.exec(takes))


def make(user: User, model: BaseAudioModel, **form) -> tuple[Generation, list[Take]]:
    generation_id = ask(user, model, **form)
    making.run(generation_id)
    made, takes = look(generation_id)
    assert made is not None
    return made, takes


def sounds_of(takes: list[Take]) -> list[bytes]:
    return [layout.take_path(take.generation_id, take.id).read_bytes() for take in takes]


def test_takes_are_kept_with_seeds_that_count_up(host, session, user, model) -> None:
    done, takes = make(user, model)
    assert (done.status, done.error, done.n_done) == (GenerationStatus.SUCCEEDED, "", 3)
    assert done.finished_at is not None
    assert [take.seed for take in takes] == [5, 6, 7]
    assert {(take.duration_s, take.sample_rate) for take in takes} == {(0.2, 16_000)}
    first, second, _ = sounds_of(takes)
    assert first != second
    assert soundfile.info(layout.take_path(done.id, takes[0].id)).samplerate == 16_000
    assert {path.name for path in layout.generation_path(done.id).iterdir()} == {f"{t.id}.wav" for t in takes}
    assert sounds_of(make(user, model, n_takes=1)[1]) == [first], "the same text and seed"
    assert make(user, model, seed=2**31 - 1, n_takes=2)[1][1].seed == 0
    tally = session.exec(select(PromptTally)).one()
    assert (tally.prompt, tally.n_takes, tally.n_rated) == ("rain on a roof", 6, 0)
    assert session.exec(select(AuditEvent.action)).all() == ["generation.start"] * 3


def test_takes_are_asked_of_the_active_adapter(host, session, user, model, tmp_path) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(b"x")
    adapter = Adapter(owner_id=user.id, name="wet", base_model_id=model.id, path=str(tmp_path))
    session.add(adapter)
    adapters.activate(session, actor=user, adapter_id=adapter.id, strength=0.5)
    session.commit()
    asked, _ = look(ask(user, model, adapter_id="active"))
    assert asked is not None
    assert (asked.adapter_id, asked.adapter_name, asked.strength) == (adapter.id, "wet", 0.5)


def test_a_seed_is_drawn_if_none_is_given(user, model, host) -> None:
    seeds = set()
    for _ in range(3):
        generation, _ = look(ask(user, model, seed=None))
        assert generation is not None
        seeds.add(generation.seed)
    assert len(seeds) == 3


def test_a_crash_costs_its_generation_and_the_next_one_works(host, session, user, model) -> None:
    failed, takes = make(user, sound_model(session, user, "crash"))
    assert failed.status is GenerationStatus.FAILED
    assert "ended unexpectedly (exit code 3)" in failed.error
    assert (takes, failed.label, failed.percent) == ([], "", 0)
    assert list(layout.generation_path(failed.id).iterdir()) == []
    assert make(user, model)[0].status is GenerationStatus.SUCCEEDED


def test_killed_in_the_middle_the_takes_before_stay(host, session, user, model) -> None:
    one = ask(user, model, n_takes=3)
    making._make_take(look(one)[0], 0)  # type: ignore[arg-type]
    with db.write() as writing:
        row = writing.get_one(BaseAudioModel, model.id)
        slow = Path(row.path).with_name("hang")
        Path(row.path).rename(slow)
        row.path = str(slow)
        writing.add(row)
    making.launch(one, user.id)
    wait_for(lambda: (look(one)[0] or Generation()).percent == 40)  # type: ignore[call-arg]
    os.kill(host._child._process.pid, signal.SIGKILL)  # type: ignore[union-attr]
    wait_for(lambda: look(one)[0].status is GenerationStatus.FAILED)  # type: ignore[union-attr]
    failed, takes = look(one)
    assert "ended unexpectedly" in failed.error  # type: ignore[union-attr]
    assert [take.position for take in takes] == [0]
    assert len(sounds_of(takes)) == 1


def test_called_off_it_leaves_nothing_behind(host, session, user, model) -> None:
    hanging = sound_model(session, user, "hang")
    running, waiting = ask(user, hanging, in_background=True), ask(user, model, in_background=True)
    wait_for(lambda: look(running)[0].percent == 40)  # type: ignore[union-attr]
    pid = host._child._process.pid  # type: ignore[union-attr]
    with db.write() as writing:
        generations.remove(writing, actor=user, generation_id=running)
    wait_for(lambda: look(waiting)[0].status is GenerationStatus.SUCCEEDED)  # type: ignore[union-attr]
    assert look(running) == (None, [])
    assert not layout.generation_path(running).exists()
    assert host._child._process.pid == pid, "the warm model stays"  # type: ignore[union-attr]


def test_lists_count_by_status_and_model(host, session, user, model) -> None:
    broken = sound_model(session, user, "refuse")
    make(user, model, n_takes=1)
    failed, _ = make(user, broken)
    waits = ask(user, model)

    def listed(**wanted) -> tuple[list[str], int]:
        with db.read() as reading:
            found, total = generation_lists.list_generations(reading, actor=user, **wanted)
        return [generation.id for generation in found], total

    assert listed(page_size=2) == ([waits, failed.id], 3)
    assert listed(status=GenerationStatus.FAILED) == ([failed.id], 1)
    assert listed(status=GenerationStatus.QUEUED, model_id=model.id) == ([waits], 1)
    assert listed(model_id=broken.id, status=GenerationStatus.RUNNING) == ([], 0)
    assert listed(query="ROOF", sort="created_at", page_size=1)[1] == 3
    assert listed(sort="status")[0] == listed(sort="-status")[0][::-1]


def test_one_that_waits_is_called_off_before_its_turn(host, user, model) -> None:
    waiting = ask(user, model)
    with db.write() as session:
        generations.remove(session, actor=user, generation_id=waiting)
    making.run(waiting)
    assert look(waiting) == (None, [])
    assert not layout.generation_path(waiting).exists()
    assert not host.is_warm


def test_removing_takes_the_counts_along(host, session, user, model) -> None:
    done, _ = make(user, model)
    with db.write() as writing:
        generations.remove(writing, actor=user, generation_id=done.id)
    assert not layout.generation_path(done.id).exists()
    for table in (PromptTally, TakeTally, GenerationTally):
        assert session.exec(select(table)).all() == []


def test_a_model_that_moved_is_said(host, session, user, model) -> None:
    asked = ask(user, model)
    (Path(model.path) / "config.json").write_text('{"other": 1}')
    making.run(asked)
    failed, _ = look(asked)
    assert failed is not None
    assert failed.status is GenerationStatus.FAILED
    assert "changed" in failed.error
    with pytest.raises(Conflict, match="changed"):
        ask(user, model)
    gone = sound_model(session, user, "gone")
    asked = ask(user, gone)
    with db.write() as writing:
        models.delete_model(writing, actor=user, model_id=gone.id)
    making.run(asked)
    failed, _ = look(asked)
    assert failed is not None
    assert (failed.error, failed.model_name) == ("There is no such model.", "Rain gone")


def test_takes_outlive_their_adapter(host, session, user, model, tmp_path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"x")
    adapter = Adapter(owner_id=user.id, name="louder", base_model_id=model.id, path=str(folder))
    session.add(adapter)
    session.commit()
    done, takes = make(user, model, adapter_id=adapter.id, strength=0.5)
    with db.write() as writing:
        adapters.delete(writing, actor=user, adapter_id=adapter.id)
    after, _ = look(done.id)
    assert after is not None
    assert (after.adapter_id, after.adapter_name, after.strength) == (adapter.id, "louder", 0.5)
    assert len(sounds_of(takes)) == 3


def test_after_a_restart_only_what_is_missing_is_made(host, user, model) -> None:
    one = ask(user, model)
    generation, _ = look(one)
    assert generation is not None
    assert making._change(one, status=GenerationStatus.RUNNING)
    making._make_take(generation, 1)
    folder = layout.generation_path(one)
    (folder / ".take_000000000000.wav").write_bytes(b"half of it")
    (folder / "take_000000000000.wav").write_bytes(b"whole, but nobody knows it")
    _, before = look(one)
    making.recover()
    wait_for(lambda: look(one)[0].status is GenerationStatus.SUCCEEDED)  # type: ignore[union-attr]
    _, takes = look(one)
    assert [take.position for take in takes] == [0, 1, 2]
    assert takes[1].id == before[0].id
    wait_for(lambda: not (folder / ".lock").exists())
    assert {path.name for path in folder.iterdir()} == {f"{take.id}.wav" for take in takes}


def test_a_start_removes_what_belongs_to_nothing(host, user, model) -> None:
    done, takes = make(user, model, n_takes=1)
    old, new = (layout.generation_path(f"gen_00000000000{i}") for i in (1, 2))
    for folder in (old, new):
        folder.mkdir()
    for folder in (old, layout.generation_path(done.id)):
        os.utime(folder, (0, 0))
    making.recover()
    assert not old.exists()
    assert new.exists(), "its row may be about to be written"
    assert len(sounds_of(takes)) == 1


def test_what_another_process_makes_is_not_made_twice(host, user, model) -> None:
    one = ask(user, model)
    with holding.held(layout.generation_path(one) / ".lock") as is_ours:
        assert is_ours
        making.run(one)
        assert look(one)[0].status is GenerationStatus.QUEUED  # type: ignore[union-attr]
    making.run(one)
    making.run(one)
    assert len(look(one)[1]) == 3


def test_a_full_disk_is_said(host, user, model, monkeypatch) -> None:
    monkeypatch.setattr(making.staging, "free_bytes", lambda: 0)
    failed, takes = make(user, model)
    assert (failed.status, takes) == (GenerationStatus.FAILED, [])
    assert "disk is full" in failed.error


def test_a_busy_database_keeps_a_finished_take_waiting_and_not_more(host, user, model, monkeypatch) -> None:
    busy = iter([True, True])
    count = making.tallies.count_take

    def count_in_the_end(*given) -> None:
        if next(busy, False):
            raise db.DatabaseBusy("busy")
        count(*given)

    monkeypatch.setattr(making, "_WAITS_S", (0.01, 0.01))
    monkeypatch.setattr(making.tallies, "count_take", count_in_the_end)
    done, takes = make(user, model)
    assert done.status is GenerationStatus.SUCCEEDED
    assert [take.position for take in takes] == [0, 1, 2]
    assert len(sounds_of(takes)) == 3


def test_what_a_killed_maker_left_is_taken_up_without_a_restart(host, user, model) -> None:
    left = ask(user, model)
    making.take_up(after_s=3600)
    assert look(left)[0].status is GenerationStatus.QUEUED  # type: ignore[union-attr]
    making.take_up()
    wait_for(lambda: look(left)[0].status is GenerationStatus.SUCCEEDED)  # type: ignore[union-attr]


def test_who_tries_models_keeps_a_generation_waiting_only(host, user, model, monkeypatch) -> None:
    tries = iter([True, True])

    def submit(ticket) -> None:
        if next(tries, False):
            raise TooManyTries("busy", retry_after_s=1)
        EngineHost.submit(host, ticket)

    monkeypatch.setattr(host, "submit", submit)
    assert make(user, model)[0].status is GenerationStatus.SUCCEEDED


def test_limits(host, session, user, stranger, model, monkeypatch) -> None:
    speech = sound_model(session, user, "speech")
    speech.task = Task.SPEECH_TO_TEXT
    session.add(speech)
    session.commit()
    with pytest.raises(InvalidInput, match="writes down speech"):
        ask(user, speech)
    with pytest.raises(InvalidInput, match="Describe the sound"):
        ask(user, model, prompt="  ")
    with pytest.raises(NotFound):
        ask(stranger, model)
    with pytest.raises(NotFound):
        ask(user, model, adapter_id="ada_none")
    with pytest.raises(Forbidden):
        ask(make_user(session, "rita", Role.RATER), model)
    monkeypatch.setenv("QLORA_STUDIO_MAX_TAKES_PER_USER", "7")
    get_settings.cache_clear()
    one = ask(user, model, n_takes=4)
    with pytest.raises(TooLarge, match="7 takes"):
        ask(user, model, n_takes=4)
    monkeypatch.setattr(generations, "MAX_ACTIVE", 1)
    with pytest.raises(TooManyTries):
        ask(user, model, n_takes=1)
    with db.write() as writing, pytest.raises(NotFound):
        generations.remove(writing, actor=stranger, generation_id=one)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_a_real_model_makes_takes_that_differ_and_come_again(
    data_folder, session, user, tmp_path, monkeypatch
) -> None:
    made = EngineHost(engine_host.COMMAND, idle_s=60.0)
    monkeypatch.setattr(inference, "host", made)
    model = sound_model(session, user, "musicgen")
    folder = melodies.make_musicgen(tmp_path / "musicgen")
    model.path, model.content_hash = str(folder), content_hash(folder, [])
    session.add(model)
    session.commit()
    try:
        done, takes = make(user, model, duration_s=0.4)
        assert done.error == ""
        first = sounds_of(takes)
        assert len(set(first)) == 3
        assert sounds_of(make(user, model, duration_s=0.4)[1]) == first
        for other in ({"temperature": 0.3}, {"guidance": 20.0}):
            assert sounds_of(make(user, model, duration_s=0.4, n_takes=1, **other)[1])[0] != first[0], other
    finally:
        made._end_child()
