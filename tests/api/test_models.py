from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlmodel import Session

from qlora_studio.api.security import current_user
from qlora_studio.core.settings import get_settings
from qlora_studio.db.models import User
from tests.modelfiles.build import whisper_folder


@pytest.fixture
def root(tmp_path: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    monkeypatch.setenv("QLORA_STUDIO_MODEL_ROOTS", str(folder))
    get_settings.cache_clear()
    return folder


def body_for(folder: Path, **more: object) -> dict[str, object]:
    return {"name": "Mine", "task": "speech-to-text", "source": {"kind": "path", "path": str(folder)}, **more}


def test_a_model_by_path_from_start_to_end(client: TestClient, root: Path) -> None:
    made = client.post("/models", json=body_for(whisper_folder(root / "tiny")))
    assert made.status_code == 201, made.text
    model = made.json()
    assert model["id"].startswith("mod_")
    assert (model["status"], model["error"]) == ("ready", None)
    assert model["sample_rate"] == 16_000
    assert model["n_parameters"] > 0 < model["size_bytes"]
    assert "q_proj" in model["lora_targets"]
    listed = client.get("/models", params={"query": "mine", "sort": "name", "page_size": 5}).json()
    assert (listed["total"], listed["page"], listed["page_size"]) == (1, 1, 5)
    assert listed["items"][0] == model
    changed = client.patch(f"/models/{model['id']}", json={"description": "for the call centre"})
    assert changed.json()["description"] == "for the call centre"
    assert client.post(f"/models/{model['id']}/check").status_code == 202
    assert client.delete(f"/models/{model['id']}").status_code == 204
    assert client.get(f"/models/{model['id']}").status_code == 404


def test_an_idempotency_key_makes_one_model(client: TestClient, root: Path) -> None:
    body = body_for(whisper_folder(root / "tiny"))
    answers = [client.post("/models", json=body, headers={"Idempotency-Key": "k1"}) for _ in range(3)]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert client.get("/models").json()["total"] == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"source": {"kind": "torrent"}}, ""),
        ({"source": {"kind": "path", "path": "/etc"}}, "source.path"),
        ({"source": {"kind": "path", "path": "~/x"}}, "source.path"),
        ({"source": {"kind": "hub", "repo_id": "; touch x"}}, "source.repo_id"),
        ({"source": {"kind": "hub", "repo_id": "a/b", "revision": "--evil"}}, "source.revision"),
        ({"source": {"kind": "path", "path": "/x"}, "owner_id": "usr_1"}, "owner_id"),
        ({"source": {"kind": "path", "path": "/x"}, "task": "juggling"}, "task"),
        ({}, "source"),
    ],
)
def test_bad_fields_are_named(client: TestClient, root: Path, body: dict[str, object], field: str) -> None:
    answer = client.post("/models", json={"name": "x", **body})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert any(error["field"].startswith(field) for error in answer.json()["errors"])


def test_a_model_that_cannot_be_trained_is_refused_with_the_reason(client: TestClient, root: Path) -> None:
    folder = whisper_folder(root / "tiny")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    answer = client.post("/models", json=body_for(folder))
    assert answer.status_code == 422
    assert "can run code" in answer.json()["detail"]


def test_other_peoples_models_are_not_there(
    api: FastAPI, client: TestClient, root: Path, stranger: User
) -> None:
    model_id = client.post("/models", json=body_for(whisper_folder(root / "tiny"))).json()["id"]
    api.dependency_overrides[current_user] = lambda: stranger
    assert client.get(f"/models/{model_id}").status_code == 404
    assert client.patch(f"/models/{model_id}", json={"name": "x"}).status_code == 404
    assert client.delete(f"/models/{model_id}").status_code == 404
    assert client.post(f"/models/{model_id}/check").status_code == 404
    assert client.get("/models").json()["total"] == 0


def test_nothing_without_signing_in(api: FastAPI, session: Session) -> None:
    client = TestClient(api, base_url="http://127.0.0.1/api/v1")
    assert client.get("/models").status_code == 401
    assert client.post("/models", json={}).status_code == 401
