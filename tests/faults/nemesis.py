"""What breaks things during a campaign."""

import contextlib
import os
import random
import signal
import sqlite3
import time
from pathlib import Path

from tests.faults.harness import is_gone
from tests.faults.studio import StudioProcess, own_processes
from tests.waiting import wait_for

FAULTS = (
    "kill server", "kill server twice", "kill worker", "kill shim", "freeze worker", "freeze shim",
    "freeze server", "second server", "hold database", "fill disk", "reboot",
)  # fmt: skip
REFUSED_WITHIN_S = 10.0
ANOTHER_BOOT = "00000000-0000-0000-0000-000000000000"


class Nemesis:
    """Breaks things by the schedule; what it froze or held is let go at the end."""

    def __init__(self, studio: StudioProcess, dice: random.Random) -> None:
        self._studio = studio
        self._dice = dice
        self._frozen: list[int] = []
        self.violations: list[str] = []

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
        elif what == "freeze server":
            self._freeze_server(self._dice.uniform(0.2, 1.5))
        elif what == "second server":
            self._start_second()
        elif what == "fill disk":
            self._fill_disk(self._dice.uniform(0.2, 0.8))
        elif what == "reboot":
            self._reboot()
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

    def _freeze_server(self, for_s: float) -> None:
        if (pid := self._studio.pid) is not None:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(for_s)
            os.kill(pid, signal.SIGCONT)

    def _start_second(self) -> None:
        """Somebody starts another one on the same folder, once the first one has it."""
        self._studio.wait_until_it_answers()
        second = self._studio.another()
        second.start()
        assert second.pid is not None
        deadline = time.monotonic() + REFUSED_WITHIN_S
        while not is_gone(second.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        if not is_gone(second.pid):
            self.violations.append("a second server on the same folder was not refused")
        second.kill()

    def _fill_disk(self, for_s: float) -> None:
        """Leave no byte on the data folder's volume for a while; elsewhere than on a small one, nothing."""
        if not os.path.ismount(self._studio.data):
            return
        ballast = self._studio.data / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 65536)
        time.sleep(for_s)
        ballast.unlink()

    def _reboot(self) -> None:
        """All processes of it are gone, and what is written down is from a boot before this one."""
        self._studio.kill()
        for pid in own_processes(self._studio.data):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not own_processes(self._studio.data), what="the end of all processes")
        with contextlib.closing(sqlite3.connect(self._studio.data / "studio.db", timeout=5)) as database:
            for table in ("job", "queue_state"):
                database.execute(f"UPDATE {table} SET boot_id = ? WHERE boot_id != ''", (ANOTHER_BOOT,))
            database.commit()
        self._studio.start()

    def _to_process(self, what: str) -> None:
        kind = "jobs/shim.py" if what.endswith("shim") else "qlora_studio.training.toy"
        pids = [pid for pid in own_processes(self._studio.data) if kind in _command(pid)]
        if not pids:
            return
        pid = self._dice.choice(sorted(pids))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP if what.startswith("freeze") else signal.SIGKILL)
            if what.startswith("freeze"):
                self._frozen.append(pid)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
