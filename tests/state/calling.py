"""Run a state's handler as an event does."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import Any

import pytest

Opener = Callable[..., Any]


async def call(state: Any, handler: str, /, **arguments: Any) -> list[str]:
    """Run a handler; returns what it sent to the page, as text."""
    answer = type(state).event_handlers[handler].fn(state, **arguments)
    sent = [event async for event in answer] if isinstance(answer, AsyncIterator) else [await answer]
    return [str(getattr(event, "args", event)) for event in sent if event is not None]


def hold_by_itself(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let background handlers of a state take hold of it (`async with self`) with no server around."""

    async def hold(self: Any) -> Any:
        return self

    async def let_go(self: Any, *_: object) -> None:
        return None

    monkeypatch.setattr(kind, "__aenter__", hold)
    monkeypatch.setattr(kind, "__aexit__", let_go)


class SlowReading:
    """Stands in for a module's reading: it reads at once, and answers when it is let."""

    def __init__(self, module: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._has_read, self._may_end = threading.Event(), threading.Event()
        read = getattr(module, name)

        def read_slowly(*args: Any, **named: Any) -> Any:
            found = read(*args, **named)
            self._has_read.set()
            assert self._may_end.wait(10)
            return found

        self._is_quick_again = lambda: monkeypatch.setattr(module, name, read)
        monkeypatch.setattr(module, name, read_slowly)

    async def begin_watch(self, state: Any) -> asyncio.Task[Any]:
        """Begin a watch that holds what it has read until it may end; whoever reads from now on is quick."""
        watch = asyncio.create_task(call(state, "watch"))
        assert await asyncio.to_thread(self._has_read.wait, 10)
        self._is_quick_again()
        return watch

    def may_end(self) -> None:
        """Let it answer."""
        self._may_end.set()
