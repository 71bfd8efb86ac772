"""The form that makes a dataset, called through its handlers."""

from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, select

from qlora_studio.core.settings import get_settings
from qlora_studio.db.models import Dataset, User
from qlora_studio.db.models.dataset import Credential
from qlora_studio.ingest import launching
from qlora_studio.state.dataset_form import DatasetFormState
from tests.state.calling import Opener, call

GOOD = {"name": "March", "task": "speech-to-text", "description": ""}


@pytest.fixture(autouse=True)
def launched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Datasets whose files would be fetched by a process of their own."""
    started: list[str] = []
    monkeypatch.setattr(launching, "launch", started.append)
    return started


async def form_of(opened: Opener, source: str) -> Any:
    state = opened(DatasetFormState, {"source": source})
    await call(state, "load")
    assert state.source == source
    return state


@pytest.mark.parametrize(
    ("source", "fields", "kept"),
    [
        ("upload", {"draft": "b-1"}, {}),
        ("url", {"url": " https://a.example/x.zip "}, {"url": "https://a.example/x.zip"}),
        ("cloud", {"url": "s3://bucket/march"}, {"url": "s3://bucket/march"}),
        ("hub", {"repo_id": "me/voices"}, {"repo_id": "me/voices", "revision": "main"}),
    ],
)
async def test_each_source_makes_its_dataset_once(
    opened: Opener, session: Session, launched: list[str], source: str, fields: dict, kept: dict
) -> None:
    state = await form_of(opened, source)
    sent = await call(state, "create", form=GOOD | fields)
    dataset = session.exec(select(Dataset)).one()
    review = {} if source == "upload" else {"review": True}
    assert dataset.source == {"kind": source, **kept, **review}
    assert f"/datasets/{dataset.id}{'?draft=b-1' if source == 'upload' else ''}" in "".join(sent)
    assert launched == ([] if source == "upload" else [dataset.id])
    again = await call(state, "create", form=GOOD | fields)
    assert "".join(again) == "".join(sent), "a second press leads to the same dataset"
    assert len(session.exec(select(Dataset)).all()) == 1


async def test_a_server_folder_waits_to_be_looked_at(
    opened: Opener, session: Session, launched: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "root/march").mkdir(parents=True)
    monkeypatch.setenv("QLORA_STUDIO_DATASET_ROOTS", str(tmp_path / "root"))
    get_settings.cache_clear()
    state = await form_of(opened, "folder")
    assert state.folder_roots == [str(tmp_path / "root")]
    await call(state, "create", form=GOOD | {"path": str(tmp_path / "elsewhere")})
    assert list(state.field_errors) == ["path"]
    await call(state, "create", form=GOOD | {"path": str(tmp_path / "root/march")})
    assert session.exec(select(Dataset)).one().status == "awaiting_files"
    assert launched == []


@pytest.mark.parametrize(
    ("source", "fields", "wrong"),
    [
        ("url", {}, "url"),
        ("url", {"url": "ftp://a.example/x"}, "url"),
        ("url", {"url": "https://a.example/" + "x" * 2000}, "url"),
        ("cloud", {"url": "s3://bucket/../x"}, "url"),
        ("cloud", {"url": "s3://bucket", "credential_id": "cred_gone"}, "credential_id"),
        ("cloud", {"url": "s3://bucket", "endpoint_url": "http://inner:9000"}, "endpoint_url"),
        ("hub", {"repo_id": "../x"}, "repo_id"),
        ("hub", {"repo_id": "a/b", "revision": "-x"}, "revision"),
        ("upload", {"task": "guess"}, "task"),
        ("upload", {"description": "x" * 2001}, "description"),
        ("upload", {"name": ""}, "name"),
    ],
)
async def test_a_wrong_field_is_marked_and_nothing_is_made(
    opened: Opener, session: Session, source: str, fields: dict, wrong: str
) -> None:
    state = await form_of(opened, source)
    await call(state, "create", form=GOOD | fields)
    assert list(state.field_errors) == [wrong]
    assert state.is_sending is False
    assert session.exec(select(Dataset)).all() == []


async def test_what_is_missing_is_said_all_at_once(opened: Opener) -> None:
    state = await form_of(opened, "url")
    sent = await call(state, "create", form={"name": " ", "task": "speech-to-text"})
    assert set(state.field_errors) == {"name", "url"}
    assert "getElementById('name')" in "".join(sent)


async def test_a_field_is_looked_at_as_it_is_left(opened: Opener) -> None:
    state = await form_of(opened, "url")
    await call(state, "check", name="url", value="")
    assert state.field_errors == {}
    await call(state, "check", name="url", value="gopher://x")
    assert list(state.field_errors) == ["url"]
    await call(state, "check", name="name", value="fine")
    assert list(state.field_errors) == ["url"], "another field's mark stays"
    await call(state, "check", name="url", value="https://a.example/x.zip")
    assert state.field_errors == {}
    await call(state, "check", name="_made", value="ds_x")
    assert state.field_errors == {}
    hub = await form_of(opened, "hub")
    await call(hub, "check", name="revision", value="..")
    assert list(hub.field_errors) == ["revision"], "though the id isn't given yet"


async def test_another_persons_key_is_none(opened: Opener, session: Session, stranger: User) -> None:
    session.add(Credential(id="cred_theirs", owner_id=stranger.id, name="n", kind="s3", ciphertext="x"))
    session.commit()
    state = await form_of(opened, "cloud")
    await call(state, "create", form=GOOD | {"url": "s3://bucket", "credential_id": "cred_theirs"})
    assert list(state.field_errors) == ["credential_id"]
