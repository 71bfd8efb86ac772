"""What breaks things during a campaign."""

import contextlib
import os
import random
import signal
import sqlite3
import time
from pathlib import Path

from tests.faults.studio import StudioProcess, own_processes

FAULTS = ("kill server", "kill worker", "kill shim", "freeze worker", "hold database", "kill server twice")


class Nemesis:
    """Breaks things by the schedule; what it froze or held is let go at the end."""

    def __init__(self, studio: StudioProcess, dice: random.Random) -> None:
        self._studio = studio
        self._dice = dice
        self._frozen: list[int] = []

    def do(self, what: str) -> None:
        if what == "kill server":
            self._restart(self._dice.uniform(0, 0.8))
        elif what == "kill server at work":
            self._studio.wait_until_it_answers()
            time.sleep(self._dice.uniform(0.1, 0.4))
            self._restart(0)
        elif what == "kill server twice":
            self._restart(0.05)
            time.sleep(0.1)
            self._restart(0.3)
        elif what == "hold database":
            self._hold(self._dice.uniform(0.2, 0.8))
        else:
            self._to_process(what)

    def let_go(self) -> None:
        for pid in self._frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _restart(self, pause_s: float) -> None:
        self._studio.kill()
        time.sleep(pause_s)
        self._studio.start()

    def _hold(self, for_s: float) -> None:
        held = sqlite3.connect(self._studio.data / "studio.db", timeout=2, isolation_level=None)
        with contextlib.closing(held), contextlib.suppress(sqlite3.OperationalError):
            held.execute("BEGIN IMMEDIATE")
            time.sleep(for_s)
            held.execute("ROLLBACK")

    def _to_process(self, what: str) -> None:
        kind = "jobs/shim.py" if what == "kill shim" else "qlora_studio.training.toy"
        pids = [pid for pid in own_processes(self._studio.data) if kind in _command(pid)]
        if not pids:
            return
        pid = self._dice.choice(sorted(pids))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP if what == "freeze worker" else signal.SIGKILL)
            if what == "freeze worker":
                self._frozen.append(pid)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
