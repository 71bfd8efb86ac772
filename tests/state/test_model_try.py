"""The card “Try it”: one request however often it is clicked, results, refusals, cancel, strangers."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlmodel import Session

from qlora_studio.contracts.enums import ModelStatus, Task
from qlora_studio.db import engine as db
from qlora_studio.db.models import Adapter, BaseAudioModel, User
from qlora_studio.services import adapters, inference
from qlora_studio.services.engine_host import EngineHost
from qlora_studio.services.trial_clips import RATE
from qlora_studio.state.model_try import ModelTryState
from qlora_studio.storage import layout
from tests.services.test_engine_host import COMMAND
from tests.state.calling import call

CLIP = "trc_000000000001"


@pytest.fixture
def host(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineHost]:
    made = EngineHost(COMMAND, idle_s=60.0)
    monkeypatch.setattr(inference, "host", made)
    monkeypatch.setattr(inference.models, "check_unchanged", lambda model: None)
    yield made
    made._end_child()


def make_model(session: Session, user: User, what: str) -> str:
    """A model on which the stand-in does what its folder is called."""
    model = BaseAudioModel(
        owner_id=user.id,
        name=what,
        task=Task.SPEECH_TO_TEXT,
        path=f"/models/{what}",
        status=ModelStatus.READY,
    )
    session.add(model)
    folder = layout.trials_path(user.id)
    folder.mkdir(parents=True, exist_ok=True)
    np.zeros(RATE, dtype="<f4").tofile(folder / f"{CLIP}.f32")
    session.commit()
    return model.id


@pytest.fixture
def card(host: EngineHost, session: Session, user: User, opened: Callable[..., Any]) -> Callable[[str], Any]:
    def make(what: str) -> Any:
        return opened(ModelTryState, model_id=make_model(session, user, what))

    return make


async def test_a_clip_that_arrives_is_heard_at_once(card: Callable[[str], Any]) -> None:
    state = card("cpu")
    await call(state, "load")
    assert state.is_offered
    assert state.has_base
    sent = await call(state, "take_clip", clip_id=CLIP)
    assert "listen" in sent[0]
    await call(state, "listen")
    assert [result.title for result in state.results] == ["Base model"]
    assert "ms on the CPU" in state.results[0].detail
    assert not state.is_busy


async def test_a_clip_that_comes_while_another_is_ending_is_heard_next(
    card: Callable[[str], Any], session: Session, user: User
) -> None:
    state = card("hang")
    await call(state, "load")
    assert (state.most_bytes, state.most_s) == (25 * 2**20, 600.0)
    state.clip_id = CLIP
    listening = asyncio.create_task(call(state, "listen"))
    while not state._ticket_id:
        await asyncio.sleep(0.01)
    await call(state, "let_clip_go")
    session.get_one(BaseAudioModel, state.model_id).path = "/models/cpu"
    make_model(session, user, "cpu")  # the clip, again
    await call(state, "take_clip", clip_id=CLIP.replace("1", "2"))
    assert await call(state, "listen") == [], "one at a time"
    sent = await listening
    assert "listen" in sent[0]
    assert not state.is_busy


async def test_two_clicks_make_one_request(card: Callable[[str], Any], host: EngineHost) -> None:
    state = card("cpu")
    await call(state, "load")
    state.clip_id = CLIP
    await asyncio.gather(call(state, "listen"), call(state, "listen"), call(state, "listen"))
    assert host._n_asked == 1
    assert len(state.results) == 1


async def test_an_adapter_is_compared_with_the_base(
    card: Callable[[str], Any], session: Session, user: User, tmp_path: Path
) -> None:
    state = card("cpu")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"x")
    adapter = Adapter(owner_id=user.id, name="mine", base_model_id=state.model_id, path=str(tmp_path))
    session.add(adapter)
    session.commit()
    await call(state, "load")
    assert state.adapters == [(adapter.id, "mine")]
    await call(state, "choose_adapter", value=adapter.id)
    await call(state, "set_strength", value="0.5")
    await call(state, "set_with_base", value=True)
    state.clip_id = CLIP
    await call(state, "listen")
    assert [result.title for result in state.results] == ["mine", "Base model"]
    assert "strength 0.5" in state.results[0].detail
    await call(state, "choose_adapter", value="ada_of_somebody")
    assert state.adapter_id == ""
    await call(state, "set_strength", value="9")
    assert state.strength == "2"


async def test_of_very_many_adapters_the_newest_are_offered_and_the_one_asked_for(
    host: EngineHost,
    session: Session,
    user: User,
    opened: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(inference, "MOST_OFFERED", 2)
    model_id = make_model(session, user, "cpu")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"x")
    made = [
        Adapter(id=f"ada_{n:012}", owner_id=user.id, name=str(n), base_model_id=model_id, path=str(tmp_path))
        for n in range(4)
    ]
    for adapter in made:  # one after the other, oldest first
        session.add(adapter)
        session.commit()
    state = opened(ModelTryState, model_id=model_id)
    await call(state, "load")
    assert len(state.adapters) == 2
    assert state.left_out.startswith("2 older ones")
    with db.read() as reading:
        options = inference.get_options(reading, actor=user, model_id=model_id, adapter_id=made[0].id)
        assert [adapter.name for adapter in options.adapters] == ["3", "2", "0"]
    adapters.activate(session, actor=user, adapter_id=made[1].id, strength=0.5)
    session.commit()
    await call(state, "load")
    assert (state.adapter_id, state.strength) == (made[1].id, "0.5"), "the default is chosen"
    assert (made[1].id, "1 (active)") in state.adapters


async def test_what_went_wrong_is_a_sentence_in_place(card: Callable[[str], Any]) -> None:
    state = card("crash")
    await call(state, "load")
    state.clip_id = CLIP
    await call(state, "listen")
    assert "ended unexpectedly" in state.refusal
    assert state.results == []
    state.clip_id = "trc_000000000009"
    await call(state, "listen")
    assert "Choose it again" in state.refusal


async def test_cancel_ends_it_without_a_complaint(card: Callable[[str], Any]) -> None:
    state = card("hang")
    await call(state, "load")
    state.clip_id = CLIP
    listening = asyncio.create_task(call(state, "listen"))
    while not state._ticket_id:
        await asyncio.sleep(0.01)
    await call(state, "cancel")
    await listening
    assert (state.is_busy, state.refusal, state.results) == (False, "", [])


async def test_a_stranger_sees_nothing(
    host: EngineHost, session: Session, stranger: User, opened: Callable[..., Any]
) -> None:
    theirs = make_model(session, stranger, "cpu")
    state = opened(ModelTryState, model_id=theirs)
    await call(state, "load")
    assert not state.is_offered
    state.clip_id = CLIP
    await call(state, "listen")
    assert state.results == []
    assert state.refusal
    assert host._n_asked == 0


async def test_a_text_becomes_a_sound_to_play(
    card: Callable[[str], Any], session: Session, host: EngineHost
) -> None:
    state = card("cpu")
    model = session.get_one(BaseAudioModel, state.model_id)
    model.task = Task.TEXT_TO_AUDIO
    session.commit()
    await call(state, "load")
    assert state.makes_sound
    await call(state, "listen")
    assert host._n_asked == 0, "there is nothing to make yet"
    await call(state, "set_prompt", value="rain")
    await call(state, "set_seconds", value="99")
    await call(state, "set_seconds", value=1.0)
    await call(state, "set_seed", value="7")
    assert (state.seconds, state.seed) == ("1", "7")
    await call(state, "listen")
    (result,) = state.results
    assert result.sound_url.startswith("/api/v1/trial-sounds/snd_")
    assert (result.sound_s, result.is_silent) == ("1.00", False)
