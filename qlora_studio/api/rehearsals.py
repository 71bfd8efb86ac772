"""REST: try one step of a job before it is launched."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from qlora_studio.api.security import CurrentTrainer, CurrentUser
from qlora_studio.contracts.spec import TrainSpec
from qlora_studio.db import engine as db
from qlora_studio.services import rehearsals
from qlora_studio.services.rehearsals import RehearsalPublic

router = APIRouter(tags=["Jobs"])


@router.post("/jobs/rehearse", status_code=202)
def start_rehearsal(
    body: TrainSpec, user: CurrentTrainer, wait: Annotated[bool, Query()] = False
) -> RehearsalPublic:
    """Try one step of a job in a process of its own; nothing is queued.

    409 while jobs have all devices, unless it may `wait` until one has ended; 409 also while one of yours is
    being tried: the detail names it. After each step a job that is ready comes before the next one.
    """
    with db.read() as session:
        return RehearsalPublic.of(rehearsals.start(session, actor=user, spec=body, is_waiting=wait))


@router.get("/jobs/rehearse/{rehearsal_id}")
def get_rehearsal(rehearsal_id: str, user: CurrentUser) -> RehearsalPublic:
    """Say where a rehearsal is; once it is done, what came of it. It is known for an hour."""
    return RehearsalPublic.of(rehearsals.get(rehearsal_id, actor=user))


@router.delete("/jobs/rehearse/{rehearsal_id}", status_code=204)
def cancel_rehearsal(rehearsal_id: str, user: CurrentTrainer) -> Response:
    """End a rehearsal."""
    rehearsals.cancel(rehearsal_id, actor=user)
    return Response(status_code=204)
