"""Weights sent through REST: received, resumed, refused by name and content, checked, and nobody else's."""

import pickle
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlmodel import Session

from qlora_studio.api.security import current_user
from qlora_studio.contracts.enums import ModelStatus
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db
from qlora_studio.db.models import BaseAudioModel, User
from qlora_studio.ingest import quota, staging
from qlora_studio.services import model_intake
from qlora_studio.storage import layout
from tests.modelfiles.build import whisper_folder


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in whisper_folder(tmp_path / "tiny").iterdir()}


@pytest.fixture
def model_id(client: TestClient) -> str:
    made = client.post("/models", json={"name": "Mine", "source": {"kind": "upload"}})
    assert made.status_code == 201, made.text
    assert made.json()["status"] == "awaiting_files"
    return str(made.json()["id"])


def send(client: TestClient, model_id: str, name: str, content: bytes, **headers: str) -> Any:
    return client.put(f"/models/{model_id}/files/{name}", content=content, headers=headers)


def checked(client: TestClient, model_id: str) -> dict[str, Any]:
    answer = client.post(f"/models/{model_id}/check")
    assert answer.status_code == 202, answer.text
    model_intake.wait(model_id, 30)
    return client.get(f"/models/{model_id}").json()


def test_a_folder_is_sent_checked_and_ready(
    client: TestClient, user: User, model_id: str, files: dict[str, bytes]
) -> None:
    for name, content in files.items():
        assert send(client, model_id, name, content).json() == {"received": len(content)}
    with db.read() as session:
        assert quota.held_bytes(session, user.id) == sum(map(len, files.values())), "what waits counts"
    model = checked(client, model_id)
    assert (model["status"], model["error"], model["name"]) == ("ready", None, "Mine")
    assert model["architecture"] == "WhisperForConditionalGeneration"
    assert not layout.staging_path(model_id).exists()
    assert (layout.model_path(model_id) / "model.safetensors").is_file()
    with db.read() as session:
        assert quota.held_bytes(session, user.id) == model["size_bytes"]
    assert send(client, model_id, "config.json", b"{}").status_code == 409
    assert client.delete(f"/models/{model_id}").status_code == 204
    assert not layout.model_path(model_id).exists()


def test_a_cut_upload_goes_on(client: TestClient, model_id: str, files: dict[str, bytes]) -> None:
    weights = files["model.safetensors"]
    half = len(weights) // 2
    range_of = f"bytes {{}}-{{}}/{len(weights)}"
    start = {"Content-Range": range_of.format(0, half - 1)}
    first = send(client, model_id, "model.safetensors", weights[:half], **start)
    assert first.json() == {"received": half}
    for name in files.keys() - {"model.safetensors"}:
        send(client, model_id, name, files[name])
    assert "isn't whole" in client.post(f"/models/{model_id}/check").json()["detail"]
    wrong = {"Content-Range": range_of.format(half + 5, len(weights) - 1)}
    answer = send(client, model_id, "model.safetensors", weights[half + 5 :], **wrong)
    assert (answer.status_code, answer.json()["received"]) == (409, half)
    rest = {"Content-Range": range_of.format(half, len(weights) - 1)}
    send(client, model_id, "model.safetensors", weights[half:], **rest)
    assert checked(client, model_id)["status"] == "ready"


def test_nothing_that_could_run_is_taken_by_name_or_by_content(
    client: TestClient, model_id: str, files: dict[str, bytes], tmp_path: Path
) -> None:
    canary = tmp_path / "canary"

    class Payload:
        def __reduce__(self) -> Any:
            return (Path.touch, (canary,))

    payload = pickle.dumps(Payload())
    for name in (
        "pytorch_model.bin",
        "model.pt",
        "x.pkl",
        "code.py",
        "a/config.json",
        "..%2F..%2Fx.json",
        ".json",
    ):
        answer = send(client, model_id, name, payload)
        assert answer.status_code in (404, 422), name
    assert "can run code" in send(client, model_id, "pytorch_model.bin", payload).json()["detail"]
    assert client.get(f"/models/{model_id}/files").json()["total"] == 0
    for name, content in files.items():
        send(client, model_id, name, payload if name == "model.safetensors" else content)
    model = checked(client, model_id)
    assert model["status"] == "error"
    assert "pickle" in model["error"]
    assert not canary.exists()
    send(client, model_id, "model.safetensors", files["model.safetensors"])
    assert checked(client, model_id)["status"] == "ready", "other files, and it goes on"


def test_what_is_missing_is_named(client: TestClient, model_id: str, files: dict[str, bytes]) -> None:
    assert client.post(f"/models/{model_id}/check").status_code == 409
    send(client, model_id, "config.json", files["config.json"])
    send(client, model_id, "model.safetensors", files["model.safetensors"])
    model = checked(client, model_id)
    assert model["status"] == "error"
    assert "feature extractor" in model["error"] or "preprocessor" in model["error"]
    assert client.delete(f"/models/{model_id}/files/config.json").status_code == 204
    assert [item["filename"] for item in client.get(f"/models/{model_id}/files").json()["items"]] == [
        "model.safetensors"
    ]


def test_there_are_limits(client: TestClient, model_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QLORA_STUDIO_MAX_FILE_BYTES", "1000")
    monkeypatch.setenv("QLORA_STUDIO_MAX_BYTES_PER_USER", "1500")
    get_settings.cache_clear()
    assert send(client, model_id, "model.safetensors", b"x" * 1001).status_code == 413
    assert send(client, model_id, "config.json", b"x" * 1000).status_code == 201
    assert send(client, model_id, "vocab.json", b"x" * 600).status_code == 413


def test_a_file_can_be_taken_back_when_there_is_no_room(
    client: TestClient, model_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(client, model_id, "config.json", b"{}")
    monkeypatch.setattr(get_settings(), "max_bytes_per_user", 1)
    assert send(client, model_id, "vocab.json", b"{}").status_code == 413
    assert client.delete(f"/models/{model_id}/files/config.json").status_code == 204
    assert staging.list_received(model_id) == []


def test_a_strangers_model_is_not_there(
    api: FastAPI, client: TestClient, model_id: str, stranger: User
) -> None:
    send(client, model_id, "config.json", b"{}")
    api.dependency_overrides[current_user] = lambda: stranger
    assert send(client, model_id, "config.json", b"[]").status_code == 404
    assert client.get(f"/models/{model_id}/files").status_code == 404
    assert client.delete(f"/models/{model_id}/files/config.json").status_code == 404
    assert client.post(f"/models/{model_id}/check").status_code == 404
    assert [item.received for item in staging.list_received(model_id)] == [2]


def test_a_model_from_elsewhere_takes_no_files(client: TestClient, session: Session, user: User) -> None:
    model = BaseAudioModel(
        owner_id=user.id, name="m", task="speech-to-text", source={"kind": "path"}, status=ModelStatus.ERROR
    )
    session.add(model)
    session.commit()
    assert send(client, model.id, "config.json", b"{}").status_code == 409


def test_a_check_that_a_stopped_server_left_goes_on(
    client: TestClient, session: Session, model_id: str, files: dict[str, bytes]
) -> None:
    for name, content in files.items():
        send(client, model_id, name, content)
    model = session.get_one(BaseAudioModel, model_id)
    model.status = ModelStatus.CHECKING
    session.commit()
    assert model_intake.recover() == [model_id]
    model_intake.wait(model_id, 30)
    assert client.get(f"/models/{model_id}").json()["status"] == "ready"
