"""One worker of this process that waits for a job, so that the next launch need not wait for its imports.

It is made when somebody is about to launch, and leaves by itself after a quarter of an hour without
anything to do, or when this process ends.
"""

import contextlib
import json
import select
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

IDLE_S = 900.0
_ANSWER_WITHIN_S = 20.0


class Spare:
    """A shim whose worker waits.

    Args:
        how: `command`, `cwd`, `env` and `nice` of the worker, as in `launch.json`.

    Raises:
        OSError: it could not be started.
    """

    def __init__(self, shim: Path, how: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(shim), "--spare"],
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._say(json.dumps(how | {"idle_s": IDLE_S}))
        self._process.wait()  # it has detached itself; the pipes stay

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def stay(self) -> bool:
        """Have it wait anew; False if it has left."""
        if self._answers(0):  # it says nothing by itself: this is the end of the pipe
            return False
        try:
            self._say("stay")
        except OSError:
            return False
        return True

    def give(self, attempt_path: Path) -> int | None:
        """Give it an attempt; returns the shim's exit code, or None if it has left."""
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._say(str(attempt_path))
            if self._answers(_ANSWER_WITHIN_S) and (answer := self._process.stdout.readline().strip()):
                return int(answer)
        return None

    def _answers(self, within_s: float) -> bool:
        return bool(select.select([self._process.stdout], [], [], within_s)[0])

    def close(self) -> None:
        """Let go of it: without an attempt it leaves, with one it goes on."""
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()


_lock = threading.Lock()
_waiting: list[Spare] = []


def keep_one(shim: Path, how: dict[str, Any]) -> None:
    """Have one wait, if none does."""
    with _lock:
        if _waiting and _waiting[0].stay():
            return
        drop()
        _waiting.append(Spare(shim, how))


def take() -> Spare | None:
    """Take the one that waits; whoever takes it closes it."""
    with _lock:
        return _waiting.pop() if _waiting else None


def drop() -> None:
    """Let go of the one that waits."""
    while _waiting:
        _waiting.pop().close()
