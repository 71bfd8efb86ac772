"""The queue: look at it, pause it, let it go on, and move jobs within it."""

from fastapi import APIRouter

from qlora_studio.api.security import CurrentTrainer, CurrentUser
from qlora_studio.db import engine as db
from qlora_studio.services import queue
from qlora_studio.services.queue import MoveRequest, QueuePublic, QueueUpdate

router = APIRouter(tags=["Queue"])


@router.get("/queue")
def get_queue(user: CurrentUser) -> QueuePublic:
    """Return the queue."""
    with db.read() as session:
        return queue.get_queue(session, actor=user)


@router.patch("/queue")
def update_queue(body: QueueUpdate, user: CurrentTrainer) -> QueuePublic:
    """Pause the queue with a note, or let it go on (admins). What runs is not touched."""
    with db.write() as session:
        queue.set_paused(session, actor=user, is_paused=body.is_paused, note=body.note)
        return queue.get_queue(session, actor=user)


@router.post("/jobs/{job_id}/move")
def move_job(job_id: str, body: MoveRequest, user: CurrentTrainer) -> QueuePublic:
    """Put a queued job into another place among its owner's. 409 when it has begun."""
    with db.write() as session:
        queue.move(session, actor=user, job_id=job_id, position=body.position)
        session.flush()
        return queue.get_queue(session, actor=user)
