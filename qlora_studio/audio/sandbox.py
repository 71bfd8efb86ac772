"""What a child process that reads untrusted sound may do: little."""

import contextlib
import ctypes
import resource
import signal
import sys

MEMORY_BYTES = 2 << 30
_PR_SET_PDEATHSIG = 1


def restrict() -> None:
    """Bound this process's memory, let it write no file, and end it with the thread that started it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
