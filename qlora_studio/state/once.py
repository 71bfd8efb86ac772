"""Reading once what many tabs look at."""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Set
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

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


class _Asked(Generic[Value]):
    """What is asked in one event loop, to be read together."""

    def __init__(self) -> None:
        self.reading = asyncio.Lock()
        self.next: tuple[set[str], asyncio.Task[Mapping[str, Value]]] | None = None


class AskedTogether(Generic[Value]):
    """Answers what many tabs ask at the same moment by one reading, in one thread.

    Nothing is remembered: each answer was read after its question was asked.

    Args:
        read: answers a set of keys; called in a thread.
    """

    def __init__(self, read: Callable[[Set[str]], Mapping[str, Value]]) -> None:
        self._read = read
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Asked[Value]] = WeakKeyDictionary()

    async def ask(self, key: str) -> Value:
        """Return what `read` answers for `key`, with whoever else asks until the reading begins."""
        asked = self._loops.setdefault(asyncio.get_running_loop(), _Asked())
        if asked.next is None:
            asked.next = set(), asyncio.create_task(self._answer(asked))
        keys, answering = asked.next
        keys.add(key)
        return (await asyncio.shield(answering))[key]  # others wait for it, too

    async def _answer(self, asked: _Asked[Value]) -> Mapping[str, Value]:
        async with asked.reading:
            assert asked.next is not None
            keys, asked.next = asked.next[0], None
            return await asyncio.to_thread(self._read, keys)
