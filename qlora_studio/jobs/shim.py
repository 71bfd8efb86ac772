"""The small process that stands between the server and one training worker.

`python -m qlora_studio.jobs.shim <attempt folder>` reads `launch.json` there and

1. takes an exclusive lock on `shim.lock`, handed on to the worker: the lock is held while either lives, and
   that is what "alive" means to everybody else;
2. detaches itself (own session, adopted by init), so that no end of the server can end it;
3. starts the worker, which the kernel kills if the shim dies;
4. keeps `worker.log` within bounds, watches `stop.json`, and writes `exit.json` by rename when the worker has
   ended and nothing of its process tree is left.

`shim.py --spare` starts its worker first (`qlora_studio/training/spare.py`), without an attempt: a first line
of standard input says how (`command`, `env`, `nice`, `idle_s`), another names the attempt folder and is
answered with the exit code below. It leaves with its worker when nobody is there any more to name one.

An attempt folder is used once: a second shim on the same folder leaves without doing anything. Standard
library only, so that it starts in milliseconds and never breaks for a package's sake. Exit codes of the first
process: 0 the shim is running, 3 the attempt is taken, 2 `launch.json` can't be read.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

TAKEN = 3
UNREADABLE = 2
POLL_S = 0.1
TERM_AFTER_S = 3.0  # the worker polls stop.json by itself; this is for one that is between two polls
MAX_GRACE_S = 600.0
GONE_WITHIN_S = 20.0
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main(argv: list[str]) -> int:
    """Run one attempt; see the module's docstring."""
    if argv[1] == "--spare":
        return _stand_by()
    claim = _claim(Path(argv[1]).resolve())
    if isinstance(claim, int):
        return claim
    if os.fork():
        return 0
    os.setsid()
    _close_standard_streams()
    _Shim(claim).run()
    return 0


class _Claim(NamedTuple):
    attempt: Path
    launch: dict[str, Any]
    lock: int


def _claim(attempt: Path) -> _Claim | int:
    """Read an attempt's `launch.json` and take its lock, or return the exit code that says why not."""
    try:
        launch = json.loads((attempt / "launch.json").read_bytes())
    except (OSError, ValueError) as error:
        print(f"launch.json: {error}", file=sys.stderr)
        return UNREADABLE
    lock = _take_lock(attempt / "shim.lock")
    if lock is None or (attempt / "shim.json").exists():
        return TAKEN
    return _Claim(attempt, launch, lock)


def _stand_by() -> int:
    """Start a worker that waits, and give it the attempt that is named in time."""
    how = json.loads(_read_line(None))
    if os.fork():
        return 0
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    spare = _Spare(how)
    try:
        while (name := _read_line(float(how["idle_s"]))) == "stay":
            pass
        claim = _claim(Path(name)) if name else None
        if claim is None:
            return 0
        code = claim if isinstance(claim, int) else 0
        with contextlib.suppress(OSError):  # whoever asked is gone: the attempt is claimed all the same
            os.write(1, f"{code}\n".encode())
        if not isinstance(claim, int):
            _close_standard_streams()
            _Shim(claim, spare).run()
        return 0
    finally:
        if spare.worker.poll() is None:  # it was not wanted
            _kill_tree(spare.worker.pid)


def _read_line(within_s: float | None) -> str:
    """The newest line of standard input; empty when it has closed, or none came in time."""
    line = b""
    while not line.endswith(b"\n"):
        if not select.select([0], [], [], within_s)[0] or not (piece := os.read(0, 65536)):
            return ""
        line += piece
    return line.decode().splitlines()[-1]


class _Spare:
    """A worker that has imported what it will need, and waits on a socket to be told what to run."""

    def __init__(self, how: dict[str, Any]) -> None:
        import socket

        self._how = how
        self._socket, theirs = socket.socketpair()
        with theirs:
            self.worker = _start_process(how, stdin=theirs.fileno())

    def take(self, launch: dict[str, Any], lock: int) -> bool:
        """Hand it an attempt and its lock; False if it was made for another kind, or has ended."""
        import socket

        if self.worker.poll() is not None or any(launch.get(n) != self._how.get(n) for n in ("env", "nice")):
            return False
        message = json.dumps({"command": launch["command"], "cwd": launch["cwd"]}).encode()
        try:
            socket.send_fds(self._socket, [message], [lock])
        except OSError:
            return False
        self._socket.close()
        return True


def _start_process(
    how: dict[str, Any], *, stdin: int = subprocess.DEVNULL, pass_fds: tuple[int, ...] = ()
) -> subprocess.Popen[bytes]:
    """Start a worker that the kernel kills if this process dies."""
    parent, libc = os.getpid(), ctypes.CDLL(None)

    def before_exec() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # the shim died between fork and prctl
            os._exit(1)
        with contextlib.suppress(OSError):
            os.nice(int(how.get("nice", 0)))

    return subprocess.Popen(
        how["command"],
        cwd=how.get("cwd"),
        env=how.get("env"),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
        pass_fds=pass_fds,
        start_new_session=True,
        preexec_fn=before_exec,  # noqa: PLW1509  this process has one thread
    )


def _take_lock(path: Path) -> int | None:
    """Open and lock the file. Waits a moment, for a reader may be testing the lock just now."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    for _ in range(50):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            time.sleep(0.02)
    return None


def _close_standard_streams() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.close(null)


class _Log:
    """`worker.log` of at most `max_bytes`; the part before it is kept once as `worker.log.1`.

    `worker.log.start` says where in the whole output the file of that inode begins, so that a reader can go
    on after any number of rotations.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._max = max_bytes
        self._file = path.open("ab", buffering=0)
        self._start = 0
        self._size = path.stat().st_size

    def write(self, data: bytes) -> None:
        # A full disk must not end the training: what can't be written is dropped.
        with contextlib.suppress(OSError):
            if self._size + len(data) > self._max:
                self._rotate()
            self._file.write(data)
            self._size += len(data)

    def _rotate(self) -> None:
        # The new file comes first: where it can't be had, the old one is kept and the next line tries again.
        fresh = self._path.with_name(f".{self._path.name}.fresh")
        file = fresh.open("ab", buffering=0)
        try:
            if self._path.exists():  # else only the last step failed before
                os.replace(self._path, self._path.with_name(self._path.name + ".1"))
            os.replace(fresh, self._path)
        except OSError:
            file.close()
            raise
        self._file.close()
        self._file = file
        self._start += self._size
        self._size = 0
        record = {"inode": os.fstat(self._file.fileno()).st_ino, "start": self._start}
        partial = self._path.with_name(f".{self._path.name}.start.partial")
        with contextlib.suppress(OSError):
            partial.write_text(json.dumps(record))
            os.replace(partial, self._path.with_name(self._path.name + ".start"))


class _Shim:
    def __init__(self, claim: _Claim, spare: _Spare | None = None) -> None:
        self._attempt, self._launch, self._lock = claim
        self._spare = spare
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._stop_since: float | None = None
        self._term_sent = False
        self._escalated = False
        self._asked_to_end = False

    def run(self) -> None:
        self._libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # the worker's orphans come to us
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        exit_file = self._reserve_exit_file()
        self._write_shim_file(None)  # claimed: from here on the attempt is never started again
        if self._read_stop() is not None:
            self._write_exit(exit_file, None)
            return
        worker = self._start()
        self._write_shim_file(worker.pid)
        returncode = self._watch(worker)
        _kill_tree(worker.pid)
        self._write_exit(exit_file, returncode)

    def _on_term(self, _number: int, _frame: Any) -> None:
        self._asked_to_end = True

    # -- the worker ----------------------------------------------------------------------------------------

    def _start(self) -> subprocess.Popen[bytes]:
        if self._spare is not None and self._spare.take(self._launch, self._lock):
            return self._spare.worker
        return _start_process(self._launch, pass_fds=(self._lock,))

    def _watch(self, worker: subprocess.Popen[bytes]) -> int:
        """Copy output and obey `stop.json` until the worker has ended; return its return code."""
        assert worker.stdout is not None
        log = _Log(self._attempt / "worker.log", int(self._launch.get("log_max_bytes", 8 << 20)))
        pipe: int | None = worker.stdout.fileno()
        os.set_blocking(worker.stdout.fileno(), False)
        while worker.poll() is None:
            if pipe is None:
                time.sleep(POLL_S / 2)
            elif select.select([pipe], [], [], POLL_S)[0] and not self._copy(pipe, log):
                pipe = None
            self._obey_stop(worker.pid)
        if pipe is not None:
            self._copy(pipe, log)
        return worker.returncode

    @staticmethod
    def _copy(pipe: int, log: _Log) -> bool:
        """Copy what is there now, a mebibyte at most; False when the other end is closed."""
        for _ in range(16):
            try:
                data = os.read(pipe, 65536)
            except BlockingIOError:
                return True
            if not data:
                return False
            log.write(data)
        return True

    # -- stopping ------------------------------------------------------------------------------------------

    def _read_stop(self) -> dict[str, Any] | None:
        """The wish to stop: `mode` save or kill, and `grace_s` where a step takes long; None without one."""
        try:
            wish = json.loads((self._attempt / "stop.json").read_bytes())
        except FileNotFoundError:
            return {"mode": "save"} if self._asked_to_end else None
        except (OSError, ValueError):
            return {"mode": "save"}
        return wish if isinstance(wish, dict) else {"mode": "save"}

    def _obey_stop(self, pid: int) -> None:
        wish = self._read_stop()
        if wish is None:
            return
        now = time.monotonic()
        if self._stop_since is None:
            self._stop_since = now
        waited = now - self._stop_since
        if wish.get("mode") == "kill":
            _signal_group(pid, signal.SIGKILL)
        elif waited >= self._grace_s(wish):
            self._escalated = True
            _signal_group(pid, signal.SIGKILL)
        elif (waited >= TERM_AFTER_S or self._asked_to_end) and not self._term_sent:
            self._term_sent = True
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def _grace_s(self, wish: dict[str, Any]) -> float:
        wished = wish.get("grace_s")
        usual = float(self._launch.get("stop_grace_s", 25.0))
        return max(usual, min(float(wished), MAX_GRACE_S)) if isinstance(wished, int | float) else usual

    # -- records -------------------------------------------------------------------------------------------

    def _reserve_exit_file(self) -> Path:
        """Take the bytes for `exit.json` now, so that a full disk can't hide how the worker ended."""
        path = self._attempt / ".exit.json.partial"
        with contextlib.suppress(OSError):
            path.write_bytes(b" " * 512)
        return path

    def _write_exit(self, partial: Path, returncode: int | None) -> None:
        record = {
            "v": 1,
            "returncode": returncode,
            "signal": -returncode if returncode is not None and returncode < 0 else None,
            "escalated": self._escalated,
            "ended_at": time.time(),
        }
        data = json.dumps(record).encode().ljust(512)
        with contextlib.suppress(OSError):
            with open(partial, "r+b" if partial.exists() else "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, self._attempt / "exit.json")

    def _write_shim_file(self, worker_pid: int | None) -> None:
        record = {
            "v": 1,
            "shim_pid": os.getpid(),
            "worker_pid": worker_pid,
            "worker_start_ticks": _start_ticks(worker_pid) if worker_pid else None,
            "boot_id": _boot_id(),
            "started_at": time.time(),
        }
        partial = self._attempt / ".shim.json.partial"
        with contextlib.suppress(OSError):
            partial.write_text(json.dumps(record))
            os.replace(partial, self._attempt / "shim.json")


def _kill_tree(pid: int) -> None:
    """Kill what the worker left behind and wait until it is gone; orphans have become our children."""
    deadline = time.monotonic() + GONE_WITHIN_S
    while time.monotonic() < deadline:
        _signal_group(pid, signal.SIGKILL)
        for child in _children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not ended:
            time.sleep(0.02)


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _children() -> list[int]:
    me = os.getpid()
    try:
        return [int(p) for p in Path(f"/proc/self/task/{me}/children").read_text().split()]
    except OSError:
        return []


def _start_ticks(pid: int) -> int | None:
    """Field 22 of /proc/pid/stat: with the pid it names one process and no later one."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv))
