"""Datasets from elsewhere, credentials and limits, through REST."""

import pytest

from qlora_studio.api.security import current_user
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine
from qlora_studio.db.models import Dataset
from qlora_studio.ingest import launching, pipeline
from tests.ingest import sounds
from tests.ingest.web import web

__all__ = ["web"]

pytestmark = pytest.mark.usefixtures("decoding_here")


@pytest.fixture
def launched(monkeypatch) -> list[str]:
    """Ids of the datasets whose processes were started; none really is."""
    started: list[str] = []
    monkeypatch.setattr(launching, "launch", started.append)
    return started


def post(client, **source):
    return client.post("/datasets", json={"name": "d", "task": "speech-to-text", "source": source})


def test_a_dataset_from_an_address(client, launched, web):
    web.serve("/a.wav", sounds.wav(0.2))
    made = post(client, kind="url", url="https://files.example/a.wav")
    assert (made.status_code, made.json()["status"]) == (201, "processing")
    assert made.json()["activity"] == "Looking at the files"
    assert launched == [made.json()["id"]]
    with engine.write() as session:
        row = session.get_one(Dataset, launched[0])
        row.source = {
            **row.source,
            "url": "http://files.example/a.wav",
            "fetched": {"bytes": 2**20, "total": None},
        }
    assert client.get(f"/datasets/{launched[0]}").json()["activity"] == "Fetching: 1.0 MB"
    pipeline.run(launched[0])
    done = client.get(f"/datasets/{launched[0]}").json()
    assert (done["status"], done["n_clips"], done["activity"]) == ("ready", 1, "")


REFUSED = (
    ({"kind": "url"}, "source.url"),
    ({"kind": "url", "url": "file:///etc/passwd"}, "source.url"),
    ({"kind": "url", "url": "http://user:pass@files.example/"}, "source.url"),
    ({"kind": "url", "url": "http://files.example:22/"}, "source.url"),
    ({"kind": "url", "url": "http://files.example/", "credential_id": "cred_x"}, "source.credential_id"),
    ({"kind": "cloud", "url": "http://files.example/"}, "source.url"),
    ({"kind": "cloud", "url": "s3://"}, "source.url"),
    ({"kind": "cloud", "url": "s3://bucket/a/../../b"}, "source.url"),
    ({"kind": "cloud", "url": "s3://bucket.example@127.0.0.1/x"}, "source.url"),
    (
        {"kind": "cloud", "url": "s3://bucket/x", "endpoint_url": "http://127.0.0.1:9000"},
        "source.endpoint_url",
    ),
    (
        {"kind": "cloud", "url": "gs://bucket/x", "endpoint_url": "http://127.0.0.1:9000"},
        "source.endpoint_url",
    ),
    ({"kind": "hub", "repo_id": "; touch x"}, "source.repo_id"),
    ({"kind": "hub", "repo_id": "a/../b"}, "source.repo_id"),
    ({"kind": "hub"}, "source.repo_id"),
    ({"kind": "hub", "repo_id": "a/b", "revision": "../x"}, "source.revision"),
    ({"kind": "upload", "url": "http://files.example/"}, "source.url"),
)


def test_sources_that_may_not_be_used_are_refused_before_anything_is_made(client, launched):
    for source, field in REFUSED:
        answer = post(client, **source)
        assert answer.status_code == 422, source
        assert [e["field"] for e in answer.json()["errors"]] == [field], source
    assert launched == []
    assert client.get("/datasets").json()["total"] == 0


def test_credentials_go_in_and_never_come_out(client, api, user, stranger):
    body = {"kind": "hub", "name": "=cmd()<script>", "token": "hf_very_secret_token"}
    made = client.post("/credentials", json=body, headers={"Idempotency-Key": "1"})
    again = client.post("/credentials", json=body, headers={"Idempotency-Key": "1"})
    assert (made.status_code, set(made.json())) == (201, {"id", "name", "kind", "created_at"})
    assert again.json() == made.json()
    assert client.get("/credentials", params={"kind": "hub"}).json()["items"] == [made.json()]
    broken = client.post("/credentials", json=body | {"token": "hf_very_secret_token with spaces"})
    assert broken.status_code == 422
    for answer in (made, again, broken, client.get("/credentials")):
        assert "very_secret" not in answer.text
    credential_id = made.json()["id"]
    wrong_kind = post(client, kind="cloud", url="s3://bucket/x", credential_id=credential_id)
    assert wrong_kind.status_code == 422
    api.dependency_overrides[current_user] = lambda: stranger
    assert client.get("/credentials").json()["total"] == 0
    assert client.delete(f"/credentials/{credential_id}").status_code == 404
    assert post(client, kind="hub", repo_id="a/b", credential_id=credential_id).status_code == 404
    api.dependency_overrides[current_user] = lambda: user
    assert client.delete(f"/credentials/{credential_id}").status_code == 204
    assert client.delete(f"/credentials/{credential_id}").status_code == 404


def test_what_is_under_way_can_be_stopped(client, api, launched, stranger, user):
    made = post(client, kind="url", url="https://files.example/a.wav").json()
    api.dependency_overrides[current_user] = lambda: stranger
    assert client.post(f"/datasets/{made['id']}/cancel").status_code == 404
    api.dependency_overrides[current_user] = lambda: user
    stopped = client.post(f"/datasets/{made['id']}/cancel")
    assert (stopped.status_code, stopped.json()["status"]) == (202, "error")
    assert "stopped" in stopped.json()["error"]
    assert client.post(f"/datasets/{made['id']}/cancel").status_code == 409
    assert client.post(f"/datasets/{made['id']}/ingest").json()["status"] == "processing"
    uploaded = post(client, kind="upload").json()
    client.put(f"/datasets/{uploaded['id']}/files/a.wav", content=sounds.wav(0.2))
    client.post(f"/datasets/{uploaded['id']}/ingest")
    assert client.post(f"/datasets/{uploaded['id']}/cancel").json()["status"] == "awaiting_files"
    assert client.get(f"/datasets/{uploaded['id']}/files").json()["total"] == 1
    pipeline.run(uploaded["id"])
    assert client.get(f"/datasets/{uploaded['id']}").json()["status"] == "awaiting_files"


def limit(monkeypatch, **limits: int) -> None:
    for name, value in limits.items():
        monkeypatch.setenv(f"QLORA_STUDIO_{name}", str(value))
    get_settings.cache_clear()


def test_one_account_makes_so_many_datasets_and_others_go_on(client, api, monkeypatch, stranger):
    limit(monkeypatch, MAX_DATASETS_PER_USER=3)
    answers = [post(client, kind="upload") for _ in range(10)]
    assert [a.status_code for a in answers] == [201] * 3 + [413] * 7
    assert answers[-1].json()["detail"] == "You have 3 datasets, the most one account may. Delete one first."
    api.dependency_overrides[current_user] = lambda: stranger
    assert post(client, kind="upload").status_code == 201


def test_one_account_keeps_so_many_bytes(client, monkeypatch):
    limit(monkeypatch, MAX_BYTES_PER_USER=10_000)
    first, second = (post(client, kind="upload").json()["id"] for _ in range(2))
    assert client.put(f"/datasets/{first}/files/a.wav", content=b"x" * 6000).status_code == 201
    too_large = client.put(f"/datasets/{second}/files/b.wav", content=b"x" * 6000)
    assert (too_large.status_code, too_large.json()["title"]) == (413, "Too large")
    assert client.put(f"/datasets/{second}/files/c.wav", content=b"x" * 4000).status_code == 201
    full = client.put(f"/datasets/{first}/files/d.wav", content=b"x")
    assert (full.status_code, "space is used up" in full.json()["detail"]) == (413, True)
    assert post(client, kind="upload").status_code == 413
    assert client.delete(f"/datasets/{second}").status_code == 204
    assert client.put(f"/datasets/{first}/files/d.wav", content=b"x").status_code == 201


def test_a_mapping_can_be_looked_at_before_it_is_used(client, api, user, stranger):
    made = post(client, kind="upload").json()["id"]
    look = f"/datasets/{made}/mapping-preview"
    assert client.post(look, json={}).status_code == 409
    client.put(f"/datasets/{made}/files/metadata.csv", content=b"clip,words\na.wav,=cmd()\nb.wav,two\n")
    client.put(f"/datasets/{made}/files/a.wav", content=sounds.wav(0.2))
    seen = client.post(look, json={}).json()
    assert (seen["guessed"], seen["columns"]) == ({"file": "clip"}, ["clip", "words"])
    assert "no column for the text" in seen["refusal"]
    seen = client.post(look, json={"mapping": {"text": "words"}}).json()
    assert (seen["n_matched"], seen["reasons"]) == (1, [{"name": "Missing file", "n": 1}])
    assert seen["rows"][0] == {
        "file": "a.wav", "text": "=cmd()", "label": None, "speaker": None, "split": None, "reason": None,
    }  # fmt: skip
    for mapping in ({"nonsense": "words"}, {"label_from": "moon"}):
        assert client.post(look, json={"mapping": mapping}).status_code == 422
    api.dependency_overrides[current_user] = lambda: stranger
    assert client.post(look, json={}).status_code == 404
    api.dependency_overrides[current_user] = lambda: user
    assert client.get(f"/datasets/{made}").json()["mapping"] == {}, "looking changes nothing"
    client.patch(f"/datasets/{made}", json={"mapping": {"text": "words"}})
    client.post(f"/datasets/{made}/ingest")
    assert client.post(look, json={}).status_code == 409


def test_a_server_folder_can_wait_for_a_look(client, launched, tmp_path, monkeypatch):
    sounds.write(tmp_path / "set", {"drum_a.wav": sounds.wav(0.1), "loop_b.wav": sounds.wav(0.2)})
    monkeypatch.setenv("QLORA_STUDIO_DATASET_ROOTS", str(tmp_path))
    get_settings.cache_clear()
    made = post(client, kind="folder", path=str(tmp_path / "set"), review=True).json()
    assert (made["status"], launched) == ("awaiting_files", [])
    assert client.post(f"/datasets/{made['id']}/mapping-preview", json={}).json()["n_matched"] == 2
    assert client.put(f"/datasets/{made['id']}/files/x.wav", content=b"x").status_code == 409
    assert client.post(f"/datasets/{made['id']}/ingest").json()["status"] == "processing"
