"""Children that do what may crash, hang, or eat memory, and are asked by lines of JSON."""

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

START_LIMIT_S = 120.0  # a busy machine


class Child:
    """A process that answers each line of JSON by a line of JSON. It starts by itself; `wait` until it has.

    Args:
        command: its command line; it says `{"ready": true}` once.
        max_answer_bytes: a longer answer is taken for nonsense.
        environment: by default this process's own, for one thread of arithmetic.
        log_path: where standard error is appended; nowhere by default.
        own_session: it and what it starts are ended together, and Ctrl-C does not reach it.

    Raises:
        OSError: it can't be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        max_answer_bytes: int = 1 << 20,
        environment: Mapping[str, str] | None = None,
        log_path: Path | None = None,
        own_session: bool = False,
    ) -> None:
        self._max_answer_bytes = max_answer_bytes
        self._own_session = own_session
        self._unread = b""
        self.is_alive = True
        with contextlib.ExitStack() as stack:
            log = subprocess.DEVNULL if log_path is None else stack.enter_context(log_path.open("ab"))
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                env=environment or {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=own_session,
            )

    def wait(self) -> Self:
        """Return once it is ready for its first question.

        Raises:
            OSError, ValueError: it ended, or says something else first; it is gone then.
        """
        try:
            if not json.loads(self.read_line(START_LIMIT_S)).get("ready"):
                raise ValueError("not the program that was meant")
        except BaseException:
            self.end()
            raise
        return self

    def is_there(self) -> bool:
        """Whether it can take another file: nobody has killed it since the last one."""
        return self.is_alive and self._process.poll() is None

    def ask(self, request: dict[str, Any]) -> None:
        os.write(self._process.stdin.fileno(), json.dumps(request).encode() + b"\n")  # type: ignore[union-attr]

    def read_line(self, limit_s: float) -> bytes:
        """The next line of its answers. TimeoutError after `limit_s`, OSError if it has ended.

        After a TimeoutError it can be asked for again: what has come of the line is kept.
        """
        deadline = time.monotonic() + limit_s
        descriptor = self._process.stdout.fileno()  # type: ignore[union-attr]
        pieces = [self._unread]
        while b"\n" not in pieces[-1]:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                self._unread = b"".join(pieces)
                raise TimeoutError
            pieces.append(os.read(descriptor, 65536))
            if not pieces[-1] or sum(map(len, pieces)) > self._max_answer_bytes:
                raise OSError("the child ended")
        line, _, self._unread = b"".join(pieces).partition(b"\n")
        return line

    def how_it_ended(self) -> str:
        """For people, after a moment in which it may end."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        code = self._process.returncode
        if code is None or code == -signal.SIGKILL:
            return "it was killed"
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def end(self) -> None:
        self.is_alive = False
        if self._own_session:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
