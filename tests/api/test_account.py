"""One's own account and everybody's, over REST: with a session, and with tokens for scripts."""

from pathlib import Path

import pytest
from argon2 import PasswordHasher
from fastapi.testclient import TestClient

from qlora_studio.api import build_api
from qlora_studio.core.session_cookie import session_cookie_name
from qlora_studio.services import passwords

FIRST, OTHER = "blue-harbour-42-rain", "green-station-17-snow"


@pytest.fixture
def client(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    passwords._nobody_hash.cache_clear()
    client = TestClient(build_api(), base_url="http://localhost:3000/api/v1")
    for name in ("ada", "bob"):
        body = {"username": name, "email": f"{name}@example.org", "password": FIRST}
        assert client.post("/auth/signup", json=body).status_code == 201
    return client


def log_in(client: TestClient, name: str, password: str = FIRST) -> dict[str, str]:
    answer = client.post("/auth/login", json={"login": name, "password": password})
    client.cookies.clear()
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['token']}"}


def test_profile_password_sessions_and_tokens(client: TestClient) -> None:
    here, there = log_in(client, "bob"), log_in(client, "bob")
    assert (
        client.patch("/me", json={"name": "Bob B.", "theme": "dark"}, headers=here).json()["name"] == "Bob B."
    )
    assert client.patch("/me", json={"email": "ada@example.org"}, headers=here).status_code == 422
    taken = client.patch("/me", json={"email": "ada@example.org", "password": FIRST}, headers=here)
    assert (taken.status_code, taken.json()["errors"][0]["field"]) == (409, "email")
    places = client.get("/me/sessions", headers=here).json()["items"]
    assert [place["is_this"] for place in places] == [True, False]
    made = {
        scope: client.post("/tokens", json={"name": scope, "scope": scope}, headers=here).json()
        for scope in ("read", "all")
    }
    reads, does = ({"Authorization": f"Bearer {made[scope]['token']}"} for scope in ("read", "all"))
    assert client.get("/datasets", headers=reads).status_code == 200
    for headers, status in ((reads, 403), (does, 422)):
        assert client.post("/datasets", json={"name": ""}, headers=headers).status_code == status
    for method, path in (("GET", "/me/sessions"), ("DELETE", "/me/sessions"), ("POST", "/tokens")):
        body = {"json": {"name": "more"}} if method == "POST" else {}
        assert client.request(method, path, headers=does, **body).status_code == 403, path
    assert (
        client.get("/me", headers={"Cookie": f"{session_cookie_name()}={made['all']['token']}"}).status_code
        == 401
    )
    listed = client.get("/tokens", headers=does).json()["items"]
    assert {one["name"] for one in listed} == {"read", "all"}
    assert all("token" not in one and one["last_used_at"] for one in listed)
    assert client.delete(f"/tokens/{made['read']['id']}", headers=here).status_code == 204
    assert client.get("/me", headers=reads).status_code == 401
    changed = client.post("/me/password", json={"current": FIRST, "new": OTHER}, headers=here)
    assert changed.json() == {"sessions_ended": 1}
    assert [client.get("/me", headers=h).status_code for h in (here, there, does)] == [200, 401, 200]
    assert client.delete(f"/me/sessions/{places[0]['id']}", headers=here).status_code == 204
    assert client.get("/me", headers=here).status_code == 401


def test_an_admin_changes_roles_and_limits_disables_resets_and_deletes(client: TestClient) -> None:
    admin, bob = log_in(client, "ada"), log_in(client, "bob")
    assert client.get("/users", headers=bob).status_code == 403
    found = client.get("/users", params={"query": "bob", "role": "trainer"}, headers=admin).json()
    assert found["total"] == 1
    path = f"/users/{found['items'][0]['id']}"
    body = {"role": "rater", "max_bytes": 5, "max_queued_jobs": 0}
    assert client.patch(path, json=body, headers=bob).status_code == 403
    now = client.patch(path, json=body, headers=admin).json()
    assert (now["role"], now["limit_bytes"], now["limit_jobs"], now["things"]) == ("rater", 5, 0, {})
    assert client.post("/datasets", json={"name": "x"}, headers=bob).status_code == 403, (
        "a role counts at once"
    )
    script = client.post("/tokens", json={"name": "t", "scope": "all"}, headers=admin).json()["token"]
    by_token = {"Authorization": f"Bearer {script}"}
    assert client.get(path, headers=by_token).status_code == 200
    assert client.patch(path, json=body, headers=by_token).status_code == 403
    link = client.post(f"{path}/reset-link", headers=admin).json()["url"]
    answers = [
        client.post("/auth/reset", json={"token": link.partition("#")[2], "new": OTHER}).status_code
        for _ in range(2)
    ]
    assert answers == [204, 401]
    bob = log_in(client, "bob", OTHER)
    assert client.patch(path, json={"is_disabled": True}, headers=admin).json()["is_disabled"] is True
    assert client.get("/me", headers=bob).status_code == 401
    me = client.get("/me", headers=admin).json()["id"]
    assert client.patch(f"/users/{me}", json={"role": "viewer"}, headers=admin).status_code == 409
    assert client.delete(path, headers=admin).status_code == 204
    assert client.get(path, headers=admin).status_code == 404
    log = client.get("/audit", params={"object": "user", "action": "user"}, headers=admin).json()
    assert {line["action"] for line in log["items"]} == {"user.update", "user.reset_link", "user.delete"}
    text = client.get("/audit.csv", params={"who": "ada"}, headers=admin)
    assert text.headers["content-type"].startswith("text/csv")
    assert text.text.splitlines()[0] == "time,who,action,kind,id,name,times,details"
    assert client.get("/audit.csv", headers=bob).status_code == 401
