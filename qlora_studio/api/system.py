"""What the server runs on, and what it has left."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from qlora_studio.api.security import CurrentUser
from qlora_studio.core import devices
from qlora_studio.db import engine as db
from qlora_studio.jobs import queue
from qlora_studio.services import system

router = APIRouter(tags=["System"])


@router.get("/system")
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
