"""What a stolen database and old or planted sessions are worth at a running server."""

import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from sqlmodel import col, select

from qlora_studio.core.clock import utc_now
from qlora_studio.db.models import AuthSession
from scripts.running import PASSWORD, Server, sign_up, start_server
from tests.browser.takes import stored
from tests.security.peers import from_peer
from tests.security.socket_client import EventSocket, name_of
from tests.security.uploading import create

pytestmark = pytest.mark.slow
TAB = "22222222-3333-4444-8555-666666666666"
SECRET = "molybdenum"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = start_server(tmp_path_factory.mktemp("server"), QLORA_STUDIO_SLOTS="0")
    sign_up(started, "boss")  # the first account is the admin's, which the others are not
    yield started
    started.stop()


@pytest.fixture
def boss(server: Server) -> Iterator[httpx.Client]:
    with from_peer(server, 1) as api:
        answer = api.post("/auth/login", json={"login": "boss", "password": PASSWORD}).raise_for_status()
        api.cookies.clear()
        api.headers["Authorization"] = f"Bearer {answer.json()['token']}"
        yield api


def cookie(server: Server, token: str) -> dict[str, str]:
    return {"Cookie": f"studio_session_{server.port}={token}"}


def is_let_in(server: Server, token: str) -> bool:
    """Whether the token opens anything: as a bearer's, as a cookie, at a page. All say the same."""
    api = f"{server.base}/api/v1/me"
    answers = [
        httpx.get(api, headers={"Authorization": f"Bearer {token}"}).status_code == 200,
        httpx.get(api, headers=cookie(server, token)).status_code == 200,
        httpx.get(f"{server.base}/datasets", headers=cookie(server, token)).status_code == 200,
    ]
    assert len(set(answers)) == 1, answers
    return answers[0]


class Tab:
    """An open page of a person who owns one dataset named after `SECRET`."""

    def __init__(self, server: Server, token: str) -> None:
        with from_peer(server, 2, token) as api:
            create(api, SECRET)
        self._socket = EventSocket(server, token=TAB, cookie=token)
        self._n_seen = 0
        assert SECRET in self.look(), "the page shows nothing while the session lives"

    def look(self) -> str:
        """Load the list of datasets over the open socket; returns what has come since the last look."""
        self._socket.send(name_of("datasets_state.load"), {}, "/datasets")
        self._socket.collect(quiet_s=1.5)
        new, self._n_seen = self._socket.frames[self._n_seen :], len(self._socket.frames)
        return "\n".join(new)

    def close(self) -> None:
        self._socket.close()


def end_by_log_out(server: Server, token: str, boss: httpx.Client) -> None:
    with from_peer(server, 3, token) as api:
        api.post("/auth/logout").raise_for_status()


def end_by_new_password(server: Server, token: str, boss: httpx.Client) -> None:
    with from_peer(server, 3, token) as old:
        name = old.get("/me").json()["username"]
    with from_peer(server, 4) as api:
        other = api.post("/auth/login", json={"login": name, "password": PASSWORD}).json()["token"]
    with from_peer(server, 4, other) as api:
        form = {"current": PASSWORD, "new": "another-harbour-17"}
        assert api.post("/me/password", json=form).raise_for_status().json() == {"sessions_ended": 1}


def end_by_disabling(server: Server, token: str, boss: httpx.Client) -> None:
    boss.patch(f"/users/{_id_of(server, token)}", json={"is_disabled": True}).raise_for_status()


def end_by_deletion(server: Server, token: str, boss: httpx.Client) -> None:
    heir = {"heir_id": boss.get("/me").json()["id"]}
    boss.delete(f"/users/{_id_of(server, token)}", params=heir).raise_for_status()


def end_by_idling(server: Server, token: str, boss: httpx.Client) -> None:
    _move(server, token, "last_seen_at", utc_now() - timedelta(days=8))


def end_by_age(server: Server, token: str, boss: httpx.Client) -> None:
    _move(server, token, "expires_at", utc_now() - timedelta(seconds=1))


def _id_of(server: Server, token: str) -> str:
    with from_peer(server, 3, token) as api:
        return str(api.get("/me").json()["id"])


def _move(server: Server, token: str, field: str, to: object) -> None:
    """As if time had passed."""
    user_id = _id_of(server, token)
    with stored(server, "boss") as (session, _):
        for row in session.exec(select(AuthSession).where(col(AuthSession.user_id) == user_id)):
            setattr(row, field, to)


@pytest.mark.attack(
    "A4",
    "an old session and an open page, after log-out, a new password, disabling, deletion, idle time, age",
    "dead at once: bearer, cookie, page and open socket",
)
@pytest.mark.parametrize(
    "end",
    [end_by_log_out, end_by_new_password, end_by_disabling, end_by_deletion, end_by_idling, end_by_age],
    ids=lambda end: end.__name__.removeprefix("end_by_"),
)
def test_a_session_that_has_ended_opens_nothing(
    server: Server,
    boss: httpx.Client,
    end: Callable[[Server, str, httpx.Client], None],
    saw: Callable[[str], None],
) -> None:
    name = end.__name__.removeprefix("end_by_").replace("_", "-")
    token = sign_up(server, f"p-{name}")
    tab = Tab(server, token)
    assert is_let_in(server, token)
    end(server, token, boss)
    assert not is_let_in(server, token)
    seen = tab.look()
    tab.close()
    assert "/login" in seen, "the open page is not sent to sign in"
    assert SECRET not in seen
    saw(name.replace("-", " "))


@pytest.mark.attack(
    "A4", "a session planted in the victim's browser before the log-in, made up or the attacker's own",
    "the id is rotated; the planted one is worth nothing",
)  # fmt: skip
def test_a_planted_session_is_replaced_at_the_log_in(server: Server) -> None:
    sign_up(server, "planted")
    for planted in ("planted-by-somebody-else-0123456789abcdefghi", sign_up(server, "planter")):
        with httpx.Client(base_url=server.base, headers={"Origin": server.base}, timeout=30) as browser:
            form = {"login": "planted", "password": PASSWORD}
            answer = browser.post("/api/v1/auth/login", json=form, headers=cookie(server, planted))
            given = answer.raise_for_status().cookies[f"studio_session_{server.port}"]
        assert given == answer.json()["token"] != planted
        assert is_let_in(server, given)
        assert not is_let_in(server, planted)
        again = httpx.post(f"{server.base}/api/v1/auth/login", json=form, timeout=30).json()["token"]
        assert again not in {given, planted}


@pytest.mark.attack("A4", "a session's id in an address, or another's port's cookie", "not taken")
def test_a_session_is_taken_from_its_own_cookie_only(server: Server) -> None:
    token = sign_up(server, "misplaced")
    name = f"studio_session_{server.port}"
    for headers, query in (
        ({}, {name: token, "token": token, "access_token": token}),
        ({"Cookie": f"studio_session_1={token}"}, {}),
        ({"X-Session": token, "Authorization": f"Basic {token}"}, {}),
    ):
        assert httpx.get(f"{server.base}/api/v1/me", headers=headers, params=query).status_code == 401
    assert is_let_in(server, token)


@pytest.mark.attack(
    "A3", "the database file stolen, every text in it offered as token, cookie and password",
    "argon2id and SHA-256 only: no usable credential",
)  # fmt: skip
def test_a_stolen_database_holds_no_usable_credential(
    server: Server, boss: httpx.Client, tmp_path: Path, saw: Callable[[str], None]
) -> None:
    session_token = sign_up(server, "stolen")
    with from_peer(server, 7, session_token) as api:
        user_id = api.get("/me").json()["id"]
        script = (
            api.post("/tokens", json={"name": "script", "scope": "all"}).raise_for_status().json()["token"]
        )
        hub = {"kind": "hub", "name": "hub", "token": "hf_tungstenTungstenTungsten"}
        api.post("/credentials", json=hub).raise_for_status()
        hook = {"kind": "webhook", "target": "https://example.com/hook"}
        hook_secret = api.post("/notification-channels", json=hook).raise_for_status().json().get("secret")
    link = boss.post(f"/users/{user_id}/reset-link").raise_for_status().json()["url"].rpartition("#")[2]
    secrets = [PASSWORD, session_token, script, link, link.rpartition("=")[2], hub["token"], hook_secret]
    assert all(secret and len(secret) > 15 for secret in secrets), "a secret is missing: nothing to look for"
    for name in ("studio.db", "studio.db-wal", "studio.db-shm"):
        if (server.data_path / name).exists():
            shutil.copyfile(server.data_path / name, tmp_path / name)
            content = (tmp_path / name).read_bytes()
            assert not [s for s in secrets if s.encode() in content], f"in the clear in {name}"
    with sqlite3.connect(tmp_path / "studio.db") as thiefs:
        tables = [name for (name,) in thiefs.execute("select name from sqlite_master where type = 'table'")]
        texts = {
            cell
            for table in tables
            for row in thiefs.execute(f'select * from "{table}"')
            for cell in row
            if isinstance(cell, str) and 8 <= len(cell) <= 1024
        }
        hashes = [h for (h,) in thiefs.execute("select password_hash from user")]
        kept = [h for t in ("auth_session", "api_token", "password_reset")
                for (h,) in thiefs.execute(f"select token_hash from {t}")]  # fmt: skip
    thiefs.close()
    assert hashes
    assert all(h.startswith("$argon2id$") or h == "!" for h in hashes)  # deleted accounts have none
    assert len(kept) >= 3
    assert all(re.fullmatch(r"[0-9a-f]{64}", h) for h in kept)
    offered = sorted(text for text in texts if text.isascii() and text.isprintable())
    with from_peer(server, 8) as thief:
        for text in offered:
            assert thief.get("/me", headers={"Authorization": f"Bearer {text}"}).status_code == 401, text
        for text in [*kept, *hashes]:
            assert thief.get("/me", headers=cookie(server, text)).status_code == 401
            new = {"token": text, "new": "another-harbour-17"}
            assert thief.post("/auth/reset", json=new).status_code in {401, 422}
    for i, text in enumerate([kept[0], next(h for h in hashes)]):
        with from_peer(server, 20 + i) as thief:
            assert thief.post("/auth/login", json={"login": "stolen", "password": text}).status_code == 401
    assert is_let_in(server, session_token)  # what the thief lacks
    saw(f"{len(offered)} texts of {len(tables)} tables offered, {len(kept) + len(hashes)} hashes as cookies")
