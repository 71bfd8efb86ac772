"""A cheap answer to "has anything of this job changed since I last looked?" for whoever watches one.

The stamp is the modification time of one empty file in the run folder; a second file's says when it was more
than progress. Looking costs one `stat`, in any process; the supervisor and the services touch them after each
change that can be seen. Whoever waits in the same process is woken as well (`Ear`), and need not wait for the
next look.
"""

import asyncio
import contextlib
import os
import threading
import time
from dataclasses import dataclass

from qlora_studio.storage import layout

LOOK_EVERY_S = 0.08  # for what other processes did
_CHANGED, _TURNED = ".changed", ".turned"
_lock = threading.Lock()
_ears: dict[str, set["Ear"]] = {}
_lookers: dict[tuple[str, asyncio.AbstractEventLoop], "_Looker"] = {}


def touch(job_id: str) -> None:
    """Tell watchers that the job has changed: how it stands, what it does, what it found."""
    _mark(job_id, _TURNED)  # first: who sees the change is to see this
    touch_progress(job_id)


def touch_progress(job_id: str) -> None:
    """Tell watchers that the job has come on: there are new points, or its row counts further."""
    _mark(job_id, _CHANGED)
    with _lock:
        ears = list(_ears.get(job_id, ()))
    for ear in ears:
        ear.ring()


def read(job_id: str) -> int:
    """Return the stamp: any other value than last time means that there is something new."""
    return _read(job_id, _CHANGED)


def read_turn(job_id: str) -> int:
    """Return the stamp of what is more than progress. When it changes, `read` does too."""
    return _read(job_id, _TURNED)


@dataclass(frozen=True)
class _Looker:
    """The one ear that looks at a job's stamp for all of its loop."""

    ear: "Ear"
    task: asyncio.Task[None]


class Ear:
    """Hears a job being touched, by this process at once and by others soon; a context of one event loop.

    However many listen to a job, its stamp is looked at once for all of them.
    """

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()
        self._place = job_id, self._loop

    def __enter__(self) -> "Ear":
        with _lock:
            _ears.setdefault(self._job_id, set()).add(self)
        return self

    def __exit__(self, *_: object) -> None:
        with _lock:
            ears = _ears[self._job_id]
            ears.discard(self)
            if not ears:
                del _ears[self._job_id]
        if self._place in _lookers and _lookers[self._place].ear is self:
            _lookers.pop(self._place).task.cancel()
            for other in list(ears)[:1]:
                other.ring()  # it goes on looking

    async def wait(self, timeout_s: float) -> None:
        """Return as soon as the job was touched since the last call, or after `timeout_s` seconds."""
        if self._place not in _lookers and self in _ears.get(self._job_id, ()):
            _lookers[self._place] = _Looker(self, self._loop.create_task(self._look(read(self._job_id))))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        self._rung.clear()

    async def _look(self, seen: int) -> None:
        """Look at the stamp for everybody: other processes touch it, too."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if (now := read(self._job_id)) != seen:
                seen = now
                with _lock:
                    ears = list(_ears.get(self._job_id, ()))
                for ear in ears:
                    ear.ring()

    def ring(self) -> None:
        """Wake who waits; from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(self._rung.set)


def _mark(job_id: str, name: str) -> None:
    path = layout.run_path(job_id) / name
    with contextlib.suppress(OSError):
        now = time.time_ns()
        try:
            os.utime(path, ns=(now, now))
        except FileNotFoundError:
            path.touch()


def _read(job_id: str, name: str) -> int:
    try:
        return os.stat(layout.run_path(job_id) / name).st_mtime_ns
    except OSError:
        return 0
