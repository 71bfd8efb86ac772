"""Sweeps: launch one, list them, compare its jobs, stop them all."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from sqlmodel import Session

from qlora_studio.api.idempotency import IdempotencyHeader, create_once
from qlora_studio.api.lists import Filter, Page
from qlora_studio.api.security import CurrentTrainer, CurrentUser
from qlora_studio.db import engine as db
from qlora_studio.services import sweeps
from qlora_studio.services.sweeps import SweepCreate, SweepDetail, SweepPublic

router = APIRouter(tags=["Sweeps"])


class SweepPage(Page[SweepPublic]):
    """One page of sweeps."""


@router.post("/sweeps", status_code=201, response_model=SweepDetail)
def create_sweep(
    body: SweepCreate, user: CurrentTrainer, request: Request, key: IdempotencyHeader = None
) -> JSONResponse:
    """Queue one job for each combination of up to three parameters' values: all of them or none."""

    def create(session: Session) -> SweepDetail:
        group = sweeps.submit(session, actor=user, spec=body.spec, axes=body.axes)
        return sweeps.get_sweep(session, actor=user, group_id=group.id)

    return create_once(user=user, key=key, request=request, body=body, create=create)


@router.get("/sweeps")
def list_sweeps(user: CurrentUser, wanted: Annotated[Filter, Query()]) -> SweepPage:
    """Return one page of your sweeps, newest first."""
    with db.read() as session:
        found, total = sweeps.list_sweeps(
            session, actor=user, query=wanted.query, page=wanted.page, page_size=wanted.page_size
        )
    return SweepPage.of(found, total, wanted)


@router.get("/sweeps/{sweep_id}")
def get_sweep(sweep_id: str, user: CurrentUser) -> SweepDetail:
    """Return a sweep's comparison table: each job's values, status and result, and which is best so far."""
    with db.read() as session:
        return sweeps.get_sweep(session, actor=user, group_id=sweep_id)


@router.post("/sweeps/{sweep_id}/stop", status_code=202)
def stop_sweep(sweep_id: str, user: CurrentTrainer) -> SweepDetail:
    """Stop all of its jobs that have not ended, keeping adapters."""
    with db.write() as session:
        sweeps.stop(session, actor=user, group_id=sweep_id)
        session.flush()
        return sweeps.get_sweep(session, actor=user, group_id=sweep_id)
