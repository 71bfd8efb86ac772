"""Training on this machine: one shim process per attempt, detached from the server."""

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import psutil

import qlora_studio
from qlora_studio.core import devices
from qlora_studio.core.settings import get_settings
from qlora_studio.launchers import spare
from qlora_studio.launchers.base import LaunchFailed
from qlora_studio.storage import atomic

WORKERS = {
    "training": ["-m", "qlora_studio.training", "run"],
    "toy": ["-m", "qlora_studio.training.toy"],
}
NICE = 5  # the pages stay quick while a job uses every core
LOG_MAX_BYTES = 8 * 2**20
LAUNCH_TIMEOUT_S = 20
_STARTED = (0, 3)  # 3: that attempt is running or has run already
_SPARE_LEAVES_BYTES = 4 * 2**30  # free memory below which nothing is started on suspicion
_PACKAGE = Path(qlora_studio.__file__).resolve().parent
_SHIM = _PACKAGE / "jobs" / "shim.py"
_WAITING = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}  # who sets one in the server's environment chooses
_SECRET_NAME = re.compile(
    r"(?i)token|secret|passw|credential|api_?key|(?:^|_)key(?:_id|_?file)?$|private_key|database_url"
    r"|connection_string|_dsn$|_auth$"
)


class LocalLauncher:
    """Starts attempts as processes of this machine.

    `worker` is "training" (the real one) or "toy" (no torch, a second long; for tests). By default the
    environment variable `QLORA_STUDIO_WORKER` says which.
    """

    def __init__(self, worker: str | None = None) -> None:
        self._worker = worker or os.environ.get("QLORA_STUDIO_WORKER") or "training"
        if self._worker not in WORKERS:
            raise ValueError(f"unknown worker {self._worker!r}: one of {', '.join(WORKERS)}")

    def launch(self, attempt_path: Path) -> None:
        """Start the attempt's shim and wait until it holds its lock (some tens of milliseconds)."""
        self._write_launch_file(attempt_path)
        if not self._give_to_spare(attempt_path):
            self._start_shim(attempt_path)

    def expect(self) -> None:
        """Have a worker import what it needs now, for somebody is about to launch.

        Not where there are CUDA devices: bitsandbytes asks CUDA while it is imported, and what asks first
        decides which cards a process sees. Nor where it would take memory that is needed.
        """
        if not get_settings().spare_worker or devices.list_cards():
            return
        if psutil.virtual_memory().available < _SPARE_LEAVES_BYTES:
            return
        module = WORKERS[self._worker][1]
        command = [sys.executable, "-P", "-m", "qlora_studio.training.spare", module]
        with contextlib.suppress(OSError):  # then the job starts its own
            spare.keep_one(_SHIM, {"command": command, "cwd": "/", "env": worker_environment(), "nice": NICE})

    @staticmethod
    def _give_to_spare(attempt_path: Path) -> bool:
        """Launch by the worker that waits; False without one. The lock bars a second start by a late one."""
        waiting = spare.take()
        if waiting is None:
            return False
        with contextlib.closing(waiting):
            return waiting.give(attempt_path) in _STARTED

    @staticmethod
    def _start_shim(attempt_path: Path) -> None:
        command = [sys.executable, "-I", "-S", str(_SHIM), str(attempt_path)]
        try:
            done = subprocess.run(
                command,
                cwd=attempt_path,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
                timeout=LAUNCH_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise LaunchFailed(f"The training process could not be started: {error}.") from error
        if done.returncode not in _STARTED:
            detail = done.stderr.decode(errors="replace").strip()[-300:]
            raise LaunchFailed(f"The training process could not be started: {detail or done.returncode}.")

    def _write_launch_file(self, attempt_path: Path) -> None:
        launch = {
            "v": 1,
            "command": [sys.executable, *WORKERS[self._worker], str(attempt_path / "spec.json")],
            "cwd": str(attempt_path),
            "env": worker_environment(),
            "nice": NICE,
            "stop_grace_s": get_settings().stop_grace_s,
            "log_max_bytes": LOG_MAX_BYTES,
        }
        atomic.write_text(attempt_path / "launch.json", json.dumps(launch), mode=0o600)


def plain_environment() -> dict[str, str]:
    """The server's environment without what looks like a secret."""
    return {name: value for name, value in os.environ.items() if not _SECRET_NAME.search(name)}


def worker_environment() -> dict[str, str]:
    """What a process that trains or merges is given: its threads soon stop to spin for each other.

    By default they spin for milliseconds, and beside a busy neighbour each of the thousands of short waits of
    a step then lasts a time slice. So many rounds cost nothing where nobody else is (docs/training.md).
    """
    env = _model_environment()
    return env if env.keys() & _WAITING else env | {"GOMP_SPINCOUNT": "10000"}


def _model_environment() -> dict[str, str]:
    """What a process with a model in it is given: it needs no secret and is offline."""
    env = plain_environment()
    path = [str(_PACKAGE.parent), *filter(None, [env.get("PYTHONPATH")])]
    return env | {
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def engine_environment() -> dict[str, str]:
    """What inference is given: its threads don't spin at all, but sleep while they wait for each other.

    By default they do, and beside a job on the same cores each of the many short waits of a generation
    then lasts a time slice: measured on two cores with a busy neighbour, 13 s for what takes 1.4 s so.
    """
    env = _model_environment()
    return env if env.keys() & _WAITING else env | {"OMP_WAIT_POLICY": "passive"}
