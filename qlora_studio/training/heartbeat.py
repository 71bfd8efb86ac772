"""A thread that reports what the process uses, and ends the process when its parent dies."""

import contextlib
import os
import shutil
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from qlora_studio.core import devices
from qlora_studio.training.events import EventWriter

BEAT_EVERY_S = 2.0
WATCH_EVERY_S = 0.25
ORPHAN_EXIT_CODE = 75


class Heartbeat:
    """Emits `heartbeat` events every two seconds, also while a step or an evaluation takes minutes.

    The parent (the shim) holds the lock that says "this job is alive"; a worker that outlived it could run
    beside its own successor, so the worker ends at once when its parent changes. Of a job in several
    processes, what all of them use is told; their parent is the launcher.

    Args:
        cards: the CUDA devices that are the job's, as CUDA_VISIBLE_DEVICES names them; empty: the first one
            that is visible.
    """

    def __init__(
        self, events: EventWriter, disk_path: Path, *, n_processes: int = 1, cards: Sequence[str] = ()
    ) -> None:
        self.step = 0
        self.peak_rss_bytes = 0
        self._events = events
        self._disk_path = disk_path
        self._parent = os.getppid()
        self._process = psutil.Process()
        self._n_others = n_processes - 1
        self._others: list[psutil.Process] = []
        self._gpus = _find_gpus(cards[:n_processes])
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._process.cpu_percent()  # the first call only sets the reference point
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        self._beat(is_first=True)
        waited = 0.0
        while not self._done.wait(WATCH_EVERY_S):
            if os.getppid() != self._parent:
                self._events.sync()
                os._exit(ORPHAN_EXIT_CODE)
            self._note_memory()
            waited += WATCH_EVERY_S
            if waited >= BEAT_EVERY_S:
                self._beat()
                waited = 0.0

    def _note_memory(self) -> int:
        rss = self._process.memory_info().rss
        for other in self._others:
            with contextlib.suppress(psutil.Error):
                rss += other.memory_info().rss
        alone = _high_water_bytes() if not self._others else 0
        self.peak_rss_bytes = max(self.peak_rss_bytes, rss, alone)
        return rss

    def _find_others(self) -> None:
        if len(self._others) < self._n_others:
            with contextlib.suppress(psutil.Error):
                children = psutil.Process(self._parent).children()
                self._others = [child for child in children if child.pid != self._process.pid]

    def _cpu_percent(self) -> float:
        """The use since the last call; of a process that is new, 0."""
        percent = self._process.cpu_percent()
        for other in self._others:
            with contextlib.suppress(psutil.Error):
                percent += other.cpu_percent()
        return percent

    def _beat(self, *, is_first: bool = False) -> None:
        self._find_others()
        self._events.emit(
            "heartbeat",
            step=self.step,
            cpu_percent=None if is_first else self._cpu_percent(),
            rss_bytes=self._note_memory(),
            disk_free_bytes=shutil.disk_usage(self._disk_path).free,
            peak_rss_bytes=self.peak_rss_bytes,
            peak_gpu_bytes=peak_gpu_bytes(),
            **_gpu_use(self._gpus),
        )


def _high_water_bytes() -> int:
    """The most memory that this process has held, as the kernel counts it; 0 where it does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            line = next((line for line in file if line.startswith("VmHWM:")), "")
    except (OSError, ValueError):
        return 0
    return int(line.split()[1]) * 1024 if line else 0


def peak_gpu_bytes() -> int | None:
    """The most memory that torch took of this process's card; None without one, or before torch uses it."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    try:
        return int(cuda.max_memory_reserved()) if cuda is not None and cuda.is_initialized() else None
    except AttributeError:  # it is being imported by the other thread
        return None


def _find_gpus(cards: Sequence[str]) -> list[Any]:
    """Return NVML handles of the job's cards; none on a machine without."""
    names = list(cards) or devices.list_cards()[:1]
    if not names:
        return []
    import pynvml

    try:
        pynvml.nvmlInit()
        return devices.find_handles(names)
    except pynvml.NVMLError:  # no driver, no device: a machine without a GPU is normal
        return []


def _gpu_use(gpus: Sequence[Any]) -> dict[str, float | int]:
    """The use of all of the job's cards: their memory together, their work on average."""
    if not gpus:
        return {}
    import pynvml

    try:
        shares = [float(pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu) for gpu in gpus]
        used = sum(int(pynvml.nvmlDeviceGetMemoryInfo(gpu).used) for gpu in gpus)
    except pynvml.NVMLError:
        return {}
    return {"gpu_percent": sum(shares) / len(shares), "gpu_memory_bytes": used}
