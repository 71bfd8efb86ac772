"""Two hundred clients that dawdle before a running server: others hardly notice, and memory stays bounded."""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psutil
import pytest

from scripts.running import ROOT, Server, sign_up, start_server
from tests.browser.desk import Desk
from tests.ingest import sounds
from tests.security.peers import TIMED, from_peer
from tests.security.socket_client import name_of
from tests.security.uploading import create, settled

pytestmark = pytest.mark.slow
MB = 1 << 20
NUMBER = 200
PATIENCE_S = 4.0
HEAD_S = 30.0  # for the head of a request, as the web server has it
MOST_STREAMS = 20
MEASURE_S = 6.0
UNNOTICED_MS = 10.0  # what nobody sees
MOST_TURNS = 5
CALM_PERCENT = 40.0
CASES = ("heads", "bodies", "sound", "zip", "events", "pages")


@dataclass
class Lab:
    """A server that runs a job which writes twenty points a second, and a large sound."""

    server: Server
    token: str
    job_id: str
    dataset_id: str
    clip_id: str

    def dawdlers(self, case: str) -> list[str]:
        """What the slow clients of this case are started with."""
        kind, path, more = {
            "heads": ("heads", "/ping", []),
            "bodies": ("bodies", "/api/v1/auth/login", []),
            "sound": ("readers", f"/api/v1/clips/{self.clip_id}/audio", []),
            "zip": ("readers", f"/api/v1/datasets/{self.dataset_id}/export?format=audiofolder", []),
            "events": ("readers", f"/api/v1/jobs/{self.job_id}/events", []),
            "pages": ("pages", f"/training/{self.job_id}", [name_of("job_state.load")]),
            "watchers": ("watchers", f"/training/{self.job_id}", [name_of("job_state.load")]),
        }[case]
        number = NUMBER // 4 if more else NUMBER  # one account has a hundred pages at most
        return [kind, str(self.server.port), str(number), self.token, path, *more]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    settings = {"WORKER": "toy", "TOY_STEP_S": "0.05", "MAX_BODY_S": PATIENCE_S}
    server = start_server(
        tmp_path_factory.mktemp("server"), **{f"QLORA_STUDIO_{k}": str(v) for k, v in settings.items()}
    )
    token = sign_up(server, "ada")
    desk = Desk(server, token)
    dataset_id = create(desk.api, "long")
    data = sounds.wav(1500.0, rate=16_000)
    desk.api.put(f"/datasets/{dataset_id}/files/long.wav", content=data).raise_for_status()
    desk.api.post(f"/datasets/{dataset_id}/ingest").raise_for_status()
    assert settled(desk.api, dataset_id)["status"] == "ready"
    clip_id = desk.api.get(f"/datasets/{dataset_id}/clips").json()["items"][0]["id"]
    job_id = desk.launch("long", 100_000)
    try:
        yield Lab(server, token, job_id, dataset_id, clip_id)
    finally:
        desk.api.post(f"/jobs/{job_id}/stop", json={"mode": "kill"})
        desk.api.close()
        server.stop()


@contextlib.contextmanager
def dawdling(lab: Lab, case: str) -> Iterator[dict[str, float]]:
    """The slow clients of a case at work; what became of them is known after it."""
    command = [sys.executable, "-m", "tests.security.slow_clients", *lab.dawdlers(case)]
    told: dict[str, float] = {}
    with subprocess.Popen(
        ["nice", "-n", "19", *command],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as clients:
        assert clients.stdout is not None
        assert clients.stdin is not None
        assert clients.stdout.readline() == "ready\n"
        yield told
        clients.stdin.close()
        told |= json.loads(clients.stdout.read())


def p95_ms(server: Server, token: str, seconds: float) -> dict[str, float]:
    """How long a ping and an authenticated read of somebody else take, over a new connection each."""
    took: dict[str, list[float]] = {"/ping": [], "/datasets": []}
    until = time.monotonic() + seconds
    while time.monotonic() < until or len(took["/ping"]) < 40:
        for path, times in took.items():
            with from_peer(server, 1, token) as api:
                url = f"http://127.0.0.1:{server.port}{path}" if path == "/ping" else path
                began = time.perf_counter()
                api.get(url).raise_for_status()
                times.append(time.perf_counter() - began)
        time.sleep(0.03)  # a person asks now and then
    return {path: 1000 * statistics.quantiles(times, n=20)[-1] for path, times in took.items()}


def keep_best(best: dict[str, float], found: dict[str, float]) -> None:
    """Keep the smaller figure of each path."""
    best |= {path: min(value, best.get(path, value)) for path, value in found.items()}


def wait_until_calm(process: psutil.Process) -> None:
    """Until what the clients have asked for at once is under way: as much would come of hasty ones."""
    deadline = time.monotonic() + 30
    process.cpu_percent()
    while time.monotonic() < deadline and process.cpu_percent(0.5) > CALM_PERCENT:
        pass


@TIMED
@pytest.mark.attack(
    "H1", "200 clients that dawdle", "others' p95 under twice normal, or under 10 ms; memory bounded"
)
@pytest.mark.parametrize("case", CASES)
def test_slow_clients_hurt_nobody_else(lab: Lab, case: str, saw: Callable[[str], None]) -> None:
    process, seconds = lab.server.serving, HEAD_S + 4 if case == "heads" else MEASURE_S
    normal: dict[str, float] = {}
    during: dict[str, float] = {}
    for _ in range(MOST_TURNS):  # a p95 of six seconds jumps: the best turn of each side counts
        # Pages that watch a job are work, read or unread: they are held against as many that do read.
        with dawdling(lab, "watchers") if case == "pages" else contextlib.nullcontext():
            wait_until_calm(process)
            keep_best(normal, p95_ms(lab.server, lab.token, MEASURE_S))
            before = process.memory_info().rss
        with dawdling(lab, case) as told:
            wait_until_calm(process)
            keep_best(during, p95_ms(lab.server, lab.token, seconds))
            held = process.memory_info().rss
        if is_fine := all(during[path] < max(2 * normal[path], UNNOTICED_MS) for path in normal):
            break
    figures = ", ".join(f"{path} {during[path]:.0f} ms (normally {normal[path]:.0f})" for path in normal)
    line = f"{case}: {figures}; server {held / MB:.0f} MB ({(held - before) / MB:+.0f}); {told}"
    saw(line)
    print(line)
    assert is_fine, line
    assert held - before < 200 * MB
    if case in ("heads", "bodies"):
        assert told["ended"] == NUMBER, line
        assert told["last_s"] < (HEAD_S if case == "heads" else PATIENCE_S) + 10
    if case in ("zip", "events"):
        assert told["refused"] == NUMBER - MOST_STREAMS, line
