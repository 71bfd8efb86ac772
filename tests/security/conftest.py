"""A server for each module of attacks, and one that those of files, addresses and texts are made on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from scripts.running import Server, sign_up, start_server

TOKEN_OF_THE_SERVER = "hf_" + "ServersOwnToken1" * 2
KEY_OF_THE_SERVER = "AKIA" + "SERVERSOWNKEY123"
SECRET_OF_THE_SERVER = "servers-own-cloud-secret"
MAX_DATASETS, MAX_MODELS, MAX_JOBS = 12, 40, 6


@dataclass
class Lab:
    """A running server with the toy worker; models are registered from `models` only."""

    server: Server
    models: Path
    admin: httpx.Client
    join: Callable[[str], httpx.Client]

    def held_bytes(self, username: str) -> int:
        """What counts against an account's limit."""
        accounts = self.admin.get("/users", params={"query": username}).raise_for_status().json()["items"]
        return int(next(a["held_bytes"] for a in accounts if a["username"] == username))

    def peak_memory(self) -> int:
        """The most bytes of memory that the serving process has ever had."""
        status = Path(f"/proc/{self.server.serving.pid}/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that starts no jobs; modules that want other settings have their own."""
    started = start_server(tmp_path_factory.mktemp("server"), QLORA_STUDIO_SLOTS="0")
    yield started
    started.stop()


@pytest.fixture(scope="module")
def api(server: Server) -> Iterator[httpx.Client]:
    """The REST API as ada, the first account and so the admin."""
    headers = {"Authorization": f"Bearer {sign_up(server, 'ada')}"}
    with httpx.Client(base_url=f"{server.base}/api/v1", headers=headers, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    models = folder / "models"
    models.mkdir()
    server = start_server(
        folder / "data",
        QLORA_STUDIO_WORKER="toy",
        QLORA_STUDIO_MODEL_ROOTS=str(models),
        QLORA_STUDIO_MAX_DATASETS_PER_USER=str(MAX_DATASETS),
        QLORA_STUDIO_MAX_MODELS_PER_USER=str(MAX_MODELS),
        QLORA_STUDIO_MAX_QUEUED_JOBS=str(MAX_JOBS),
        HF_TOKEN=TOKEN_OF_THE_SERVER,
        AWS_ACCESS_KEY_ID=KEY_OF_THE_SERVER,
        AWS_SECRET_ACCESS_KEY=SECRET_OF_THE_SERVER,
        FSSPEC_S3_KEY=KEY_OF_THE_SERVER,
        FSSPEC_S3_SECRET=SECRET_OF_THE_SERVER,
    )
    clients: list[httpx.Client] = []

    def join(username: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {sign_up(server, username)}"}
        clients.append(httpx.Client(base_url=f"{server.base}/api/v1", headers=headers, timeout=90))
        return clients[-1]

    try:
        yield Lab(server, models, join("chief"), join)
    finally:
        for client in clients:
            client.close()
        server.stop()
