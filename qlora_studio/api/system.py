"""What the server runs on, what it has left, and the audit log."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from qlora_studio.api.security import CurrentAdmin, CurrentUser
from qlora_studio.core import devices
from qlora_studio.db import engine as db
from qlora_studio.jobs import queue
from qlora_studio.services import audit, system

router = APIRouter(tags=["System"])


class AuditLine(BaseModel):
    """Who did what, when, to what; what is done very often `n` times in a day, lastly at `last_at`."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    at: datetime
    actor_id: str | None
    actor_name: str
    action: str
    object_type: str
    object_id: str
    object_name: str
    details: dict[str, Any]
    n: int
    last_at: datetime | None


class AuditPage(BaseModel):
    items: list[AuditLine]
    total: int
    page: int
    page_size: int


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


@router.get("/audit")
def list_audit(
    admin: CurrentAdmin,
    query: Annotated[str, Query(max_length=200)] = "",
    page: Annotated[int, Query(ge=1)] = 1,
    page_size: Annotated[int, Query(ge=1, le=100)] = 25,
) -> AuditPage:
    """Who did what, newest first (admin)."""
    with db.read() as session:
        lines, total = audit.list_events(session, actor=admin, query=query, page=page, page_size=page_size)
        items = [AuditLine.model_validate(line) for line in lines]
    return AuditPage(items=items, total=total, page=page, page_size=page_size)
