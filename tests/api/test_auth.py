from pathlib import Path

import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from pydantic import BaseModel
from sqlmodel import Session, func, select
from starlette.responses import PlainTextResponse

from qlora_studio.api import Dispatch, build_api
from qlora_studio.api.idempotency import IdempotencyHeader, create_once
from qlora_studio.api.security import CurrentUser, Gate, local_path
from qlora_studio.core.session_cookie import session_cookie_name
from qlora_studio.db.models import AuditEvent, User
from qlora_studio.services import audit, passwords

PASSWORD = "blue-harbour-42-rain"
BASE = "http://localhost:3000"
OWN = {"Origin": BASE}


class Thing(BaseModel):
    name: str


@pytest.fixture(autouse=True)
def _quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    passwords._nobody_hash.cache_clear()


@pytest.fixture
def api(data_folder: Path) -> FastAPI:
    api = build_api()
    made = things_api()
    api.router.routes[:0] = made.routes
    return api


def things_api() -> FastAPI:
    """A resource that only this test has, to try what every resource uses."""
    things = FastAPI()

    @things.post("/api/v1/things", status_code=201)
    def create(body: Thing, request: Request, user: CurrentUser, key: IdempotencyHeader = None):
        def make(session: Session) -> Thing:
            audit.record(session, actor=user, action="thing.create", object_name=body.name)
            return body

        return create_once(user=user, key=key, request=request, body=body, create=make)

    @things.get("/api/v1/broken")
    def broken() -> None:
        raise RuntimeError("secret detail")

    return things


@pytest.fixture
def client(api: FastAPI) -> TestClient:
    pages = PlainTextResponse("page")
    app = Gate(Dispatch(pages, api))
    return TestClient(app, base_url=BASE, raise_server_exceptions=False, follow_redirects=False)


@pytest.fixture
def token(client: TestClient) -> str:
    body = {"username": "ada", "email": "ada@example.org", "password": PASSWORD}
    assert client.post("/api/v1/auth/signup", json=body).status_code == 201
    answer = client.post("/api/v1/auth/login", json={"login": "ada", "password": PASSWORD})
    assert answer.status_code == 200
    client.cookies.clear()
    return answer.json()["token"]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_signup_login_me_logout(client: TestClient) -> None:
    body = {"username": "ada", "email": "ada@example.org", "password": PASSWORD}
    made = client.post("/api/v1/auth/signup", json=body)
    assert made.status_code == 201
    assert made.json()["role"] == "admin"
    assert "password" not in made.text
    answer = client.post("/api/v1/auth/login", json={"login": "ADA", "password": PASSWORD})
    assert set(answer.json()) == {"token", "expires_at", "user"}
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    token = answer.json()["token"]
    assert client.get("/api/v1/me").json()["username"] == "ada"  # by cookie
    client.cookies.clear()
    assert client.get("/api/v1/me", headers=bearer(token)).status_code == 200
    assert client.post("/api/v1/auth/logout", headers=bearer(token)).status_code == 204
    assert client.get("/api/v1/me", headers=bearer(token)).status_code == 401


def test_signing_in_again_ends_the_browsers_old_session(client: TestClient, token: str) -> None:
    client.cookies.set(session_cookie_name(), token)
    again = client.post("/api/v1/auth/login", json={"login": "ada", "password": PASSWORD}, headers=OWN)
    assert again.json()["token"] != token
    client.cookies.clear()
    assert client.get("/api/v1/me", headers=bearer(token)).status_code == 401


def test_problems(client: TestClient, token: str) -> None:
    taken = {"username": "ADA", "email": "new@example.org", "password": PASSWORD}
    for answer, status, field in [
        (client.post("/api/v1/auth/signup", json=taken), 409, "username"),
        (
            client.post("/api/v1/auth/signup", json={**taken, "username": "bob", "password": "weak"}),
            422,
            "password",
        ),
        (client.post("/api/v1/auth/login", json={"login": "ada", "password": "wrong"}), 401, None),
        (client.post("/api/v1/auth/login", json={"login": "ada"}), 422, "password"),
        (
            client.post("/api/v1/auth/login", json={"login": "a", "password": "b", "role": "admin"}),
            422,
            "role",
        ),
        (client.get("/api/v1/me"), 401, None),
        (client.get("/api/v1/nothing", headers=bearer(token)), 404, None),
        (client.get("/api/nothing"), 404, None),
        (client.get("/api/v1/broken"), 500, None),
    ]:
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert set(problem) >= {"type", "title", "status", "detail", "errors"}
        assert [e["field"] for e in problem["errors"]] == ([field] if field else [])
        assert "secret" not in answer.text


def test_too_many_tries_say_when_to_come_back(client: TestClient, token: str) -> None:
    for _ in range(6):
        answer = client.post("/api/v1/auth/login", json={"login": "ada", "password": "wrong"})
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert client.get("/api/v1/me", headers=bearer(token)).status_code == 200


def test_live_check_of_names(client: TestClient, token: str) -> None:
    answer = client.get("/api/v1/auth/check", params={"username": "Ada", "email": "free@example.org"})
    assert set(answer.json()["errors"]) == {"username"}


@pytest.mark.parametrize("path", ["/api/v1/me", "/login", "/"])
def test_foreign_hosts_and_origins_are_refused(client: TestClient, path: str) -> None:
    assert client.get(path, headers={"Host": "evil.example"}).status_code == 400
    for origin in (
        "http://evil.example",
        "null",
        "http://localhost:9999",
        "https://localhost:3000.evil.example",
    ):
        answer = client.get(path, headers={"Origin": origin})
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


def test_cookie_needs_an_origin_to_change_things_and_a_bearer_does_not(
    client: TestClient, token: str
) -> None:
    assert client.post("/api/v1/things", json={"name": "x"}, headers=bearer(token)).status_code == 201
    client.cookies.set(session_cookie_name(), token)
    assert client.post("/api/v1/things", json={"name": "x"}).status_code == 403
    assert client.post("/api/v1/things", json={"name": "x"}, headers=OWN).status_code == 201


def test_idempotency_key_makes_nothing_twice(client: TestClient, token: str, session: Session) -> None:
    def send(name: str, key: str) -> tuple[int, object]:
        answer = client.post(
            "/api/v1/things", json={"name": name}, headers={**bearer(token), "Idempotency-Key": key}
        )
        return answer.status_code, answer.json()

    first = send("one", "k1")
    assert send("one", "k1") == first == (201, {"name": "one"})
    assert send("two", "k1")[0] == 409
    assert send("two", "k2")[0] == 201
    made = select(func.count()).select_from(AuditEvent).where(AuditEvent.action == "thing.create")
    assert session.exec(made).one() == 2


def test_pages_ask_to_sign_in_and_come_back(client: TestClient, token: str) -> None:
    answer = client.get("/datasets/ds_1?split=test")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=/datasets/ds_1%3Fsplit%3Dtest"
    assert client.get("/login").status_code == 200
    client.cookies.set(session_cookie_name(), token)
    assert client.get("/datasets").text == "page"
    assert client.get("/login?next=/models").headers["location"] == "/models"
    assert client.get("/login?next=//evil.example").headers["location"] == "/"


def test_security_headers_and_closed_mounts(client: TestClient, token: str) -> None:
    page = client.get("/login")
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert "unsafe-inline" not in page.headers["content-security-policy"].split("style-src")[0]
    for answer in (page, client.get("/api/v1/me", headers=bearer(token))):
        assert answer.headers["x-content-type-options"] == "nosniff"
    for path in ("/_upload", "/_upload/x.txt", "/_all_routes"):
        assert client.get(path).status_code == 404
        assert client.post(path, files={"files": b"x"}).status_code == 404


@pytest.mark.parametrize(
    "wanted",
    [
        "//evil.example",
        "http://evil.example",
        "/\\evil",
        "javascript:alert(1)",
        "/a\r\nX: y",
        "",
        "x",
        "/api/v1/me",
    ],
)
def test_only_local_paths_are_returned_to(wanted: str) -> None:
    assert local_path(wanted) == "/"


def test_stored_user_is_the_only_one(client: TestClient, token: str, session: Session) -> None:
    assert [u.username for u in session.exec(select(User))] == ["ada"]
