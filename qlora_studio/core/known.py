"""Things that are worked out once and stay true for what their key names."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Known(Generic[T]):
    """Remembers the `most` recent results by a key that names everything they depend on."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._results: dict[Hashable, T] = {}

    def get(self, key: Hashable | None, work_out: Callable[[], T]) -> T:
        """Return the result for `key`, worked out if it isn't known; None is never remembered."""
        if key in self._results:
            return self._results[key]
        result = work_out()
        if key is not None:
            while len(self._results) >= self._most:
                self._results.pop(next(iter(self._results)), None)
            self._results[key] = result
        return result
