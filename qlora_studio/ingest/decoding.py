"""Decode many files at once in children that may crash.

Each worker thread owns one child (`ingest.decoder`). A child that dies, hangs or answers nonsense is
replaced, and its file gets a verdict like any other.
"""

import base64
import contextlib
import json
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from qlora_studio.audio.decode import ClipFacts
from qlora_studio.ingest.child import Child
from qlora_studio.ingest.decoder import BYTES_FIELDS

COMMAND = (sys.executable, "-m", "qlora_studio.ingest.decoder")
MIN_LIMIT_S = 20.0
SLOWEST_BYTES_PER_S = 1 << 20  # slower than this is a hang; compressed sound decodes 20 times as fast
FILES_AHEAD = 3

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
        self._children: list[Child] = []
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

    def _verdict(self, child: Child, path: Path) -> Verdict:
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

    def _child(self) -> Child:
        child: Child | None = getattr(self._local, "child", None)
        if child is None or not child.is_there():
            try:
                child = Child(self._command)
            except (OSError, ValueError) as error:
                raise RuntimeError("the decoder can't be started") from error
            self._local.child = child
            with self._lock:
                self._children.append(child)
        return child

    def _drop(self, child: Child) -> None:
        child.end()
        with self._lock:
            self._children.remove(child)
        self._local.child = None


def _facts(values: dict[str, Any]) -> ClipFacts:
    return ClipFacts(**{**values, **{name: base64.b64decode(values[name]) for name in BYTES_FIELDS}})
