"""The slot of the step that is being tried, or waits to be: the next free one is not given to a job.

A rehearsal is no job and stands in no queue. Whoever plays it, in whatever process, keeps the time of one
file fresh; the supervisor counts a slot as taken while it is. After a crash it is soon old: it means nothing.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

from qlora_studio.storage import atomic, layout

HELD_S = 5.0  # many times as long as between two signs of life


def keep(card: str | None = None) -> None:
    """Say that a step is being tried, or waits; to be called again every second or so.

    Args:
        card: the CUDA device that it is on, once that is known; empty on a machine without any.
    """
    path = _path()
    with suppress(OSError):  # without it, jobs and rehearsals take what they find
        if card is None or _card(path) == card:
            path.touch()
            os.utime(path)
        else:
            atomic.write_text(path, card)


def release() -> None:
    """No step is being tried any more, and none waits."""
    with suppress(OSError):
        _path().unlink(missing_ok=True)


def find() -> str | None:
    """Return the device of the step that has a slot, empty if it has none yet; None without such a step."""
    path = _path()
    try:
        is_fresh = abs(time.time() - path.stat().st_mtime) < HELD_S
        return path.read_text() if is_fresh else None
    except OSError:
        return None


def n_held() -> int:
    """How many slots are kept from jobs: one at most, as one step is tried at a time."""
    return int(find() is not None)


def _card(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None


def _path() -> Path:
    return layout.data_path() / "rehearsal.slot"
