"""A whole studio without its pages, as a process to kill: REST API and supervisor on a port of its own."""

import os
from pathlib import Path
from typing import Any

import httpx

from scripts.ports import free_port
from tests.faults.harness import START_S, Zygote, is_gone, kill_and_wait, wait_for

PASSWORD = "blue-harbour-42-rain"


class StudioProcess:
    """The server of a data folder."""

    def __init__(self, zygote: Zygote, data: Path, env: dict[str, str]) -> None:
        self.data = data
        self.log = data / "server.log"
        self._zygote = zygote
        self.port = free_port()
        self._env = {"QLORA_STUDIO_PORT": str(self.port)} | env | {"QLORA_STUDIO_DATA": str(data)}
        self._env["STUDIO_PORT"] = str(self.port)
        self.pid: int | None = None

    def another(self) -> "StudioProcess":
        """One more on the same folder, at a port of its own."""
        env = {name: value for name, value in self._env.items() if name != "QLORA_STUDIO_PORT"}
        return StudioProcess(self._zygote, self.data, env)

    def start(self, **env: str) -> None:
        """Start it; it answers some tens of milliseconds later."""
        assert self.pid is None
        self.pid = self._zygote.fork("studio", self._env | env, self.log)

    def wait_until_it_answers(self) -> None:
        assert self.pid is not None
        pid = self.pid
        with self.client() as client:

            def answers() -> bool:
                assert not is_gone(pid), self.log.read_text()[-2000:]
                try:
                    return client.get("/jobs").status_code == 401
                except httpx.TransportError:
                    return False

            wait_for(answers, within_s=START_S, what="the server")

    def kill(self) -> None:
        """As `kill -9` does."""
        if self.pid is not None:
            kill_and_wait(self.pid)
            self.pid = None

    def client(self, token: str = "", *, timeout_s: float = 20.0) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        base = f"http://127.0.0.1:{self.port}/api/v1"
        return httpx.Client(base_url=base, headers=headers, timeout=timeout_s)

    def sign_up(self, name: str) -> str:
        """Make an account and return a token."""
        account = {"username": name, "email": f"{name}@example.org", "password": PASSWORD}
        with self.client() as client:
            client.post("/auth/signup", json=account).raise_for_status()
            answer = client.post("/auth/login", json={"login": name, "password": PASSWORD})
            return str(answer.raise_for_status().json()["token"])


def spec(dataset_id: str, model_id: str, name: str, steps: int, **changes: Any) -> dict[str, Any]:
    """The body of a launch."""
    body = {
        "name": name,
        "dataset_id": dataset_id,
        "model_id": model_id,
        "optimization": {"max_steps": steps, "batch_size": 2},
        "evaluation": {"every_steps": 10, "save_every_steps": 5},
    }
    return body | changes


def own_processes(data: Path) -> list[int]:
    """The processes whose command line names something in a data folder."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and int(path.name) != os.getpid():
            try:
                is_ours = str(data).encode() in (path / "cmdline").read_bytes()
            except OSError:
                continue
            if is_ours and not is_gone(int(path.name)):
                found.append(int(path.name))
    return found
