"""Decode many files at once in children that may crash.

A thread has a child (`ingest.decoder`) to itself while its files are decoded; with a thread more than
children, one looks for the next files meanwhile. A child that dies, hangs or answers nonsense is replaced,
and its file gets a verdict like any other.
"""

import base64
import contextlib
import json
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
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
    """Decodes files for any number of threads in `n_children`, which start when it is entered.

    Args:
        max_clip_s: longest clip taken, in seconds.
        n_children: files decoded at once.
        command: the child's command line.
        min_limit_s: time any file may take, in seconds; larger files get more.
    """

    def __init__(
        self,
        *,
        max_clip_s: float,
        n_children: int = 1,
        command: Sequence[str] = COMMAND,
        min_limit_s: float = MIN_LIMIT_S,
    ) -> None:
        self._max_clip_s = max_clip_s
        self._n_children = n_children
        self._command = list(command)
        self._min_limit_s = min_limit_s
        self._free: SimpleQueue[_Place] = SimpleQueue()
        self._places: list[_Place] = []

    def __enter__(self) -> "DecoderPool":
        self._places = [_Place(Child(self._command)) for _ in range(self._n_children)]
        for place in self._places:
            self._free.put(place)
        return self

    def __exit__(self, *_: object) -> None:
        for place in self._places:
            place.child.end()

    def inspect(self, path: Path) -> Verdict:
        """Return the facts about a file, or the reason why it can't be used."""
        return self.inspect_many([path])[0]

    def inspect_many(self, paths: Sequence[Path]) -> list[Verdict]:
        """Return facts or reason of each file, in order. The child always has the next files waiting."""
        if not paths:
            return []
        place = self._free.get()
        try:
            return list(self._verdicts(place, deque(paths)))
        finally:
            self._free.put(place)

    def _verdicts(self, place: "_Place", waiting: deque[Path]) -> Iterator[Verdict]:
        asked: deque[Path] = deque()
        while waiting or asked:
            if not asked:
                self._make_ready(place)
            with contextlib.suppress(BrokenPipeError):  # it has ended; which file did it, its answers show
                while waiting and len(asked) < FILES_AHEAD:
                    asked.append(waiting.popleft())
                    place.child.ask({"path": str(asked[-1]), "max_clip_s": self._max_clip_s})
            yield self._verdict(place.child, asked.popleft())
            if not place.child.is_alive:  # what it was asked besides goes to the next one
                waiting.extendleft(reversed(asked))
                asked.clear()

    def _verdict(self, child: Child, path: Path) -> Verdict:
        limit_s = self._min_limit_s + path.stat().st_size / SLOWEST_BYTES_PER_S
        try:
            answer = json.loads(child.read_line(limit_s))
            return str(answer["reason"]) if "reason" in answer else _facts(answer["facts"])
        except TimeoutError:
            child.end()
            return f"Hangs the decoder: not done after {limit_s:.0f} s."
        except (OSError, ValueError, KeyError, TypeError):
            how = child.how_it_ended()
            child.end()
            return f"Crashes the decoder ({how})."

    def _make_ready(self, place: "_Place") -> None:
        try:
            if place.is_ready and not place.child.is_there():
                place.child.end()
                place.child, place.is_ready = Child(self._command), False
            if not place.is_ready:
                place.child.wait()
                place.is_ready = True
        except (OSError, ValueError) as error:
            raise RuntimeError("the decoder can't be started") from error


@dataclass(slots=True)
class _Place:
    """A child, and whether it has said that it can begin."""

    child: Child
    is_ready: bool = False


def _facts(values: dict[str, Any]) -> ClipFacts:
    return ClipFacts(**{**values, **{name: base64.b64decode(values[name]) for name in BYTES_FIELDS}})
