"""What the server runs on, and what it has left."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from qlora_studio.api.security import CurrentUser
from qlora_studio.core import devices
from qlora_studio.db import engine as db
from qlora_studio.jobs import queue
from qlora_studio.services import system
from qlora_studio.services.system import Gpu

router = APIRouter(tags=["System"])


class DevicePublic(BaseModel):
    """What computes; `most_per_job` devices may work on one job."""

    kind: str
    cpu: str
    n_cores: int
    cpu_percent: float
    gpus: list[Gpu]
    most_per_job: int


class MemoryPublic(BaseModel):
    total_bytes: int
    used_bytes: int


class DiskPublic(BaseModel):
    total_bytes: int
    free_bytes: int


class QueueCounts(BaseModel):
    running: int
    queued: int
    slots: int
    is_paused: bool


class SystemPublic(BaseModel):
    """The machine as it is now, and versions by package."""

    device: DevicePublic
    memory: MemoryPublic
    disk: DiskPublic
    queue: QueueCounts
    versions: dict[str, str]


@router.get("/system", response_model=SystemPublic)
def get_system(_user: CurrentUser) -> dict[str, Any]:
    """Device, memory and disk in bytes, queue, and versions."""
    machine = asdict(system.read_machine())
    with db.read() as session:
        n_running, n_queued = system.count_queue(session)
        is_paused = queue.read_state(session).is_paused
    return {
        "device": {
            "kind": machine["device"],
            "cpu": machine["cpu_name"],
            "n_cores": machine["n_cores"],
            "cpu_percent": machine["cpu_percent"],
            "gpus": machine["gpus"],
            "most_per_job": devices.most_devices(),
        },
        "memory": {"total_bytes": machine["memory_bytes"], "used_bytes": machine["memory_used_bytes"]},
        "disk": {"total_bytes": machine["disk_bytes"], "free_bytes": machine["disk_free_bytes"]},
        "queue": {
            "running": n_running,
            "queued": n_queued,
            "slots": devices.count_slots(),
            "is_paused": is_paused,
        },
        "versions": system.read_versions(),
    }
