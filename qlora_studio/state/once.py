"""Reading once what many tabs look at."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class _Entry(Generic[Value]):
    """What was read of one thing, and under which stamp."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.stamp: Hashable = None
        self.value: Value | None = None


class OnceAStamp(Generic[Value]):
    """Remembers of each thing what was read of it under its newest stamp.

    A job that a whole room watches is read once when it moves, not once by each tab. From any thread.

    Args:
        most: things to remember; those longest unused are forgotten.
    """

    def __init__(self, most: int = 256) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, _Entry[Value]] = OrderedDict()

    def peek(self, key: Hashable, stamp: Hashable) -> Value | None:
        """Return what `get` would answer from memory; None if it would read."""
        entry = self._entries.get(key)
        return entry.value if entry is not None and stamp and entry.stamp == stamp else None

    def get(self, key: Hashable, stamp: Hashable, read: Callable[[], Value], *, anew: bool = False) -> Value:
        """Return what was read of `key` under this stamp, else read it: without a stamp, or `anew`, always.

        Who asks while another one reads waits for that reading.
        """
        if not stamp:
            return read()
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            while len(self._entries) > self._most:
                self._entries.popitem(last=False)
        with entry.lock:
            if anew or entry.stamp != stamp:
                entry.value = read()
                entry.stamp = stamp
            return entry.value  # type: ignore[return-value]
