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
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from qlora_studio.audio.decode import ClipFacts
from qlora_studio.ingest.decoder import BYTES_FIELDS

COMMAND = (sys.executable, "-m", "qlora_studio.ingest.decoder")
START_LIMIT_S = 120.0  # a busy machine; not counted for the file
MIN_LIMIT_S = 20.0
SLOWEST_BYTES_PER_S = 1 << 20  # slower than this is a hang; compressed sound decodes 20 times as fast
FILES_AHEAD = 3
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
        self._children: list[_Child] = []
        self._lock = threading.Lock()

    def __enter__(self) -> "DecoderPool":
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            for child in self._children:
                child.end()

    def inspect(self, path: Path) -> Verdict:
        """Return the facts about a file, or the reason why it can't be used."""
        return next(self.inspect_many([path]))

    def inspect_many(self, paths: Iterable[Path]) -> Iterator[Verdict]:
        """Yield facts or reason of each file, in order. The child always has the next files waiting."""
        waiting = deque(paths)
        asked: deque[Path] = deque()
        while waiting or asked:
            if not asked:
                child = self._child()
            with contextlib.suppress(BrokenPipeError):  # it has ended; which file did it, its answers show
                while waiting and len(asked) < FILES_AHEAD:
                    asked.append(waiting.popleft())
                    child.ask({"path": str(asked[-1]), "max_clip_s": self._max_clip_s})
            verdict = self._verdict(child, asked.popleft())
            if not child.is_alive:  # what it was asked besides goes to the next one
                waiting.extendleft(reversed(asked))
                asked.clear()
            yield verdict

    def _verdict(self, child: "_Child", path: Path) -> Verdict:
        limit_s = self._min_limit_s + path.stat().st_size / SLOWEST_BYTES_PER_S
        try:
            answer = json.loads(child.read_line(limit_s))
            return str(answer["reason"]) if "reason" in answer else _facts(answer["facts"])
        except TimeoutError:
            self._drop(child)
            return f"Hangs the decoder: not done after {limit_s:.0f} s."
        except (OSError, ValueError, KeyError, TypeError):
            how = child.how_it_ended()
            self._drop(child)
            return f"Crashes the decoder ({how})."

    def _child(self) -> "_Child":
        child: _Child | None = getattr(self._local, "child", None)
        if child is None or not child.is_there():
            try:
                child = _Child(self._command)
            except (OSError, ValueError) as error:
                raise RuntimeError("the decoder can't be started") from error
            self._local.child = child
            with self._lock:
                self._children.append(child)
        return child

    def _drop(self, child: "_Child") -> None:
        child.end()
        with self._lock:
            self._children.remove(child)
        self._local.child = None


class _Child:
    """One `ingest.decoder`, ready for its first file.

    Raises:
        OSError, ValueError: it can't be started, or isn't a decoder.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._unread = b""
        self.is_alive = True
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        try:
            if not json.loads(self.read_line(START_LIMIT_S)).get("ready"):
                raise ValueError("not a decoder")
        except BaseException:
            self.end()
            raise

    def is_there(self) -> bool:
        """Whether it can take another file: nobody has killed it since the last one."""
        return self.is_alive and self._process.poll() is None

    def ask(self, request: dict[str, Any]) -> None:
        os.write(self._process.stdin.fileno(), json.dumps(request).encode() + b"\n")  # type: ignore[union-attr]

    def read_line(self, limit_s: float) -> bytes:
        """The next line of its answers. TimeoutError after `limit_s`, OSError if it has ended."""
        deadline = time.monotonic() + limit_s
        descriptor = self._process.stdout.fileno()  # type: ignore[union-attr]
        pieces = [self._unread]
        while b"\n" not in pieces[-1]:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                raise TimeoutError
            pieces.append(os.read(descriptor, 65536))
            if not pieces[-1] or sum(map(len, pieces)) > _TOO_LONG_AN_ANSWER:
                raise OSError("the decoder ended")
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
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def _facts(values: dict[str, Any]) -> ClipFacts:
    return ClipFacts(**{**values, **{name: base64.b64decode(values[name]) for name in BYTES_FIELDS}})
