"""A real supervisor process to kill, real workers to watch, and the records they leave."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from qlora_studio.contracts.enums import TERMINAL_STATUSES, JobStatus, StopMode
from qlora_studio.db.engine import read, write
from qlora_studio.db.models import Adapter, Job, User
from qlora_studio.jobs import metrics
from qlora_studio.services import jobs
from qlora_studio.storage import layout
from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
DETECTED_WITHIN_S = 5.0
ADOPTED_WITHIN_S = 3.0
STOPPED_WITHIN_S = 30.0
START_S = 15.0  # a Python process on a busy machine
# The long variants of the faults: `make faults` runs them, `make test` does not.
long = pytest.mark.skipif(
    not os.environ.get("QLORA_STUDIO_LONG_FAULTS"), reason="takes long: `make faults` runs it"
)


class Zygote:
    """Makes processes that have imported everything; see `tests.faults.zygote`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote"],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lock = threading.Lock()
        self._is_ready = False

    def fork(self, what: str, env: dict[str, str], log: Path) -> int:
        """Start a `supervisor` or a `studio`; return its pid."""
        with self._lock:
            if not self._is_ready:
                self._is_ready = self._answer() == "ready"
            assert self._process.stdin is not None
            order = {"what": what, "env": os.environ | env, "log": str(log)}
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            return int(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class SupervisorProcess:
    """A supervisor as a process, on this test's data folder, with the toy worker."""

    def __init__(self, zygote: Zygote, env: dict[str, str], log: Path) -> None:
        self._zygote = zygote
        self._env = env
        self._log = log
        self.pid: int | None = None

    def start(self, **env: str) -> None:
        self.pid = self._zygote.fork("supervisor", self._env | env, self._log)

    def kill(self) -> None:
        """Kill it as a power cut would: nothing is told to it."""
        if self.pid is not None:
            kill_and_wait(self.pid)
            self.pid = None


def kill_and_wait(pid: int) -> None:
    """Kill a process that may be gone already, and wait until it is."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: is_gone(pid), within_s=10, what=f"the end of {pid}")


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
    return [e["step"] for e in events(job_id, attempt) if e["type"] == "metric"]


def events(job_id: str, attempt: int = 1) -> list[dict[str, Any]]:
    """What the worker has written, whole lines only."""
    try:
        text = (layout.attempt_path(job_id, attempt) / "events.jsonl").read_text()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def adapter_bytes(job_id: str) -> bytes:
    return (layout.run_path(job_id) / "adapter" / "adapter_model.safetensors").read_bytes()


def stop(user: User, job_id: str, mode: StopMode = StopMode.SAVE) -> None:
    with write() as session:
        jobs.stop(session, actor=user, job_id=job_id, mode=mode)


def resume(user: User, job_id: str) -> None:
    with write() as session:
        jobs.resume(session, actor=user, job_id=job_id)


def adapter_of(job_id: str) -> Adapter | None:
    with read() as session:
        return session.exec(select(Adapter).where(Adapter.job_id == job_id)).first()


def kill_leftovers(data: Path) -> None:
    """End every shim that a test has left; their workers go with them."""
    for path in data.glob("runs/*/attempt-*/shim.json"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            record = json.loads(path.read_text())
            if Path(f"/proc/{record['shim_pid']}/cmdline").read_bytes().find(str(path.parent).encode()) >= 0:
                os.kill(record["shim_pid"], signal.SIGKILL)
