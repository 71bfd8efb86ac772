"""What this machine is and has left: device, memory, disk, queue, versions."""

import os
import platform
import shutil
import threading
import time
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil
from sqlmodel import Session, col, func, select

from qlora_studio.contracts.enums import ACTIVE_STATUSES, JobStatus
from qlora_studio.core.settings import get_settings
from qlora_studio.db.models import Job

_PACKAGES = "qlora-studio reflex torch transformers peft bitsandbytes trl accelerate librosa sqlmodel".split()


@dataclass(frozen=True)
class Gpu:
    """One CUDA device. Memory in bytes, use in percent."""

    name: str
    memory_bytes: int
    memory_used_bytes: int
    percent: float | None


@dataclass(frozen=True)
class Machine:
    """The machine now. Memory and disk in bytes, use in percent."""

    device: str
    cpu_name: str
    n_cores: int
    cpu_percent: float
    memory_bytes: int
    memory_used_bytes: int
    disk_bytes: int
    disk_free_bytes: int
    gpus: list[Gpu] = field(default_factory=list)


def read_machine() -> Machine:
    """Look at the machine. The processor's use is since the last look, of all cores together."""
    memory = psutil.virtual_memory()
    data_path = get_settings().data_path
    disk = shutil.disk_usage(data_path if data_path.exists() else data_path.parent)
    gpus = _read_gpus()
    return Machine(
        device="cuda" if gpus else "cpu",
        cpu_name=_cpu_name(),
        n_cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        cpu_percent=_processor.percent(),
        memory_bytes=memory.total,
        memory_used_bytes=memory.total - memory.available,
        disk_bytes=disk.total,
        disk_free_bytes=disk.free,
        gpus=gpus,
    )


def count_queue(session: Session) -> tuple[int, int]:
    """Return how many jobs of everybody run and how many wait."""
    query = select(Job.status, func.count()).where(col(Job.status).in_([JobStatus.QUEUED, *ACTIVE_STATUSES]))
    found = dict(session.exec(query.group_by(col(Job.status))).all())
    n_queued = int(found.get(JobStatus.QUEUED, 0))
    return sum(map(int, found.values())) - n_queued, n_queued


@lru_cache(maxsize=1)
def read_versions() -> dict[str, str]:
    """The versions of Python and of the packages that matter, without importing any of them."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


class _Processor:
    """The processor's use over the last half second or more; two looks at once give the same answer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looked_at = 0.0
        self._percent = 0.0

    def percent(self) -> float:
        with self._lock:
            if time.monotonic() - self._looked_at >= 0.5:
                is_first = self._looked_at == 0.0  # it has nothing to compare with, so it waits a little
                self._percent = psutil.cpu_percent(interval=0.1 if is_first else None)
                self._looked_at = time.monotonic()
            return self._percent


_processor = _Processor()


@lru_cache(maxsize=1)
def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@lru_cache(maxsize=1)
def _nvml() -> Any:
    """Return the NVIDIA library, started, or None where there is no such driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # the library raises its own errors for every kind of absence
        return None
    return pynvml


def _read_gpus() -> list[Gpu]:
    nvml = _nvml()
    if nvml is None:
        return []
    found: list[Gpu] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        name = nvml.nvmlDeviceGetName(handle)
        try:
            percent = float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        except nvml.NVMLError:
            percent = None
        found.append(
            Gpu(
                name=name.decode() if isinstance(name, bytes) else name,
                memory_bytes=int(memory.total),
                memory_used_bytes=int(memory.used),
                percent=percent,
            )
        )
    return found
