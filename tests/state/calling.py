"""Run a state's handler as an event does."""

from collections.abc import AsyncIterator, Callable
from typing import Any

Opener = Callable[..., Any]


async def call(state: Any, handler: str, /, **arguments: Any) -> list[str]:
    """Run a handler; returns what it sent to the page, as text."""
    answer = type(state).event_handlers[handler].fn(state, **arguments)
    sent = [event async for event in answer] if isinstance(answer, AsyncIterator) else [await answer]
    return [str(getattr(event, "args", event)) for event in sent if event is not None]
