"""Passwords guessed at a running server: how many are looked at, who is locked out, what the answers tell."""

import math
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from qlora_studio.db.models import User
from scripts.running import PASSWORD, Server, sign_up
from tests.browser.takes import stored
from tests.security.peers import TIMED, from_peer

pytestmark = pytest.mark.slow
WRONG = "not-the-password-7"


def tried(api: httpx.Client, login: str, password: str = WRONG, **headers: str) -> httpx.Response:
    return api.post("/auth/login", json={"login": login, "password": password}, headers=headers)


@pytest.mark.attack(
    "A1",
    "1,000 guesses at one account, eight at a time, each with another X-Forwarded-For, then the right one",
    "429 before a password is looked at; the owner's session works on",
)
def test_a_thousand_guesses_are_a_handful(server: Server, saw: Callable[[str], None]) -> None:
    token = sign_up(server, "guessed")
    with from_peer(server, 1) as guesser, from_peer(server, 2, token) as owner:

        def guess(i: int) -> httpx.Response:
            claimed = f"10.{i % 200}.{i // 200}.1"
            more = {"X-Forwarded-For": claimed, "X-Real-IP": claimed, "Forwarded": f"for={claimed}"}
            return tried(guesser, "guessed", f"guess-number-{i}", **more)

        began = time.monotonic()
        with ThreadPoolExecutor(8) as several:
            answers = list(several.map(guess, range(1000)))
        took_s = time.monotonic() - began
        counts = Counter(answer.status_code for answer in answers)
        assert set(counts) == {401, 429}
        assert counts[401] <= 5 + math.log2(took_s + 2)  # five are free, then the wait doubles each time
        assert all(int(a.headers["retry-after"]) >= 1 for a in answers if a.status_code == 429)
        held_up = (guess(1000 + i).headers.get("retry-after", "0") for i in range(100))
        assert any(int(seconds) >= 2 for seconds in held_up), "the wait is not over just now"
        assert tried(guesser, "guessed", PASSWORD).status_code == 429
        assert owner.get("/me").json()["username"] == "guessed"
        assert owner.patch("/me", json={"name": "Still here"}).json()["name"] == "Still here"
        assert owner.get("/me/sessions").json()["total"] == 1  # the right guess was not told from the others
    saw(f"{counts[401]} of 1,000 passwords looked at, in {took_s:.0f} s")


@pytest.mark.attack(
    "A1", "one password sprayed over 200 names from one peer", "429 for the peer, other peers may"
)
def test_spraying_is_held_up_by_the_peer(server: Server, saw: Callable[[str], None]) -> None:
    sign_up(server, "sprayed")
    with from_peer(server, 3) as sprayer, from_peer(server, 4) as other:
        counts = Counter(tried(sprayer, f"user-{i}").status_code for i in range(200))
        assert set(counts) == {401, 429}
        assert counts[401] <= 40
        assert tried(sprayer, "sprayed", PASSWORD).status_code == 429
        assert tried(other, "sprayed", PASSWORD).status_code == 200
    saw(f"{counts[401]} of 200 looked at")


@pytest.mark.attack(
    "A1",
    "a victim locked out: guesses at one account, each from another peer",
    "who is signed in works on; the wait is bounded",
)
def test_a_victim_who_is_signed_in_works_on(server: Server, saw: Callable[[str], None]) -> None:
    token = sign_up(server, "victim")
    statuses: Counter[int] = Counter()
    wait_s, began = 0, time.monotonic()
    while wait_s < 6 or statuses.total() < 60:
        assert time.monotonic() < began + 60, "the wait does not grow"
        with from_peer(server, 100 + statuses.total()) as guesser:
            answer = tried(guesser, "victim")
        statuses[answer.status_code] += 1
        wait_s = int(answer.headers.get("retry-after", 0))
    assert statuses[401] <= 5 + math.log2(time.monotonic() - began + 2)
    with from_peer(server, 5, token) as victim:
        assert victim.get("/me").status_code == 200
        assert victim.patch("/me", json={"name": "Works on"}).status_code == 200
        anew = tried(victim, "victim", PASSWORD)
        assert anew.status_code == 429  # else the right one could be told by it
        wait_s = int(anew.headers["retry-after"])
        assert wait_s <= 301
        assert f"{wait_s}" in anew.json()["detail"] or "minutes" in anew.json()["detail"]
    saw(f"{statuses[401]} of {statuses.total()} looked at; a new login has to wait {wait_s} s")


@pytest.mark.attack(
    "A1", "the present password guessed from a stolen session", "429 after a few, counted with the logins"
)
def test_a_stolen_session_does_not_help_to_guess_the_password(server: Server) -> None:
    token = sign_up(server, "robbed")
    with from_peer(server, 6, token) as thief:
        statuses = [
            thief.post(
                "/me/password", json={"current": f"guess-{i}", "new": "another-harbour-17"}
            ).status_code
            for i in range(20)
        ]
        assert set(statuses) == {422, 429}
        assert statuses.count(422) <= 8
        right = {"current": PASSWORD, "new": "another-harbour-17"}
        assert thief.post("/me/password", json=right).status_code == 429


N_EACH = 16  # of each kind in a round
KINDS = ("with a password", "without one", "absent")


@TIMED
@pytest.mark.attack(
    "A2", "login with names that exist, with a password or without, and names that do not",
    "the same text; medians within 10 %",
)  # fmt: skip
def test_login_does_not_tell_who_has_an_account(server: Server, saw: Callable[[str], None]) -> None:
    sign_up(server, "known")
    took: dict[str, list[float]] = {kind: [] for kind in KINDS}
    told: set[tuple[object, ...]] = set()
    for round_number in range(5):  # more of them only where the machine is busy with other things
        names = {kind: f"{kind.replace(' ', '-')}-{round_number}" for kind in KINDS}
        logins = [(kind, f"{name}-{i}") for kind, name in names.items() for i in range(N_EACH)]
        add_accounts(server, [(login, kind == KINDS[0]) for kind, login in logins if kind != KINDS[2]])
        random.Random(round_number).shuffle(logins)
        for i, (kind, login) in enumerate(logins):
            with from_peer(server, 300 + round_number * len(logins) + i) as api:
                api.get("/auth/check")  # so that the connection is there
                began = time.perf_counter()
                answer = tried(api, login)
                took[kind].append(time.perf_counter() - began)
                headers = {k: v for k, v in answer.headers.items() if k != "date"}
                told.add((answer.status_code, answer.text, *sorted(headers.items())))
        medians = {kind: statistics.median(took[kind]) for kind in KINDS}
        apart = max(medians.values()) / min(medians.values()) - 1
        if apart < 0.1:
            break
    assert len(told) == 1, "an answer differs"
    times = ", ".join(f"{kind} {median * 1000:.0f} ms" for kind, median in medians.items())
    saw(f"{times}, of {len(took['absent'])} each")
    assert apart < 0.1, times


def add_accounts(server: Server, accounts: Sequence[tuple[str, bool]]) -> None:
    """Accounts that are there without a sign-up each, with a password or without one."""
    with stored(server, "known") as (session, known):
        session.add_all(
            User(
                username=name, username_key=name, email=f"{name}@example.org",
                email_key=f"{name}@example.org", password_hash=known.password_hash if has_one else "!",
            )
            for name, has_one in accounts
        )  # fmt: skip
