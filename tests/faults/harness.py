"""A real supervisor process to kill, real workers to watch, and the records they leave."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qlora_studio.contracts.enums import TERMINAL_STATUSES, JobStatus
from qlora_studio.db.engine import read
from qlora_studio.db.models import Job
from qlora_studio.jobs import metrics
from qlora_studio.storage import layout

DETECTED_WITHIN_S = 5.0
ADOPTED_WITHIN_S = 3.0
STOPPED_WITHIN_S = 30.0
START_S = 15.0  # a Python process on a busy machine


class SupervisorProcess:
    """`python -m qlora_studio.jobs.supervisor` on this test's data folder, with the toy worker."""

    def __init__(self, env: dict[str, str]) -> None:
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **env: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "qlora_studio.jobs.supervisor"],
            env=os.environ | self._env | env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        """Kill it as a power cut would: nothing is told to it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def wait_until_it_works(self) -> None:
        """Wait until it holds the lock of the data folder."""
        process = self._process
        assert process is not None

        def holds_lock() -> bool:
            with contextlib.suppress(OSError, ValueError):
                return int((layout.data_path() / "supervisor.lock").read_text()) == process.pid
            return False

        wait_for(holds_lock, within_s=START_S, what="the supervisor")


def wait_for(condition: Callable[[], Any], *, within_s: float, what: str) -> float:
    """Wait until the condition holds; return the seconds that took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < within_s, f"not within {within_s} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - started


def load(job_id: str) -> Job:
    with read() as session:
        return session.get_one(Job, job_id)


def wait_for_status(job_id: str, *statuses: JobStatus, within_s: float = 40.0) -> Job:
    wait_for(lambda: load(job_id).status in statuses, within_s=within_s, what=f"{statuses}")
    return load(job_id)


def wait_for_step(job_id: str, step: int) -> None:
    wait_for(lambda: load(job_id).step >= step, within_s=40.0, what=f"step {step}")


def wait_for_end(job_id: str, within_s: float = 60.0) -> Job:
    return wait_for_status(job_id, *TERMINAL_STATUSES, within_s=within_s)


def shim_record(job_id: str, attempt: int = 1) -> dict[str, Any]:
    path = layout.attempt_path(job_id, attempt) / "shim.json"
    wait_for(
        lambda: path.exists() and json.loads(path.read_text())["worker_pid"], within_s=10, what="shim.json"
    )
    return json.loads(path.read_text())


def is_gone(pid: int) -> bool:
    """Whether the process has ended (init may not have reaped it yet)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def loss_steps(job_id: str) -> list[int]:
    return metrics.read_all(layout.run_path(job_id) / "metrics", "loss")[:]["step"].tolist()


def written_steps(job_id: str, attempt: int = 1) -> list[int]:
    """The steps that the worker itself has written down."""
    path = layout.attempt_path(job_id, attempt) / "events.jsonl"
    events = [json.loads(line) for line in path.read_text().splitlines()]
    return [e["step"] for e in events if e["type"] == "metric"]


def kill_leftovers(data: Path) -> None:
    """End every shim that a test has left; their workers go with them."""
    for path in data.glob("runs/*/attempt-*/shim.json"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            record = json.loads(path.read_text())
            if Path(f"/proc/{record['shim_pid']}/cmdline").read_bytes().find(str(path.parent).encode()) >= 0:
                os.kill(record["shim_pid"], signal.SIGKILL)
