"""One server at a time on a data folder, one process at a time on a piece of work.

The kernel lets go of either when the process ends, however it ends.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_held: dict[Path, int] = {}


class HeldByAnother(Exception):
    """Another server holds the folder; the text names its process and port."""


def hold(data_path: Path, *, port: int, wait_s: float = 0.0) -> None:
    """Hold the data folder for this process until it ends. Holding it again changes nothing.

    Args:
        port: of this server, for whoever is refused meanwhile.
        wait_s: how long to wait for a server that is about to end.

    Raises:
        HeldByAnother: another server holds it.
    """
    if data_path in _held:
        return
    data_path.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(data_path / "server.lock", os.O_RDWR | os.O_CREAT, 0o644)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
                os.close(descriptor)
                raise HeldByAnother(f"Another server uses {data_path} already ({holder}).") from None
            time.sleep(0.1)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()}, port {port}\n".encode(), 0)
    _held[data_path] = descriptor


def is_held(path: Path) -> bool:
    """Whether a process holds a lock file; one that isn't there is held by nobody."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def let_go(data_path: Path) -> None:
    """Let another server have the folder."""
    descriptor = _held.pop(data_path, None)
    if descriptor is not None:
        os.close(descriptor)


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Whether this thread holds a file that names a piece of work; no other does while the block runs.

    Its folder is made; the file is gone afterwards.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            path.unlink(missing_ok=True)
