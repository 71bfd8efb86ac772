"""A thread that reports what the process uses, and ends the process when its parent dies."""

import contextlib
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import psutil

from qlora_studio.training.events import EventWriter

BEAT_EVERY_S = 2.0
WATCH_EVERY_S = 0.25
ORPHAN_EXIT_CODE = 75


class Heartbeat:
    """Emits `heartbeat` events every two seconds, also while a step or an evaluation takes minutes.

    The parent (the shim) holds the lock that says "this job is alive"; a worker that outlived it could run
    beside its own successor, so the worker ends at once when its parent changes. Of a job in several
    processes, what all of them use is told; their parent is the launcher.
    """

    def __init__(self, events: EventWriter, disk_path: Path, *, n_processes: int = 1) -> None:
        self.step = 0
        self.peak_rss_bytes = 0
        self._events = events
        self._disk_path = disk_path
        self._parent = os.getppid()
        self._process = psutil.Process()
        self._n_others = n_processes - 1
        self._others: list[psutil.Process] = []
        self._gpu = _find_gpu()
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
        self.peak_rss_bytes = max(self.peak_rss_bytes, rss)
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
            **_gpu_use(self._gpu),
        )


def _find_gpu() -> Any | None:
    """Return an NVML handle of the first GPU this process may use, or None."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible == "":
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
        first = (visible or "0").split(",")[0]
        return pynvml.nvmlDeviceGetHandleByIndex(int(first)) if first.isdigit() else None
    except Exception:  # no driver, no library, no device: a machine without a GPU is normal
        return None


def _gpu_use(gpu: Any | None) -> dict[str, float | int]:
    if gpu is None:
        return {}
    import pynvml

    try:
        return {
            "gpu_percent": float(pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu),
            "gpu_memory_bytes": int(pynvml.nvmlDeviceGetMemoryInfo(gpu).used),
        }
    except pynvml.NVMLError:
        return {}
