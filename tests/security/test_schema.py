"""The REST API asked everything that its description allows, and much that it does not, by Schemathesis.

No answer may be a server's fault, a status or a form that the description does not name. Usually the edges
of each field are asked, always the same ones; with `QLORA_STUDIO_SCHEMA_S`, as in `make security`, random
requests follow for that many seconds and each role.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.running import Server, sign_up, start_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
FUZZING_S = int(os.environ.get("QLORA_STUDIO_SCHEMA_S", "0"))
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
LEFT_OUT = {
    "POST /api/v1/auth/logout": "ends the session that the run goes by",
    "GET /api/v1/jobs/{job_id}/events": "streams until the job has ended",
}


@dataclass(frozen=True)
class Visitor:
    role: str
    token: str


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    nowhere = {
        "HF_HUB_OFFLINE": "1",
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "QLORA_STUDIO_URL_PORTS": "9",
        "QLORA_STUDIO_SMTP_HOST": "127.0.0.1",
        "QLORA_STUDIO_SMTP_PORT": "9",
        "QLORA_STUDIO_SMTP_FROM": "studio@localhost",
    }
    started = start_server(
        tmp_path_factory.mktemp("server"),
        QLORA_STUDIO_WORKER="toy",
        QLORA_STUDIO_TOY_STEP_S="0.01",
        **nowhere,
    )
    yield started
    started.stop()


@pytest.fixture(scope="module")
def tokens(server: Server) -> dict[str, str]:
    """A session of an admin, the first account, and one of a viewer."""
    found = {"admin": sign_up(server, "ada"), "viewer": sign_up(server, "vera")}
    with as_visitor(server, found["admin"]) as api:
        users = {user["username"]: user["id"] for user in api.get("/users").json()["items"]}
        api.patch(f"/users/{users['vera']}", json={"role": "viewer"}).raise_for_status()
    return found


@pytest.fixture(scope="module")
def things(server: Server, tokens: dict[str, str]) -> dict[str, list[str]]:
    """Ids of things that are there, of each kind, under the name that parameters have for them."""
    with as_visitor(server, tokens["admin"]) as api:
        dataset = create(api, "/datasets", {"name": "d", "source": {"kind": "example"}})
        model = create(api, "/models", {"source": {"kind": "starter"}})
        sounds = create(api, "/models", {"source": {"kind": "starter", "name": "sound"}})
        settle(api, f"/datasets/{dataset}", "ready")
        settle(api, f"/models/{model}", "ready")
        settle(api, f"/models/{sounds}", "ready")
        spec = {"name": "j", "dataset_id": dataset, "model_id": model, "optimization": {"max_steps": 20}}
        job = create(api, "/jobs", spec)
        settle(api, f"/jobs/{job}", "succeeded")
        api.patch("/queue", json={"is_paused": True}).raise_for_status()
        waiting = create(api, "/jobs", spec)
        made = create(api, "/generations", {"prompt": "rain", "model_id": sounds, "duration_s": 0.5})
        settle(api, f"/generations/{made}", "succeeded", "failed")
        shared = [f"/datasets/{dataset}", f"/models/{model}", f"/jobs/{job}"]
        adapters = [item["id"] for item in api.get("/adapters").json()["items"]]
        for path in shared + [f"/adapters/{adapter}" for adapter in adapters]:
            api.put(f"{path}/sharing", json={"sharing": "use"}).raise_for_status()
        api.patch(f"/generations/{made}", json={"sharing": "use"}).raise_for_status()
        clips = api.get(f"/datasets/{dataset}/clips", params={"page_size": 3}).json()["items"]
        takes = api.get(f"/generations/{made}").json()["takes"]
        return {
            "dataset_id": [dataset],
            "model_id": [model, sounds],
            "job_id": [job, waiting],
            "adapter_id": adapters,
            "clip_id": [clip["id"] for clip in clips],
            "generation_id": [made],
            "take_id": [take["id"] for take in takes],
        }


def as_visitor(server: Server, token: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=f"{server.base}/api/v1", headers=headers, timeout=60)


def create(api: httpx.Client, path: str, body: dict[str, Any]) -> str:
    return str(api.post(path, json=body).raise_for_status().json()["id"])


def settle(api: httpx.Client, path: str, *statuses: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while (now := api.get(path).raise_for_status().json())["status"] not in statuses:
        assert time.monotonic() < deadline, now
        time.sleep(0.2)


def write_config(folder: Path, things: dict[str, list[str]]) -> Path:
    """Have three of four ids be those of things that are there: a made-up one is only ever not found."""
    things = {name: ids for name, ids in things.items() if ids}
    lines = [f'hooks = "{Path(__file__).with_name("schema_hooks.py")}"']
    for name, ids in things.items():
        lines += [f"[dictionaries.{name}]", f"values = {json.dumps(ids)}"]
    lines.append("[parameters]")
    for name in things:
        for place in ("path", "query", "body"):
            lines.append(f'"{place}.{name}" = {{ dictionary = "{name}", probability = 0.75 }}')
    path = folder / "schemathesis.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("role", ["viewer", "admin"])
def test_every_answer_is_one_that_the_description_names(
    role: str, server: Server, tokens: dict[str, str], things: dict[str, list[str]], tmp_path: Path
) -> None:
    tool = Path(sys.executable).with_name("st")
    command = [str(tool), f"--config-file={write_config(tmp_path, things)}", "--no-color", "run"]
    command += [f"{server.base}/api/v1/openapi.json", f"--header=Authorization: Bearer {tokens[role]}"]
    command += ["--checks", ",".join(CHECKS), f"--max-time={FUZZING_S or 20}", "--request-timeout=60"]
    command += ["--continue-on-failure", "--workers=1"]
    command += (
        ["--phases=coverage,fuzzing"] if FUZZING_S else ["--phases=coverage", "--generation-deterministic"]
    )
    for operation in LEFT_OUT:
        command += ["--exclude-name", operation]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=3 * FUZZING_S + 300)
    print(f"\n--- as {role}\n{told.stdout[-4000:]}")
    assert told.returncode == 0, told.stdout + told.stderr[-2000:]
    with as_visitor(server, tokens[role]) as api:
        assert api.get("/me").status_code == 200, "the run has ended its own session"
