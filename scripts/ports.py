"""Ports for servers that are killed and started again beside others."""

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import IO

_RANGE = range(20_000, 32_000)  # under those that systems give to outgoing connections
_dice = random.SystemRandom()
_held: list[IO[bytes]] = []


def free_port() -> int:
    """Return a port of this machine that nobody listens on and that nobody else is given here.

    While this process lives, no other process (or thread) that asks this function gets the same one. A port
    that is merely free now could be taken by another test's server while its own is being started again.
    """
    folder = Path(tempfile.gettempdir()) / f"studio-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for port in _dice.sample(_RANGE, 1000):
        lock = (folder / str(port)).open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
            continue
        _held.append(lock)
        return port
    raise RuntimeError("No port is free.")
