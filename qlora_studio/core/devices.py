"""The devices that jobs can train on, and how many jobs run at a time. Nothing of CUDA is started here."""

import os
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from qlora_studio.core.settings import get_settings


def list_cards() -> list[str]:
    """Name the CUDA devices that this process may use, the way CUDA_VISIBLE_DEVICES does."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        named = [name.strip() for name in visible.split(",")]
        return [name for name in named if name and name != "-1"] if _count_cards() else []
    return [str(index) for index in range(_count_cards())]


def count_devices() -> int:
    """Count what one job can be spread over: CUDA devices, else what is set for the processor, usually 1."""
    return len(list_cards()) or get_settings().cpu_devices


def count_slots() -> int:
    """Count the places for jobs: so many on each device. A job takes as many slots as it has devices."""
    return count_devices() * get_settings().slots


def most_devices() -> int:
    """The largest number of devices that a job may ask for, whether or not jobs are started at the moment."""
    return count_devices()


def find_handles(names: Sequence[str]) -> list[Any]:
    """NVML's handles of cards, named as CUDA_VISIBLE_DEVICES does: by number, or by (the start of) a UUID.

    As CUDA does, it stops at the first name that no card has. NVML must have been initialised.
    """
    import pynvml

    handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    uuids = [str(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles]
    found: list[Any] = []
    for name in names:
        by_uuid = (handle for handle, uuid in zip(handles, uuids, strict=True) if uuid.startswith(name))
        by_number = handles[int(name)] if name.isdigit() and int(name) < len(handles) else None
        handle = by_number if name.isdigit() else next(by_uuid, None)
        if handle is None:
            break
        found.append(handle)
    return found


def _count_cards() -> int:
    """Count the machine's cards. What was found stays; a driver that isn't there is asked each minute."""
    return _count_in(int(time.monotonic() // 60))


@lru_cache(maxsize=1)
def _count_in(_minute: int) -> int:
    import pynvml

    try:
        return _ask_driver()
    except pynvml.NVMLError:
        return 0


@lru_cache(maxsize=1)
def _ask_driver() -> int:
    import pynvml

    pynvml.nvmlInit()
    try:
        return int(pynvml.nvmlDeviceGetCount())
    finally:
        pynvml.nvmlShutdown()
