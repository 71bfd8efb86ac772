"""Decode many files at once in children that may crash.

Each worker thread owns one child (`ingest.decoder`). A child that dies, hangs or answers nonsense is
replaced, and its file gets a verdict like any other.
"""

import base64
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qlora_studio.audio.decode import ClipFacts

COMMAND = (sys.executable, "-m", "qlora_studio.ingest.decoder")
START_LIMIT_S = 120.0  # a busy machine; not counted for the file
MIN_LIMIT_S = 20.0
SLOWEST_BYTES_PER_S = 1 << 20  # slower than this is a hang; compressed sound decodes 20 times as fast
_TOO_LONG_AN_ANSWER = 1 << 20

Verdict = ClipFacts | str


class DecoderPool:
    """Decodes files for several threads: one child per thread, made at its first file.

    Args:
        max_clip_s: longest clip taken, in seconds.
        command: the child's command line.
        min_limit_s: time any file may take, in seconds; larger files get more.
    """

    def __init__(
        self, *, max_clip_s: float, command: Sequence[str] = COMMAND, min_limit_s: float = MIN_LIMIT_S
    ) -> None:
        self._max_clip_s = max_clip_s
        self._command = list(command)
        self._min_limit_s = min_limit_s
        self._local = threading.local()
        self._children: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()

    def __enter__(self) -> "DecoderPool":
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            for child in self._children:
                _end(child)

    def inspect(self, path: Path) -> Verdict:
        """Return the facts about a file, or the reason why it can't be used."""
        try:
            child = self._child()
        except (OSError, ValueError) as error:
            raise RuntimeError("the decoder can't be started") from error
        limit_s = self._min_limit_s + path.stat().st_size / SLOWEST_BYTES_PER_S
        request = json.dumps({"path": str(path), "max_clip_s": self._max_clip_s}) + "\n"
        try:
            os.write(child.stdin.fileno(), request.encode())  # type: ignore[union-attr]
            answer = json.loads(_read_line(child, limit_s))
        except TimeoutError:
            self._replace(child)
            return f"Hangs the decoder: not done after {limit_s:.0f} s."
        except (OSError, ValueError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(1)  # so that the signal that ended it can be named
            self._replace(child)
            return f"Crashes the decoder ({_how_it_ended(child)})."
        if "reason" in answer:
            return str(answer["reason"])
        return _facts(answer["facts"])

    def _child(self) -> subprocess.Popen[bytes]:
        child: subprocess.Popen[bytes] | None = getattr(self._local, "child", None)
        if child is None or child.poll() is not None:
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            child = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env=environment,
            )
            with self._lock:
                self._children.append(child)
            if not json.loads(_read_line(child, START_LIMIT_S)).get("ready"):
                raise ValueError("not a decoder")
            self._local.child = child
        return child

    def _replace(self, child: subprocess.Popen[bytes]) -> None:
        _end(child)
        with self._lock:
            self._children.remove(child)
        self._local.child = None


def _facts(values: dict[str, Any]) -> ClipFacts:
    return ClipFacts(**{**values, "peaks": base64.b64decode(values["peaks"])})


def _read_line(child: subprocess.Popen[bytes], limit_s: float) -> bytes:
    """One line of the child's answer. TimeoutError after `limit_s`, OSError if the child has ended."""
    deadline = time.monotonic() + limit_s
    descriptor = child.stdout.fileno()  # type: ignore[union-attr]
    line = b""
    while not line.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            raise TimeoutError
        piece = os.read(descriptor, 65536)
        if not piece or len(line) > _TOO_LONG_AN_ANSWER:
            raise OSError("the decoder ended")
        line += piece
    return line


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()


def _how_it_ended(child: subprocess.Popen[bytes]) -> str:
    code = child.returncode
    if code is None or code == -signal.SIGKILL:
        return "it was killed"
    return f"signal {-code}" if code < 0 else f"exit code {code}"
