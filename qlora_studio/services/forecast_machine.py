"""What there is to run a job on, and what of it is free now."""

import os
import shutil
from dataclasses import dataclass

import psutil

from qlora_studio.core import devices
from qlora_studio.core.settings import get_settings


@dataclass(frozen=True)
class Machine:
    """What is there to run on. `free_bytes` is of a card's memory on CUDA, else of the RAM.

    Of several cards it is the least free of those that the job would get.
    """

    device: str
    n_cores: int
    free_bytes: int | None
    free_disk_bytes: int


def look_at_machine(n_devices: int = 1) -> Machine:
    """Ask the operating system, and NVIDIA's driver if there is one, what is free now."""
    data = get_settings().data_path
    while not data.exists():
        data = data.parent
    card_free = _free_card_bytes(n_devices)
    return Machine(
        device="cuda" if card_free is not None else "cpu",
        n_cores=psutil.cpu_count(logical=False) or os.cpu_count() or 1,
        free_bytes=card_free if card_free is not None else psutil.virtual_memory().available,
        free_disk_bytes=shutil.disk_usage(data).free,
    )


def _free_card_bytes(n_cards: int) -> int | None:
    """Free memory of the fullest of the `n_cards` emptiest cards that jobs may use; None without any."""
    names = devices.list_cards()
    if not names:
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
        try:
            handles = devices.find_handles(names)
            free = sorted((int(pynvml.nvmlDeviceGetMemoryInfo(h).free) for h in handles), reverse=True)
            return free[min(n_cards, len(free)) - 1] if free else None
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return None
