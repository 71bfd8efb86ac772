"""What is refused is refused by a problem document, whoever refuses it."""

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlmodel import Session

from qlora_studio.db.models import User
from qlora_studio.services import trial_clips


def is_problem(answer: httpx.Response, status: int) -> bool:
    body = answer.json()
    assert (answer.status_code, body["status"]) == (status, status)
    assert set(body) >= {"type", "title", "status", "detail", "errors"}
    assert body["title"]
    assert body["detail"]
    return answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/nothing", "/datasets/ds_x/nothing", "/datasets/", "/jobs//events"])
def test_an_unknown_path_is_not_found(client: TestClient, path: str) -> None:
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        assert is_problem(client.request(method, path, follow_redirects=False), 404)


def test_another_method_is_refused_with_those_that_there_are(client: TestClient) -> None:
    for method, path, allowed in (
        ("DELETE", "/datasets", "GET, POST"),
        ("POST", "/datasets/ds_x", "DELETE, GET, PATCH"),
        ("PUT", "/jobs", "GET, POST"),
        ("OPTIONS", "/me", "GET, PATCH"),
    ):
        refused = client.request(method, path)
        assert is_problem(refused, 405)
        assert refused.headers["allow"] == allowed


def test_a_form_that_is_too_large_is_not_read(client: TestClient, api: object) -> None:
    body = {"name": "x" * (9 << 20), "source": {"kind": "example"}}
    assert is_problem(client.post("/datasets", json=body), 413)
    assert is_problem(client.post("/auth/login", content=(b" " * 65536 for _ in range(150))), 413)
    made = client.post("/datasets", json={"name": "d", "source": {"kind": "upload"}}).json()
    sent = client.put(f"/datasets/{made['id']}/files/a.wav", content=b"x" * (9 << 20))
    assert (sent.status_code, sent.json()) == (201, {"received": 9 << 20})


def test_a_part_that_is_not_there_is_refused(client: TestClient, session: Session, user: User) -> None:
    path = trial_clips.make_upload(actor=user).with_name("snd_000000000001.wav")
    path.write_bytes(b"RIFF" + b"0" * 96)
    address = f"/trial-sounds/{path.stem}"
    part = client.get(address, headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"0000")
    beyond = client.get(address, headers={"Range": "bytes=500-"})
    assert is_problem(beyond, 416)
    assert beyond.headers["content-range"] == "bytes */100"
    assert is_problem(client.get(address, headers={"Range": "bytes=7-4"}), 400)
