"""Who supervises a data folder: one process at a time."""

import fcntl
import os

from qlora_studio.storage import layout


class Lock:
    """The right to supervise a data folder. The kernel takes it back when its holder dies."""

    def __init__(self) -> None:
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock if it is free; True while this object holds it."""
        if self._descriptor is not None:
            return True
        layout.data_path().mkdir(parents=True, exist_ok=True)
        path = layout.data_path() / "supervisor.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
