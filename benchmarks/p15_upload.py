"""P15: an upload through our server, against a plain handler that streams the same bytes to disk.

    python -m benchmarks.p15_upload [--megabytes 2048] [--repeats 5]

Both run under granian in a process of their own, get the same bytes over loopback by one connection, and
answer after the file is synced; each file is removed before the next is sent. Ours is the whole API behind
its gate (sign-in, owner, caps, resumable staging); pages are left out. Prints the growth of each server's
memory. Ends with 1 under the floor.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
import psutil

from scripts.ports import free_port

FLOOR, AIM = 0.6, 0.95
FLOOR_GROWTH_MB, AIM_GROWTH_MB = 64, 16
MB = 1 << 20
PASSWORD = "blue-harbour-42-rain"

_SERVE = """
import asyncio, os, sys
from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server.embed import Server

def serve(app):
    options = {"interface": Interfaces.ASGI, "log_level": LogLevels.error, "backlog": 1024}
    asyncio.run(Server(app, address="127.0.0.1", port=int(sys.argv[1]), **options).serve())
"""

PLAIN = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["method"] == "PUT":
        with open(os.path.join(os.environ["QLORA_STUDIO_DATA"], "upload"), "wb", buffering=0) as file:
            more = True
            while more:
                message = await receive()
                file.write(message.get("body", b""))
                more = message.get("more_body", False)
            os.fsync(file.fileno())
    await send({"type": "http.response.start", "status": 201, "headers": []})
    await send({"type": "http.response.body", "body": b""})

serve(app)
"""

OURS = """
from qlora_studio.api import build_api
from qlora_studio.api.security import Gate
from qlora_studio.db import migrations

migrations.upgrade()
serve(Gate(build_api()))
"""


class Side:
    """A server of its own process and data folder. `growth_mb` is the most its memory grew in an upload."""

    def __init__(self, code: str, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.port = free_port()
        environment = os.environ | {"QLORA_STUDIO_DATA": str(folder), "QLORA_STUDIO_PORT": str(self.port)}
        command = [sys.executable, "-c", _SERVE + code, str(self.port)]
        self._process = subprocess.Popen(command, env=environment)
        self.rates: list[float] = []
        self.growth_mb = 0.0
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=120)
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                self.client.get("/api/v1/health")
                return
            except httpx.HTTPError:
                time.sleep(0.1)
        raise SystemExit("a server did not start")

    def upload(self, path: str, headers: dict[str, str], n_bytes: int) -> None:
        """Send so many bytes, note the rate until the answer, and the memory meanwhile."""
        process = psutil.Process(self._process.pid)
        before, highest, done = process.memory_info().rss, 0, threading.Event()

        def watch() -> None:
            nonlocal highest
            while not done.wait(0.02):
                highest = max(highest, process.memory_info().rss)

        watcher = threading.Thread(target=watch)
        watcher.start()
        _settle(n_bytes)
        started = time.perf_counter()
        status = _put(self.port, path, headers, n_bytes)
        took = time.perf_counter() - started
        done.set()
        watcher.join()
        if status != 201:
            raise SystemExit(f"{path} was answered {status}")
        self.rates.append(n_bytes / MB / took)
        self.growth_mb = max(self.growth_mb, (highest - before) / MB)

    def stop(self) -> None:
        self.client.close()
        self._process.kill()
        self._process.wait()


def _settle(n_bytes: int) -> None:
    """Leave nothing of the side before: no bytes to be written, and as much memory at hand.

    A virtual machine gives freed memory back to its host and waits when it needs it again: writing the same
    bytes then takes up to four times as long, for whichever side comes first.
    """
    os.sync()
    _ = len(b"\1" * (n_bytes + (n_bytes >> 1)))


def _put(port: int, path: str, headers: dict[str, str], n_bytes: int) -> int:
    """PUT random bytes from one connection; returns the status."""
    piece = os.urandom(MB)
    lines = [f"PUT {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Content-Length: {n_bytes}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        for _ in range(n_bytes // MB):
            connection.sendall(piece)
        return int(connection.recv(4096).split()[1])


def _sign_in(side: Side) -> dict[str, str]:
    account = {"username": "ada", "email": "ada@example.org", "password": PASSWORD}
    side.client.post("/api/v1/auth/signup", json=account).raise_for_status()
    answer = side.client.post("/api/v1/auth/login", json={"login": "ada", "password": PASSWORD})
    return {"Authorization": f"Bearer {answer.raise_for_status().json()['token']}"}


def main() -> int:
    """Print the table; 0 when the floors hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        ours, plain = Side(OURS, Path(name) / "ours"), Side(PLAIN, Path(name) / "plain")
        try:
            return _compare(ours, plain, arguments)
        finally:
            ours.stop()
            plain.stop()


def _compare(ours: Side, plain: Side, arguments: argparse.Namespace) -> int:
    headers, n_bytes = _sign_in(ours), arguments.megabytes * MB
    print(f"{arguments.megabytes} MB over loopback, synced; MB a second")
    print(f"{'repeat':>6} {'ours':>8} {'plain':>8} {'ratio':>7} {'ours +MB':>9} {'plain +MB':>9} {'load':>6}")
    for number in range(arguments.repeats):
        body = {"name": f"d{number}", "task": "speech-to-text", "source": {"kind": "upload"}}
        dataset = ours.client.post("/api/v1/datasets", json=body, headers=headers).raise_for_status().json()
        path = f"/api/v1/datasets/{dataset['id']}/files/a.wav"
        for side in (ours, plain) if number % 2 else (plain, ours):
            if side is plain:
                plain.upload("/", {}, n_bytes)
                (plain.folder / "upload").unlink()
            else:
                ours.upload(path, headers, n_bytes)
                ours.client.delete(f"/api/v1/datasets/{dataset['id']}", headers=headers).raise_for_status()
        print(
            f"{number + 1:>6} {ours.rates[-1]:>8.0f} {plain.rates[-1]:>8.0f} "
            f"{ours.rates[-1] / plain.rates[-1]:>7.3f} {ours.growth_mb:>9.1f} {plain.growth_mb:>9.1f} "
            f"{os.getloadavg()[0]:>6.1f}",
            flush=True,
        )
    ratio = statistics.median(ours.rates) / statistics.median(plain.rates)
    print(f"median ratio {ratio:.3f} (floor {FLOOR}, aim {AIM}); our memory grew by {ours.growth_mb:.1f} MB "
          f"(floor {FLOOR_GROWTH_MB}, aim {AIM_GROWTH_MB})")  # fmt: skip
    return 0 if ratio >= FLOOR and ours.growth_mb <= FLOOR_GROWTH_MB else 1


if __name__ == "__main__":
    sys.exit(main())
