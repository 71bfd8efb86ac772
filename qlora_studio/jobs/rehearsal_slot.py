"""The slot of the step that is being tried, or waits to be: the next free one is not given to a job.

A rehearsal is no job and stands in no queue. Whoever plays it, in whatever process, keeps the time of one
file fresh; the supervisor counts a slot as taken while it is. After a crash it is soon old: it means nothing.

Steps and jobs take turns: once a step has been tried, a job that is ready comes before the next step.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

from qlora_studio.storage import atomic, layout

HELD_S = 5.0  # many times as long as between two signs of life
TURN_S = 10.0  # many times as long as the supervisor takes to see a free slot; it may not even run


def keep(card: str | None = None) -> None:
    """Say that a step is being tried, or waits; to be called again every second or so.

    Args:
        card: the CUDA device that it is on, once that is known; empty on a machine without any.
    """
    path = _path()
    if card is not None:
        end_jobs_turn()
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
    """Return the device of the step that has a slot, empty if it has none yet; None without such a step.

    While it is the jobs' turn there is none: a step that waits has no claim on the next free slot then.
    """
    path = _path()
    if is_jobs_turn():
        return None
    try:
        is_fresh = abs(time.time() - path.stat().st_mtime) < HELD_S
        return path.read_text() if is_fresh else None
    except OSError:
        return None


def n_held() -> int:
    """How many slots are kept from jobs: one at most, as one step is tried at a time."""
    return int(find() is not None)


def give_jobs_a_turn() -> None:
    """A step has been tried: the next slot is a job's, if one is ready and starts soon."""
    with suppress(OSError):
        _turn_path().touch()


def is_jobs_turn() -> bool:
    """Whether a job comes before the next step."""
    try:
        return abs(time.time() - _turn_path().stat().st_mtime) < TURN_S
    except OSError:
        return False


def end_jobs_turn() -> None:
    """A job was started, none is ready, or a step is being tried: what is kept for a step counts again."""
    with suppress(OSError):
        _turn_path().unlink(missing_ok=True)


def _card(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None


def _path() -> Path:
    return layout.data_path() / "rehearsal.slot"


def _turn_path() -> Path:
    return layout.data_path() / "rehearsal.tried"
