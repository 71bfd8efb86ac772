"""The documented systemd unit: systemd finds no fault with it, and its server does what it relies on."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.ports import free_port
from scripts.running import ROOT, Server, sign_up
from tests.browser.desk import Desk
from tests.faults.harness import wait_for

UNIT = ROOT / "docs/deployment/qlora-studio.service"
PROGRAMS = "/opt/qlora-studio/.venv/bin"
ANALYZE = shutil.which("systemd-analyze")
OF_SYSTEMD = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def lines() -> dict[str, str]:
    """The unit's settings."""
    found = [line.partition("=") for line in UNIT.read_text().splitlines() if not line.startswith(("#", "["))]
    return {key: value for key, _, value in found if key}


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not here; on Debian: apt-get install systemd")
def test_systemd_finds_no_fault_with_it(tmp_path: Path) -> None:
    assert ANALYZE is not None

    def complaints(text: str) -> str:
        unit = tmp_path / UNIT.name
        unit.write_text(text.replace(PROGRAMS, str(Path(sys.executable).parent)))
        made = subprocess.run([ANALYZE, "verify", unit], capture_output=True, text=True, check=False)
        return made.stdout + made.stderr

    sample = UNIT.read_text()
    assert complaints(sample) == ""
    assert "KillMod" in complaints(sample.replace("KillMode", "KillMod")), "it says nothing about anything"


def test_a_restart_of_the_unit_leaves_jobs_alone() -> None:
    """Also `mixed` would kill what is left of the control group once the main process has ended."""
    unit = lines()
    assert unit["KillMode"] == "process"
    assert unit["OOMPolicy"] == "continue"
    assert "PrivateTmp" not in unit, "jobs would lose their /tmp with the unit"
    assert "RuntimeMaxSec" not in unit


@contextlib.contextmanager
def started(data_path: Path, port: int, **settings: str) -> Iterator[Server]:
    """What systemd runs: the ExecStart line, with nothing in its environment but what the unit gives it."""
    program, *arguments = lines()["ExecStart"].split()
    program = program.replace(PROGRAMS, str(Path(sys.executable).parent))
    settings = {"DATA": str(data_path), "PORT": str(port), "WORKER": "toy", **settings}
    env = {f"QLORA_STUDIO_{key}": value for key, value in settings.items()}
    env |= {"PATH": OF_SYSTEMD, "HOME": str(data_path.parent), "PYTHONPATH": str(ROOT)}
    with (data_path.parent / "journal").open("ab") as journal:
        process = subprocess.Popen(
            [program, *arguments],
            cwd=ROOT,
            env=env,
            umask=int(lines()["UMask"], 8),
            stdin=subprocess.DEVNULL,
            stdout=journal,
            stderr=subprocess.STDOUT,
        )
    server = Server(process, port, data_path)
    try:
        wait_for(lambda: is_answering(server), within_s=300, what="an answer")  # the pages may be built first
        yield server
    finally:
        server.stop()


def is_answering(server: Server) -> bool:
    assert server.process.poll() is None, (server.data_path.parent / "journal").read_text()[-3000:]
    try:
        return httpx.get(f"{server.base}/ping", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.slow
def test_a_job_goes_on_over_a_restart(tmp_path: Path) -> None:
    data_path, port, stop_s = tmp_path / "data", free_port(), float(lines()["TimeoutStopSec"])
    data_path.mkdir(mode=0o700)
    with started(data_path, port, TOY_STEP_S="0.05") as server, contextlib.ExitStack() as stack:
        token = sign_up(server, "ada")
        desk = Desk(server, token)
        stack.callback(desk.api.close)
        job_id = desk.launch("long", 2_000)
        wait_for(lambda: seen(desk.api, job_id)["step"], within_s=30, what="the first step")
        stream = stack.enter_context(desk.api.stream("GET", f"/jobs/{job_id}/events"))
        assert stream.status_code == 200  # what is open doesn't hold the server back
        server.process.send_signal(signal.SIGTERM)  # to the main process only: KillMode=process
        took_s = wait_for(lambda: server.process.poll() is not None, within_s=stop_s, what="the end")
        assert server.process.returncode == 0
        print(f"stopped {took_s:.2f} s after SIGTERM; {stop_s:.0f} are allowed")
    headers = {"Authorization": f"Bearer {token}"}
    with (
        started(data_path, port) as server,
        httpx.Client(base_url=f"{server.base}/api/v1", headers=headers, timeout=30) as api,
    ):
        wait_for(lambda: seen(api, job_id)["status"] == "running", within_s=10, what="adopted")
        before = seen(api, job_id)
        assert before["attempt"] == 1
        wait_for(lambda: seen(api, job_id)["step"] > before["step"], within_s=10, what="a next step")
        api.post(f"/jobs/{job_id}/stop", json={"mode": "kill"}).raise_for_status()
        wait_for(lambda: seen(api, job_id)["status"] == "stopped", within_s=30, what="stopped")


def seen(api: httpx.Client, job_id: str) -> dict[str, Any]:
    job = api.get(f"/jobs/{job_id}").raise_for_status().json()
    return {"status": job["status"], "attempt": job["attempt"], "step": job["progress"]["step"]}


def test_its_environment_is_all_there() -> None:
    """Every setting that the page about it names is one."""
    from qlora_studio.core.settings import Settings

    text = (ROOT / "docs/deployment.md").read_text()
    named = {word.strip("`") for word in text.split() if word.startswith("`QLORA_STUDIO_")}
    assert {name.removeprefix("QLORA_STUDIO_").lower() for name in named} <= set(Settings.model_fields)
    assert os.path.isabs(lines()["EnvironmentFile"])
