"""Datasets through REST, with real requests, and what strangers and nonsense get."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlmodel import Session, select

from qlora_studio.api import build_api, receiving
from qlora_studio.api.security import current_user
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine
from qlora_studio.db.models import Clip, User
from qlora_studio.ingest import launching, pipeline, staging
from tests.ingest import sounds


@pytest.fixture
def api(data_folder, decoding_here, monkeypatch) -> FastAPI:
    monkeypatch.setattr(launching, "launch", pipeline.run)  # at once and in this process
    return build_api()


@pytest.fixture
def client(api: FastAPI, user: User) -> Iterator[TestClient]:
    api.dependency_overrides[current_user] = lambda: user
    with TestClient(api, base_url="http://127.0.0.1/api/v1") as opened:
        yield opened


def create(client: TestClient, **fields: Any) -> dict[str, Any]:
    made = client.post(
        "/datasets", json={"name": "Calls", "task": "speech-to-text", "source": {"kind": "upload"}} | fields
    )
    assert made.status_code == 201, made.text
    return made.json()


def send(client: TestClient, dataset_id: str, name: str, content: bytes, **options: Any):
    return client.put(f"/datasets/{dataset_id}/files/{name}", content=content, **options)


@pytest.fixture
def ready(client: TestClient) -> dict[str, Any]:
    """Three clips with words and one broken file."""
    dataset = create(client)
    table = b"file_name,text\na.wav,one\nb.wav,two\nc.wav,three\nd.wav,broken\n"
    files = {"metadata.csv": table, "d.wav": b"not a sound"}
    files |= {f"{n}.wav": sounds.wav(0.2, pitch=200 + 10 * i) for i, n in enumerate("abc")}
    for name, content in files.items():
        assert send(client, dataset["id"], name, content).json() == {"received": len(content)}
    assert client.post(f"/datasets/{dataset['id']}/ingest").status_code == 202
    return client.get(f"/datasets/{dataset['id']}").json()


def test_from_an_upload_to_clips(client, ready):
    assert ready["status"] == "ready"
    assert (ready["n_clips"], ready["n_excluded"], ready["version"], ready["error"]) == (3, 1, 1, None)
    assert ready["duration_s"] == pytest.approx(0.6)
    assert len(ready["content_hash"]) == 64
    page = client.get(f"/datasets/{ready['id']}/clips", params={"page_size": 2, "sort": "-filename"}).json()
    assert (page["total"], page["page"], page["page_size"]) == (4, 1, 2)
    assert [c["filename"] for c in page["items"]] == ["d.wav", "c.wav"]
    broken, good = page["items"]
    assert (broken["status"], broken["reason"]) == ("rejected", "Not audio: it holds text.")
    assert (good["status"], good["reason"], good["text"], good["sample_rate"]) == (
        "ok",
        None,
        "three",
        16_000,
    )
    found = client.get(f"/datasets/{ready['id']}/clips", params={"query": "TWO"}).json()["items"]
    assert [c["filename"] for c in found] == ["b.wav"]
    held_out = client.get(f"/datasets/{ready['id']}/clips", params={"split": "validation"}).json()
    assert held_out["total"] == 1
    assert client.get("/datasets", params={"status": "ready"}).json()["items"][0] == ready


def test_sound_by_range_and_waveform(client, ready):
    clip = client.get(f"/datasets/{ready['id']}/clips", params={"query": "a.wav"}).json()["items"][0]
    whole = client.get(f"/clips/{clip['id']}/audio")
    assert whole.content == sounds.wav(0.2, pitch=200)
    assert whole.headers["content-type"] == "audio/wav"
    assert whole.headers["content-disposition"].startswith("attachment")
    assert whole.headers["x-content-type-options"] == "nosniff"
    part = client.get(f"/clips/{clip['id']}/audio", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole.content)}"
    head = client.head(f"/clips/{clip['id']}/audio")
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(whole.content)))
    peaks = client.get(f"/clips/{clip['id']}/peaks").json()
    assert len(peaks["peaks"]) == 800
    assert peaks["duration_s"] == pytest.approx(0.2)
    broken = client.get(f"/datasets/{ready['id']}/clips", params={"status": "rejected"}).json()["items"][0]
    assert client.get(f"/clips/{broken['id']}/audio").status_code == 404


def test_an_upload_is_resumed_by_content_range(client):
    dataset, content = create(client), sounds.wav(0.5)
    size = len(content)
    first = send(
        client, dataset["id"], "a.wav", content[:1000], headers={"Content-Range": f"bytes 0-999/{size}"}
    )
    assert (first.status_code, first.json()) == (201, {"received": 1000})
    listed = client.get(f"/datasets/{dataset['id']}/files").json()["items"]
    assert listed == [{"filename": "a.wav", "received": 1000, "size": size, "is_complete": False}]
    gap = send(
        client,
        dataset["id"],
        "a.wav",
        content[2000:],
        headers={"Content-Range": f"bytes 2000-{size - 1}/{size}"},
    )
    assert (gap.status_code, gap.json()["received"]) == (409, 1000)
    rest = send(
        client,
        dataset["id"],
        "a.wav",
        content[1000:],
        headers={"Content-Range": f"bytes 1000-{size - 1}/{size}"},
    )
    assert rest.json() == {"received": size}
    client.post(f"/datasets/{dataset['id']}/ingest")
    assert client.get(f"/datasets/{dataset['id']}").json()["n_clips"] == 1


def test_a_wrong_content_range_is_refused(client):
    dataset = create(client)
    for value in ("bytes 0-9/5", "bytes 5-1/10", "bytes a-b/c", "0-9/10", "bytes 0-9/*", "bytes 0-9/99"):
        refused = send(client, dataset["id"], "a.wav", b"123", headers={"Content-Range": value})
        assert refused.status_code == 422, value
        assert refused.headers["content-type"] == "application/problem+json"


HOSTILE_NAMES = (
    "%2e%2e/%2e%2e/x.wav", "..%5C..%5Cx.wav", "%2Fetc%2Fx.wav", "a%00b.wav", "x" * 300 + ".wav", "CON",
    "%E2%80%AEgpj.wav", "-rf", "ä ö.wav", "sub/folder/x.wav",
)  # fmt: skip


def test_file_names_never_become_paths(client):
    dataset = create(client)
    for name in HOSTILE_NAMES:
        assert send(client, dataset["id"], name, sounds.wav(0.1)).status_code == 201, name
    folder = staging.files_path(dataset["id"])
    assert {len(p.name) for p in folder.iterdir()} == {32, 37}
    assert not any(set(item["filename"]) & set("\0\u202e\\") - {"\\"} for item in _files(client, dataset))
    outside = [p for p in get_settings().data_path.rglob("*") if p.is_file() and folder not in p.parents]
    assert {p.name.partition(".")[0] for p in outside} <= {"studio"}


def _files(client, dataset) -> list[dict[str, Any]]:
    return client.get(f"/datasets/{dataset['id']}/files").json()["items"]


def test_caps_answer_413_and_keep_nothing_half(client, monkeypatch):
    monkeypatch.setenv("QLORA_STUDIO_MAX_FILE_BYTES", "1000")
    get_settings.cache_clear()
    dataset = create(client)
    assert send(client, dataset["id"], "a.wav", b"x" * 1001).status_code == 413
    endless = send(client, dataset["id"], "b.wav", (b"x" * 100 for _ in range(11)))
    assert endless.status_code == 413
    assert all(
        not item["is_complete"] for item in client.get(f"/datasets/{dataset['id']}/files").json()["items"]
    )


def test_a_full_disk_answers_507(client, monkeypatch):
    dataset = create(client)
    monkeypatch.setattr(staging, "free_bytes", lambda: 5)
    refused = send(client, dataset["id"], "a.wav", b"123456")
    assert refused.status_code == 507
    assert "no room" in refused.json()["detail"]


def test_a_slow_sender_is_let_go(client, monkeypatch):
    monkeypatch.setattr(receiving, "IDLE_LIMIT_S", 0.05)
    dataset = create(client)
    status = asyncio.run(_put(client.app, dataset["id"], [b"12345"], stalls=True))
    assert status == 408
    assert client.get(f"/datasets/{dataset['id']}/files").json()["items"][0]["received"] == 5


def test_a_dropped_connection_keeps_what_came(client):
    dataset = create(client)
    asyncio.run(_put(client.app, dataset["id"], [b"12345"], drops=True))
    assert client.get(f"/datasets/{dataset['id']}/files").json()["items"] == [
        {"filename": "a.wav", "received": 5, "size": 100, "is_complete": False}
    ]


def test_a_sent_file_can_be_taken_back(client):
    dataset = create(client)
    send(client, dataset["id"], "folder/a.wav", sounds.wav())
    for _ in range(2):
        assert client.delete(f"/datasets/{dataset['id']}/files/folder/a.wav").status_code == 204
    assert _files(client, dataset) == []
    assert client.post(f"/datasets/{dataset['id']}/ingest").status_code == 409


def test_signed_out_is_refused_before_the_body_is_read(api):
    assert asyncio.run(_put(api, "ds_000000000000", None)) == 401


async def _put(app, dataset_id: str, pieces: list[bytes] | None, *, stalls=False, drops=False) -> int | None:
    """A PUT at the lowest level: pieces None fails the test if the body is asked for."""
    queue = list(pieces or [])
    answer: dict[str, int] = {}

    async def receive():
        assert pieces is not None, "the body was read"
        if queue:
            return {"type": "http.request", "body": queue.pop(0), "more_body": True}
        if drops:
            return {"type": "http.disconnect"}
        await asyncio.sleep(5 if stalls else 0)
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        if message["type"] == "http.response.start":
            answer["status"] = message["status"]

    path = f"/api/v1/datasets/{dataset_id}/files/a.wav"
    headers = [(b"host", b"127.0.0.1"), (b"content-length", b"100")]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "PUT",
             "scheme": "http", "path": path, "raw_path": path.encode(),
             "query_string": b"", "headers": headers,
             "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80)}  # fmt: skip
    await app(scope, receive, send)
    return answer.get("status")


def test_a_stranger_gets_404_everywhere(client, api, ready, stranger):
    clip_id = client.get(f"/datasets/{ready['id']}/clips").json()["items"][0]["id"]
    api.dependency_overrides[current_user] = lambda: stranger
    base = f"/datasets/{ready['id']}"
    for verb, path, body in (
        ("GET", base, None), ("PATCH", base, {"name": "x"}), ("DELETE", base, None),
        ("POST", f"{base}/ingest", None), ("GET", f"{base}/clips", None),
        ("GET", f"{base}/files", None), ("DELETE", f"{base}/files/a.wav", None),
        ("PUT", f"{base}/files/a.wav", None),
        ("POST", f"{base}/splits", {"ratios": {"train": 1.0}}), ("GET", f"/clips/{clip_id}", None),
        ("GET", f"/clips/{clip_id}/audio", None), ("HEAD", f"/clips/{clip_id}/audio", None),
        ("GET", f"/clips/{clip_id}/peaks", None), ("PATCH", f"/clips/{clip_id}", {"text": "x"}),
    ):  # fmt: skip
        assert client.request(verb, path, json=body).status_code == 404, (verb, path)
    assert client.get("/datasets").json()["total"] == 0
    with engine.read() as session:
        assert "x" not in session.exec(select(Clip.text)).all()


NONSENSE = (
    ({"name": " "}, "name"),
    ({"name": "x" * 121}, "name"),
    ({"task": "cooking"}, "task"),
    ({"source": {"kind": "ftp", "path": "x"}}, "source.kind"),
    ({"source": {"kind": "folder", "path": "/etc"}}, "source.path"),
    ({"source": 5}, "source"),
    ({"mapping": {"nonsense": "x"}}, "mapping"),
    ({"unknown": 1}, "unknown"),
)


def test_nonsense_is_refused_field_by_field(client):
    for body, field in NONSENSE:
        whole = {"name": "n", "task": "speech-to-text", "source": {"kind": "upload"}} | body
        refused = client.post("/datasets", json=whole)
        assert refused.status_code == 422, body
        assert [e["field"] for e in refused.json()["errors"]] == [field]
    for query in ({"sort": "id; drop table"}, {"page_size": 101}, {"page": 0}, {"status": "odd"}):
        assert client.get("/datasets", params=query).status_code == 422, query


def test_an_idempotency_key_makes_one_dataset(client):
    body = {"name": "Once", "task": "speech-to-text", "source": {"kind": "upload"}}
    made = [
        client.post("/datasets", json=body, headers={"Idempotency-Key": "k"}).json()["id"] for _ in range(3)
    ]
    assert len(set(made)) == 1
    assert client.get("/datasets").json()["total"] == 1


@pytest.mark.slow
def test_the_example_is_ready_with_its_own_split(client, session: Session):
    dataset = create(client, source={"kind": "example"}, name="Example")
    dataset = client.get(f"/datasets/{dataset['id']}").json()
    assert (dataset["status"], dataset["n_excluded"]) == ("ready", 0)
    assert dataset["n_clips"] > 400
    splits = client.get(f"/datasets/{dataset['id']}/clips", params={"split": "validation"}).json()
    assert splits["total"] == 96


def test_edit_split_and_delete(client, ready):
    base = f"/datasets/{ready['id']}"
    assert client.patch(base, json={"name": "New", "description": "d"}).json()["name"] == "New"
    dealt = client.post(f"{base}/splits", json={"ratios": {"train": 0.34, "validation": 0.66}, "seed": 4})
    assert (dealt.status_code, dealt.json()["version"]) == (200, 2)
    assert client.post(f"{base}/splits", json={"ratios": {"train": 5}}).status_code == 422
    assert client.delete(base).status_code == 204
    assert client.get(base).status_code == 404
