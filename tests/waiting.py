"""Waiting for what another thread or process does: looks until a deadline, never a fixed pause."""

import time
from collections.abc import Callable
from typing import Any


def wait_for(condition: Callable[[], Any], *, within_s: float = 20.0, what: str = "it to happen") -> float:
    """Wait until the condition holds; return the seconds that took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < within_s, f"not within {within_s} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - started
