"""Floods from one peer at a running server: it is held up, and others hardly notice."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from scripts.running import ROOT, Server, sign_up
from tests.security.peers import TIMED, from_peer
from tests.security.socket_client import EventSocket, name_of

pytestmark = pytest.mark.slow
SECONDS = 8.0
MB = 1 << 20
TAB = "33333333-4444-4555-8666-777777777777"


class Other:
    """Somebody else at work: an event of an open page, a request over a new connection, in turn."""

    def __init__(self, server: Server) -> None:
        self._server, self._token = server, sign_up(server, "ada")
        self._socket = EventSocket(server, token=TAB, cookie=self._token)
        self._load = name_of("datasets_state.load")
        for _ in range(5):
            self._turn()

    def p95(self, seconds: float) -> float:
        """How long most of what is asked takes, in seconds."""
        until, took = time.monotonic() + seconds, []
        while time.monotonic() < until or len(took) < 20:  # longer where the machine is busy
            assert time.monotonic() < until + 60, f"only {len(took)} answers"
            began = time.perf_counter()
            self._turn()
            took.append(time.perf_counter() - began)
            time.sleep(0.05)  # a person asks now and then
        return statistics.quantiles(took, n=20)[-1]

    def _turn(self) -> None:
        self._socket.ask(self._load, "/datasets")
        with from_peer(self._server, 1, self._token) as api:
            api.get("/datasets").raise_for_status()

    def close(self) -> None:
        self._socket.close()


def flood(server: Server, kind: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.security.flood", str(server.port), kind, str(SECONDS)]
    nicer = ["nice", "-n", "19"]  # another machine's cores would not be the server's
    return subprocess.Popen(
        [*nicer, *command],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


@TIMED
@pytest.mark.attack(
    "S6",
    "10,000 events a second, frames of 1 MB, 2,000 sockets, from one peer",
    "limited; others' p95 under twice normal",
)
def test_a_flood_from_one_peer_is_held_up(server: Server, saw: Callable[[str], None]) -> None:
    other, process = Other(server), server.serving
    before = process.memory_info().rss
    told: dict[str, dict[str, float]] = {}
    for kind in ("events", "frames", "sockets", "silent"):
        for _ in range(3):  # again where the machine is busy with other things
            normal = other.p95(SECONDS / 2)
            with flood(server, kind) as attacker:
                time.sleep(1.0)
                during = other.p95(SECONDS - 2)
                out, _ = attacker.communicate(timeout=60)
            told[kind] = json.loads(out)
            if during < 2 * normal:
                break
        saw(f"{kind}: p95 of others {during * 1000:.0f} ms, normally {normal * 1000:.0f}")
        assert during < 2 * normal, kind
    other.close()
    grown = process.memory_info().rss - before
    saw(f"{told['sockets'].get('101', 0):.0f} of 2,000 sockets open; {grown / MB:.0f} MB more memory")
    assert told["events"]["sent"] >= 5_000, "that was no flood"
    assert 0 < told["sockets"].get("101", 0) <= 100
    assert grown < 300 * MB
