"""How long a worker has said nothing, counted by whoever listens."""

import time

STALLED_AFTER_S = 4.5  # a worker tells of itself every two seconds, whatever it does
_LONGEST_LOOK_S = 0.5


class Silence:
    """The seconds since a worker was last heard of.

    Counted in small steps between two looks by a clock that nobody can set. A listener that was held up
    itself (a locked database, a machine asleep) has heard no silence: a long gap counts as a short one.
    """

    def __init__(self) -> None:
        self._looked_at: float | None = None
        self._silent_s = 0.0

    def look(self, *, has_spoken: bool, now: float | None = None) -> float:
        """Take note of one look and return how long it has been silent, in seconds."""
        now = time.monotonic() if now is None else now
        gap_s = 0.0 if self._looked_at is None else min(now - self._looked_at, _LONGEST_LOOK_S)
        self._looked_at = now
        self._silent_s = 0.0 if has_spoken else self._silent_s + gap_s
        return self._silent_s
