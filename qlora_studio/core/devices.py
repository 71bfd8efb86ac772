"""The devices that jobs can train on, and how many jobs run at a time. Nothing of CUDA is started here."""

import os
from functools import lru_cache

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
    """Count the devices that may be busy at a time; a job takes as many slots as it has devices."""
    slots = get_settings().slots
    return count_devices() if slots is None else slots


def most_devices() -> int:
    """The largest number of devices that a job may ask for."""
    return max(1, min(count_devices(), count_slots()))


@lru_cache(maxsize=1)
def _count_cards() -> int:
    import pynvml

    try:
        pynvml.nvmlInit()
        try:
            return int(pynvml.nvmlDeviceGetCount())
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return 0
