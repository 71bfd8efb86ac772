"""Keeps the server alive: a parent that has loaded everything and forks a new server when one is killed.

Loading takes more than a second, in which open pages would wait; a fork takes none of it. The parent does
nothing else and holds no connection. The server dies with it (`kill -9` of the parent leaves nothing behind),
and jobs are processes of their own either way.
"""

import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress

_PR_SET_PDEATHSIG = 1
_HANDED_ON = (signal.SIGINT, signal.SIGTERM)
_SOON_S = 10.0
_TIMES = 3


def can_keep() -> bool:
    """Whether a process may go on in a fork here: elsewhere system libraries forbid it."""
    return sys.platform == "linux"


def keep(serve: Callable[[], None]) -> int:
    """Run `serve` in a child, and again whenever a signal kills it; returns the exit status.

    SIGINT and SIGTERM are handed on to the child, and end both. A child that ends by itself, well or with an
    error, is not replaced; nor is one that is killed three times in a row within ten seconds of its start.
    """
    family = _Family()
    n_soon = 0
    while True:
        started_at = time.monotonic()
        code = family.run(serve)
        if code >= 0 or family.is_ending:
            return max(code, 0)
        n_soon = n_soon + 1 if time.monotonic() - started_at < _SOON_S else 1
        if n_soon == _TIMES:
            print(
                f"The server was killed by signal {-code} {_TIMES} times as it started. Giving up.",
                flush=True,
            )
            return 128 - code
        print(f"The server was killed by signal {-code}. Starting it again; jobs have gone on.", flush=True)


class _Family:
    """The parent's one child, and what the parent is told."""

    def __init__(self) -> None:
        self.is_ending = False
        self._child = 0
        for number in _HANDED_ON:
            signal.signal(number, self._hand_on)

    def run(self, serve: Callable[[], None]) -> int:
        """Wait for a child that serves; returns its exit status, or minus the signal that killed it."""
        parent = os.getpid()
        sys.stdout.flush()
        # What comes during the fork is kept back until each of the two knows what to do about it.
        signal.pthread_sigmask(signal.SIG_BLOCK, _HANDED_ON)
        self._child = os.fork()
        if self._child == 0:
            _serve_and_exit(serve, parent)
        if self.is_ending:
            os.kill(self._child, signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDED_ON)
        _, status = os.waitpid(self._child, 0)
        self._child = 0
        return os.waitstatus_to_exitcode(status)

    def _hand_on(self, number: int, _frame: object) -> None:
        self.is_ending = True
        if self._child:
            with suppress(ProcessLookupError):
                os.kill(self._child, number)


def _serve_and_exit(serve: Callable[[], None], parent: int) -> None:
    """Be the child; never returns."""
    status = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died between fork and prctl
            os._exit(1)
        os.setpgid(0, 0)  # Ctrl-C reaches the parent, which hands it on: once
        for number in _HANDED_ON:
            signal.signal(number, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDED_ON)
        serve()
        status = 0
    except KeyboardInterrupt:
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
