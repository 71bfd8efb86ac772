"""Adapters through REST: what comes when the disk is full, and merged models made once for a key."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlmodel import Session

from qlora_studio.api import build_api
from qlora_studio.api.security import current_user
from qlora_studio.contracts.merging import REPORT
from qlora_studio.db.models import Adapter, BaseAudioModel, User
from qlora_studio.ingest import staging
from qlora_studio.services import models
from qlora_studio.storage import layout
from tests.services.test_merging import REPORT as MERGED


@pytest.fixture
def model(session: Session, user: User) -> BaseAudioModel:
    made = models.add_starter(session, actor=user)
    session.commit()
    return made


@pytest.fixture
def client(data_folder: Path, user: User) -> Iterator[TestClient]:
    api: FastAPI = build_api()
    api.dependency_overrides[current_user] = lambda: user
    with TestClient(api, base_url="http://127.0.0.1/api/v1") as opened:
        yield opened


def test_an_adapter_that_the_disk_has_no_room_for_is_refused_before_it_comes(
    client: TestClient, model: BaseAudioModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "RESERVE_BYTES", 2**60)
    for content in (b"PK", iter([b"P", b"K"])):  # announced, and not
        answer = client.post("/adapters", params={"model_id": model.id}, content=content)
        assert (answer.status_code, answer.json()["title"]) == (507, "Storage full")
    assert list((layout.data_path() / "adapters").iterdir()) == []


def test_a_key_makes_one_model_of_a_merge(
    client: TestClient, session: Session, user: User, model: BaseAudioModel
) -> None:
    adapter = Adapter(owner_id=user.id, name="mine", base_model_id=model.id, path="/none")
    session.add(adapter)
    session.commit()
    folder = layout.merged_path(adapter.id)
    folder.mkdir(parents=True)
    for path in Path(model.path).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / REPORT).write_text(MERGED.model_dump_json())

    def add(key: str) -> str:
        made = client.post(f"/adapters/{adapter.id}/merge/model", json={}, headers={"Idempotency-Key": key})
        assert made.status_code == 201, made.text
        return str(made.json()["id"])

    first = add("a")
    assert add("a") == first
    assert add("b") != first
    assert len(list((layout.data_path() / "models").iterdir())) == 3
