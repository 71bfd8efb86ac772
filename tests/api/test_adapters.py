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
from tests.services.test_generations import sound_model
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


def test_files_that_are_gone_or_were_moved_are_answered_with_a_sentence(
    client: TestClient, session: Session, user: User, tmp_path: Path
) -> None:
    model = sound_model(session, user)
    folder = tmp_path / "adapter"
    adapter = Adapter(owner_id=user.id, name="mine", base_model_id=model.id, path=str(folder))
    session.add(adapter)
    session.commit()
    token = {"kind": "hub", "name": "hub", "token": "hf_abcdefghijklmnop"}
    credential_id = client.post("/credentials", json=token).json()["id"]
    url = f"/adapters/{adapter.id}"
    wish = {"prompt": "rain", "model_id": model.id, "adapter_id": adapter.id}

    def answers() -> dict[str, tuple[int, str]]:
        asked = {
            "generate": client.post("/generations", json=wish),
            "download": client.get(f"{url}/download"),
            "activate": client.post(f"{url}/activate", json={"insist": True}),
            "merge": client.post(f"{url}/merge", json={}),
            "push": client.post(f"{url}/push", json={"repo_id": "a", "credential_id": credential_id}),
        }
        return {what: (answer.status_code, answer.text) for what, answer in asked.items()}

    for what, (status, said) in answers().items():
        assert (status, "no longer on the disk" in said) == (409, True), what
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"x")
    place = Path(model.path)
    place.rename(place.with_name("moved"))
    found = answers()
    assert [found[what][0] for what in ("generate", "download", "activate", "merge")] == [409, 200, 200, 409]
    for what in ("generate", "merge"):
        assert "The model's files are gone" in found[what][1], found[what]
        assert str(tmp_path) not in found[what][1], "whoever it is shared with learns no place on the disk"
