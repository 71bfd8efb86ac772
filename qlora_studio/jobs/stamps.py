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

from qlora_studio.storage import layout

LOOK_EVERY_S = 0.08  # for what other processes did
_CHANGED, _TURNED = ".changed", ".turned"
_lock = threading.Lock()
_rooms: dict[str, dict[asyncio.AbstractEventLoop, "_Room"]] = {}


def touch(job_id: str) -> None:
    """Tell watchers that the job has changed: how it stands, what it does, what it found."""
    _mark(job_id, _TURNED)  # first: who sees the change is to see this
    touch_progress(job_id)


def touch_progress(job_id: str) -> None:
    """Tell watchers that the job has come on: there are new points, or its row counts further."""
    _mark(job_id, _CHANGED)
    with _lock:
        rooms = list(_rooms.get(job_id, {}).values())
    for room in rooms:
        room.ring()


def read(job_id: str) -> int:
    """Return the stamp: any other value than last time means that there is something new."""
    return _read(job_id, _CHANGED)


def read_turn(job_id: str) -> int:
    """Return the stamp of what is more than progress. When it changes, `read` does too."""
    return _read(job_id, _TURNED)


class _Room:
    """All who listen to a job in one event loop: its stamps are looked at once for them, and they are woken
    together.
    """

    def __init__(self, job_id: str, loop: asyncio.AbstractEventLoop) -> None:
        self.rungs: set[asyncio.Event] = set()
        self.stamp, self.turn = read(job_id), read_turn(job_id)
        self._job_id, self._loop = job_id, loop
        self._looking: asyncio.Task[None] | None = None

    def ring(self) -> None:
        """Wake everybody; from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(self._wake)

    def look(self) -> None:
        """See to it that somebody looks at the stamp, which other processes touch, too."""
        if self._looking is None or self._looking.done():
            self._looking = self._loop.create_task(self._look())

    def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if read(self._job_id) != self.stamp:
                self._wake()

    def _wake(self) -> None:
        self.stamp, self.turn = read(self._job_id), read_turn(self._job_id)
        for rung in self.rungs:
            rung.set()


class Ear:
    """Hears a job being touched, by this process at once and by others soon; a context of one event loop."""

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()
        self._room: _Room | None = None

    def __enter__(self) -> "Ear":
        with _lock:
            rooms = _rooms.setdefault(self._job_id, {})
            self._room = rooms.setdefault(self._loop, _Room(self._job_id, self._loop))
        self._room.rungs.add(self._rung)
        return self

    def __exit__(self, *_: object) -> None:
        room, self._room = self._room, None
        assert room is not None
        room.rungs.discard(self._rung)
        if room.rungs:
            return
        room.close()
        with _lock:
            rooms = _rooms[self._job_id]
            del rooms[self._loop]
            if not rooms:
                del _rooms[self._job_id]

    @property
    def stamps(self) -> tuple[int, int]:
        """What `read` and `read_turn` answered when this last rang."""
        assert self._room is not None, "it listens inside its context only"
        return self._room.stamp, self._room.turn

    async def wait(self, timeout_s: float) -> None:
        """Return as soon as the job was touched since the last call, or after `timeout_s` seconds."""
        if self._room is not None:
            self._room.look()
        timer = self._loop.call_later(timeout_s, self._rung.set)
        try:
            await self._rung.wait()
        finally:
            timer.cancel()
        self._rung.clear()


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
