"""Notifications over REST."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlmodel import Session, select

from qlora_studio.api.security import current_user
from qlora_studio.contracts.notices import NoticeKind
from qlora_studio.db import notices
from qlora_studio.db.models import User
from qlora_studio.db.models.audit import IdempotencyKey
from qlora_studio.services import notifications, webhooks


def tell(session: Session, user: User, title: str) -> str:
    made = notices.add(
        session, user_id=user.id, kind=NoticeKind.JOB_FAILED, title=title, body="Why.", href="/training/job_1"
    )
    session.commit()
    return made.id


def test_a_list_and_marking_as_read(client: TestClient, session: Session, user: User) -> None:
    first, _ = tell(session, user, "first"), tell(session, user, "second")
    page = client.get("/notifications").json()
    assert (page["total"], page["n_unread"], page["page"], page["page_size"]) == (2, 2, 1, 25)
    assert set(page["items"][0]) == {
        "id", "kind", "title", "body", "href", "job_id", "created_at", "read_at"
    }  # fmt: skip
    done = client.post("/notifications/read", json={"ids": [first]})
    assert (done.status_code, done.json()) == (200, {"n_marked": 1, "n_unread": 1})
    unread = client.get("/notifications", params={"status": "unread"}).json()
    assert [item["title"] for item in unread["items"]] == ["second"]
    assert client.post("/notifications/read", json={}).json() == {"n_marked": 1, "n_unread": 0}
    for wrong in ({"ids": "all"}, {"everything": True}, {"ids": ["x" * 99]}):
        assert client.post("/notifications/read", json=wrong).status_code == 422
    assert client.get("/notifications", params={"kind": "gossip"}).status_code == 422


def test_a_strangers_notifications_are_not_there(
    api: FastAPI, client: TestClient, session: Session, user: User, stranger: User
) -> None:
    mine = tell(session, user, "mine")
    api.dependency_overrides[current_user] = lambda: stranger
    assert client.get("/notifications").json()["items"] == []
    assert client.post("/notifications/read", json={"ids": [mine]}).json()["n_marked"] == 0
    api.dependency_overrides.clear()
    assert client.get("/notifications").status_code == 401
    assert client.post("/notifications/read", json={}).status_code == 401
    assert notifications.count_unread(session, actor=user) == 1


def test_a_webhook_is_added_changed_and_removed(
    api: FastAPI, client: TestClient, stranger: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"kind": "webhook", "target": "https://hooks.example/x", "kinds": ["job_failed"]}
    answer = client.post("/notification-channels", json=body)
    made = answer.json()
    assert answer.status_code == 201
    assert made.pop("secret").startswith("whsec_")
    assert (made["target"], made["kinds"], made["is_on"], made["last_at"]) == (
        "https://hooks.example/x", ["job_failed"], True, None
    )  # fmt: skip
    listed = client.get("/notification-channels").json()
    assert (listed["items"], listed["total"], listed["can_email"]) == ([made], 1, False)
    assert client.post("/notification-channels", json=body).status_code == 409
    path = f"/notification-channels/{made['id']}"
    changed = client.patch(path, json={"is_on": False, "kinds": []}).json()
    assert (changed["is_on"], changed["kinds"]) == (False, [])
    assert client.patch(path, json={"target": "https://elsewhere.example"}).status_code == 422

    monkeypatch.setattr(webhooks, "send", lambda *_, **__: None)
    assert client.post(f"{path}/test").json() == {"ok": True, "error": ""}
    again = client.post(f"{path}/test")
    assert (again.status_code, again.headers["Retry-After"]) == (429, "3")

    api.dependency_overrides[current_user] = lambda: stranger
    assert client.get("/notification-channels").json()["items"] == []
    for answer in (client.patch(path, json={}), client.delete(path), client.post(f"{path}/test")):
        assert answer.status_code == 404
    api.dependency_overrides.clear()
    assert client.get("/notification-channels").status_code == 401


def test_channels_that_can_not_be(client: TestClient) -> None:
    for body, status in (
        ({"kind": "webhook", "target": "http://169.254.169.254/latest"}, 422),
        ({"kind": "webhook", "target": "http://localhost:3000/"}, 422),
        ({"kind": "webhook", "target": "https://hooks.example/", "kinds": ["gossip"]}, 422),
        ({"kind": "pigeon"}, 422),
        ({"kind": "email"}, 503),
        ({"kind": "email", "target": "other@example.org"}, 422),
    ):
        answer = client.post("/notification-channels", json=body)
        kind = answer.headers["content-type"]
        assert (answer.status_code, kind) == (status, "application/problem+json"), body


def test_a_request_sent_again_makes_one_channel_and_keeps_no_secret(
    client: TestClient, session: Session
) -> None:
    body, key = {"kind": "webhook", "target": "https://hooks.example/x"}, {"Idempotency-Key": "k"}
    first, again = (client.post("/notification-channels", json=body, headers=key) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["secret"].startswith("whsec_")
    assert again.json() == first.json() | {"secret": None}
    kept = session.exec(select(IdempotencyKey)).one()
    assert "whsec_" not in str(kept.body)
