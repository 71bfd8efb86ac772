"""Clips to try models on, and answers about them: the real decoder, a stand-in for the engine."""

import asyncio
import base64
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlmodel import Session

from qlora_studio.api import build_api
from qlora_studio.api import inference as inference_api
from qlora_studio.api.inference import _answer
from qlora_studio.api.security import current_user
from qlora_studio.contracts.enums import Task
from qlora_studio.contracts.inference import EngineAnswer
from qlora_studio.core.errors import TooManyTries
from qlora_studio.core.settings import get_settings
from qlora_studio.db.models import Adapter, BaseAudioModel, User
from qlora_studio.services import inference, model_intake, trial_clips
from qlora_studio.services.engine_host import EngineHost, Ticket
from qlora_studio.services.trial_clips import TrialClip
from qlora_studio.storage import layout
from tests.ingest import sounds
from tests.modelfiles.build import ctc_folder, ctc_tensors, whisper_folder, write_safetensors
from tests.services.test_engine_host import COMMAND, wait_for

WAV = sounds.wav(0.5, rate=44_100)


@pytest.fixture
def api(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FastAPI]:
    host = EngineHost(COMMAND, idle_s=60.0)
    monkeypatch.setattr(inference, "host", host)
    yield build_api()
    host._end_child()


@pytest.fixture
def client(api: FastAPI, user: User) -> Iterator[TestClient]:
    api.dependency_overrides[current_user] = lambda: user
    with TestClient(api, base_url="http://127.0.0.1/api/v1") as opened:
        yield opened


@pytest.fixture
def strangers(api: FastAPI, client: TestClient, stranger: User) -> TestClient:
    """The same API, asked by somebody else from now on."""
    api.dependency_overrides[current_user] = lambda: stranger
    return client


@pytest.fixture
def model(session: Session, user: User, tmp_path: Path) -> BaseAudioModel:
    made = BaseAudioModel(id="mod_000000000001", owner_id=user.id, name="m", task=Task.SPEECH_TO_TEXT)
    intake = model_intake.take_in(whisper_folder(tmp_path / "tiny"), made.id, placement="copy")
    model_intake.fill_in(made, intake)
    session.add(made)
    session.commit()
    return made


@pytest.fixture
def adapter(session: Session, user: User, model: BaseAudioModel, tmp_path: Path) -> Adapter:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"x")
    made = Adapter(owner_id=user.id, name="a", base_model_id=model.id, path=str(folder))
    session.add(made)
    session.commit()
    return made


def transcribe(client: TestClient, content: bytes = WAV, **fields: object):
    return client.post("/transcriptions", files={"file": ("a.wav", content)}, data=fields)


def left_files() -> list[Path]:
    return [path for path in (layout.data_path() / "trials").rglob("*") if path.is_file()]


def test_a_clip_is_written_down_and_nothing_of_it_stays(
    client: TestClient, model: BaseAudioModel, adapter: Adapter
) -> None:
    answer = transcribe(client, model_id=model.id, adapter_id=adapter.id, strength="0.5")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["text"]
    assert (body["model_id"], body["adapter_id"], body["strength"]) == (model.id, adapter.id, 0.5)
    assert body["duration_s"] == pytest.approx(0.5, abs=0.01)
    assert left_files() == []


def test_the_active_adapter_is_used_where_it_is_asked_for(
    client: TestClient, model: BaseAudioModel, adapter: Adapter
) -> None:
    def meant(**fields: object) -> tuple[str | None, float]:
        body = transcribe(client, model_id=model.id, **fields).json()
        return body["adapter_id"], body["strength"]

    assert meant(adapter_id="active") == (None, 1.0), "none is active"
    assert client.post(f"/adapters/{adapter.id}/activate", json={"strength": 0.75}).status_code == 200
    assert meant(adapter_id="active") == (adapter.id, 0.75)
    assert meant() == (None, 1.0), "no adapter is still no adapter"


@pytest.mark.slow
def test_a_clip_that_takes_long_to_decode_has_arrived_all_the_same(
    client: TestClient, model: BaseAudioModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = inference_api._decode

    def decode_slowly(*args: Any, **kwargs: Any) -> Any:
        threading.Event().wait(0.4)
        return decode(*args, **kwargs)

    monkeypatch.setattr(inference_api, "_decode", decode_slowly)
    monkeypatch.setattr(inference_api, "BODY_LIMIT_S", 0.2)
    answer = transcribe(client, model_id=model.id)
    assert answer.status_code == 200, answer.text


def test_whoever_leaves_keeps_their_turn_until_the_decoder_is_done(
    data_folder: Path, user: User, tmp_path: Path
) -> None:
    started, begin, written = threading.Event(), threading.Event(), tmp_path / "late.f32"

    def decode(_received: Any, *, actor: User) -> TrialClip:
        started.set()
        begin.wait(10)
        written.touch()
        return TrialClip("trc_x", written, 1.0)

    async def leave() -> None:
        waiting = asyncio.create_task(inference_api._decoded(decode, None, user))
        await asyncio.to_thread(started.wait, 10)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with trial_clips.turn(actor=user), pytest.raises(TooManyTries), trial_clips.turn(actor=user):
            pytest.fail("the clip is still being decoded")

    asyncio.run(leave())
    begin.set()
    wait_for(lambda: not trial_clips._decoding and not written.exists())


def test_who_speaks_when_needs_a_head_for_it(
    client: TestClient, session: Session, user: User, tmp_path: Path
) -> None:
    def make(number: int, tensors: dict[str, np.ndarray]) -> str:
        folder = ctc_folder(tmp_path / str(number))
        write_safetensors(folder / "model.safetensors", ctc_tensors() | tensors)
        task = Task.SPEAKER_DIARIZATION
        made = BaseAudioModel(id=f"mod_00000000001{number}", owner_id=user.id, name="m", task=task)
        intake = model_intake.take_in(folder, made.id, placement="copy", task=task)
        model_intake.fill_in(made, intake)
        session.add(made)
        session.commit()
        return made.id

    def diarize(model_id: str):
        return client.post("/diarizations", files={"file": ("a.wav", WAV)}, data={"model_id": model_id})

    head = {"classifier.weight": np.zeros((2, 32), dtype=np.float32)}
    pooled = head | {"projector.weight": np.zeros((32, 32), dtype=np.float32)}
    for without in (make(1, {}), make(2, pooled)):
        answer = diarize(without)
        assert answer.status_code == 422
        assert "no speakers of its own" in answer.json()["detail"]
    body = diarize(make(3, head)).json()
    assert body["segments"][0] == {"start_s": 0.1, "duration_s": 0.3, "speaker": "speaker_2"}
    assert body["rttm"].splitlines()[1] == "SPEAKER recording 1 0.600 0.300 <NA> <NA> speaker_2 <NA> <NA>"


def test_wrong_fields_are_named(client: TestClient, model: BaseAudioModel) -> None:
    assert client.post("/transcriptions", data={"model_id": model.id}).status_code == 422
    for fields, name in (
        ({}, "model_id"),
        ({"model_id": model.id, "strength": "much"}, "strength"),
        ({"model_id": model.id, "strength": "nan"}, "strength"),
        ({"model_id": model.id, "strength": "3"}, "strength"),
        ({"model_id": model.id, "colour": "red"}, "colour"),
    ):
        answer = transcribe(client, **fields)
        assert answer.status_code == 422
        assert name in [error["field"] for error in answer.json()["errors"]]
    answer = transcribe(client, b"<html>", model_id=model.id)
    assert answer.status_code == 422
    assert "web page" in answer.json()["detail"]
    answer = client.post("/classifications", files={"file": ("a.wav", WAV)}, data={"model_id": model.id})
    assert answer.status_code == 422
    assert "writes down speech" in answer.json()["detail"]
    assert left_files() == []


def test_what_is_not_yours_is_not_there(
    strangers: TestClient, model: BaseAudioModel, adapter: Adapter
) -> None:
    assert transcribe(strangers, model_id=model.id).status_code == 404
    assert transcribe(strangers, model_id=model.id, adapter_id=adapter.id).status_code == 404
    assert left_files() == []


def test_an_adapter_of_somebody_else_is_not_there(
    api: FastAPI, client: TestClient, model: BaseAudioModel, session: Session, stranger: User
) -> None:
    theirs = Adapter(owner_id=stranger.id, name="b", base_model_id=model.id, path="/nowhere")
    session.add(theirs)
    session.commit()
    assert transcribe(client, model_id=model.id, adapter_id=theirs.id).status_code == 404


def test_a_clip_is_the_senders_alone(api: FastAPI, client: TestClient, user: User, stranger: User) -> None:
    sent = client.post("/trial-clips", content=WAV)
    assert sent.status_code == 201
    clip = sent.json()
    assert clip["duration_s"] == pytest.approx(0.5, abs=0.01)
    assert len(base64.b64decode(clip["peaks"])) == 200
    api.dependency_overrides[current_user] = lambda: stranger
    assert client.delete(f"/trial-clips/{clip['id']}").status_code == 404
    assert client.delete("/trial-clips/..%2F..%2Fstudio.db").status_code == 404
    api.dependency_overrides[current_user] = lambda: user
    assert client.delete(f"/trial-clips/{clip['id']}").status_code == 204
    assert left_files() == []


def test_the_samples_are_those_of_the_recording(client: TestClient, user: User) -> None:
    clip = client.post("/trial-clips", content=WAV).json()
    samples = np.fromfile(trial_clips.get_clip(clip["id"], actor=user).path, dtype="<f4")
    assert len(samples) == 8000
    assert 0.05 < float(np.abs(samples).max()) <= 1.0


def test_more_than_fits_is_refused_and_nothing_stays(
    client: TestClient, model: BaseAudioModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QLORA_STUDIO_MAX_TRIAL_BYTES", "20000")
    monkeypatch.setenv("QLORA_STUDIO_MAX_TRIAL_S", "0.3")
    get_settings.cache_clear()
    assert client.post("/trial-clips", content=WAV).status_code == 413
    assert client.post("/trial-clips", content=iter([WAV, WAV])).status_code == 413
    assert transcribe(client, WAV * 4, model_id=model.id).status_code == 413
    answer = client.post("/trial-clips", content=sounds.wav(0.5, rate=16_000))
    assert answer.status_code == 422
    assert "Too long" in answer.json()["detail"]
    assert left_files() == []


def test_clips_are_few_and_short_lived(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(trial_clips.KEPT_EACH + 2):
        client.post("/trial-clips", content=WAV)
    assert len(left_files()) == trial_clips.KEPT_EACH
    monkeypatch.setattr(trial_clips, "KEPT_S", -1.0)
    trial_clips.sweep()
    assert left_files() == []


async def test_requests_that_wait_hold_no_thread() -> None:
    class Counting(ThreadPoolExecutor):
        n_used = 0

        def submit(self, *args: Any, **kwargs: Any) -> Any:
            self.n_used += 1
            return super().submit(*args, **kwargs)

    class Waiting:
        async def is_disconnected(self) -> bool:
            return False

    pool = Counting(1)
    asyncio.get_running_loop().set_default_executor(pool)
    tickets = [Ticket(owner_id="usr_ada", request={}) for _ in range(3)]
    answers = [asyncio.create_task(_answer(ticket, Waiting())) for ticket in tickets]  # type: ignore[arg-type]
    await asyncio.sleep(0)
    said = EngineAnswer(heard=[], device="cpu", heard_s=1.0)
    for ticket in tickets:
        threading.Thread(target=ticket.end, kwargs={"answer": said}).start()
    assert await asyncio.gather(*answers) == [said] * 3
    assert pool.n_used == 0


def test_signed_out_no_byte_is_read(data_folder: Path) -> None:
    with TestClient(build_api(), base_url="http://127.0.0.1/api/v1") as client:
        for path in ("/trial-clips", "/transcriptions", "/classifications"):
            assert client.post(path, content=b"x").status_code == 401


def test_a_sound_is_made_and_is_the_askers_alone(
    api: FastAPI, client: TestClient, session: Session, model: BaseAudioModel, stranger: User
) -> None:
    asked = {"model_id": model.id, "prompt": "rain", "seconds": 2}
    refused = client.post("/trial-sounds", json=asked)
    assert refused.status_code == 422
    assert "writes down speech" in refused.json()["detail"]
    model.task = Task.TEXT_TO_AUDIO
    session.add(model)
    session.commit()
    for wrong in ({"prompt": " "}, {"prompt": ""}, {"seconds": 31}, {"seed": -1}, {"strength": 3}, {"x": 1}):
        assert client.post("/trial-sounds", json={**asked, **wrong}).status_code == 422, wrong
    made = client.post("/trial-sounds", json=asked)
    assert made.status_code == 200, made.text
    url = f"/trial-sounds/{made.json()['sound_id']}"
    sound = client.get(url, headers={"Range": "bytes=0-3"})
    assert (sound.status_code, sound.content) == (206, b"RIFF")
    assert sound.headers["x-content-type-options"] == "nosniff"
    assert transcribe(client, model_id=model.id).status_code == 422
    for odd in ("/trial-sounds/snd_0123456789ab", "/trial-sounds/..%2Fstudio.db", f"{url}-x"):
        assert client.get(odd).status_code == 404
    api.dependency_overrides[current_user] = lambda: stranger
    assert client.get(url).status_code == 404
    assert client.post("/trial-sounds", json=asked).status_code == 404
