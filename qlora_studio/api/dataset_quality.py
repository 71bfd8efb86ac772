"""REST: what is wrong with a dataset, what is left out, and how it is split."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Body, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlmodel import Session

from qlora_studio.api.datasets import DatasetPublic
from qlora_studio.api.idempotency import IdempotencyHeader, create_once
from qlora_studio.api.lists import Page, Paging
from qlora_studio.api.problems import answers
from qlora_studio.api.security import CurrentTrainer, CurrentUser
from qlora_studio.db import engine
from qlora_studio.services import exclusions, reports, splits
from qlora_studio.services.exclusions import ExclusionCreate, ExclusionView
from qlora_studio.services.reports import Report
from qlora_studio.services.splits import SplitPreview, SplitRequest

router = APIRouter(tags=["Datasets"])

Limits = Annotated[dict[str, float | None], Body(max_length=20)]


class ExclusionPublic(BaseModel):
    """Clips left out together. `check` is empty for a choice by hand; `n_left_out` are out by it now."""

    id: str
    check: str
    n_clips: int
    n_left_out: int
    created_by: str | None
    created_at: datetime

    @classmethod
    def of(cls, view: ExclusionView) -> "ExclusionPublic":
        names = ("id", "check", "n_clips", "created_by", "created_at")
        return cls(**{name: getattr(view.exclusion, name) for name in names}, n_left_out=view.n_left_out)


class ExclusionPage(Page[ExclusionPublic]):
    """One page of what is left out together."""


class TakenBack(BaseModel):
    """How many clips are in again."""

    n_clips: int


@router.get("/datasets/{dataset_id}/report", responses=answers(409, 507))
def get_report(dataset_id: str, user: CurrentUser) -> Report:
    """Return the quality report; it is computed first if content or limits have changed."""
    reports.bring_up_to_date(actor=user, dataset_id=dataset_id)
    with engine.read() as session:
        return reports.get_report(session, actor=user, dataset_id=dataset_id)


@router.patch("/datasets/{dataset_id}/checks")
def set_limits(dataset_id: str, body: Limits, user: CurrentTrainer) -> Report:
    """Set limits of the report by their key, null for the default; returns the new report."""
    with engine.write() as session:
        reports.set_limits(session, actor=user, dataset_id=dataset_id, limits=body)
    return get_report(dataset_id, user)


@router.get("/datasets/{dataset_id}/exclusions")
def list_exclusions(dataset_id: str, user: CurrentUser, wanted: Annotated[Paging, Query()]) -> ExclusionPage:
    """List what is left out together and can be taken back, newest first."""
    with engine.read() as session:
        found = exclusions.list_exclusions(session, actor=user, dataset_id=dataset_id)
    return ExclusionPage.cut([ExclusionPublic.of(view) for view in found], wanted)


@router.post("/datasets/{dataset_id}/exclusions", response_model=ExclusionPublic)
def create_exclusion(
    dataset_id: str,
    body: ExclusionCreate,
    user: CurrentTrainer,
    request: Request,
    key: IdempotencyHeader = None,
) -> JSONResponse:
    """Leave out what a `check` found (of duplicates all but the first), or the clips in `clip_ids`."""
    if body.check is not None:
        reports.bring_up_to_date(actor=user, dataset_id=dataset_id)

    def create(session: Session) -> ExclusionPublic:
        return ExclusionPublic.of(exclusions.create(session, actor=user, dataset_id=dataset_id, form=body))

    return create_once(user=user, key=key, request=request, body=body, create=create, status_code=200)


@router.delete("/datasets/{dataset_id}/exclusions/{exclusion_id}")
def undo_exclusion(dataset_id: str, exclusion_id: str, user: CurrentTrainer) -> TakenBack:
    """Take back exactly the clips that this exclusion left out."""
    with engine.write() as session:
        n_clips = exclusions.undo(session, actor=user, dataset_id=dataset_id, exclusion_id=exclusion_id)
    return TakenBack(n_clips=n_clips)


@router.post("/datasets/{dataset_id}/splits")
def split(
    dataset_id: str, body: SplitRequest, user: CurrentTrainer, preview: Annotated[bool, Query()] = False
) -> DatasetPublic | SplitPreview:
    """Deal the clips out by ratio and seed; with `preview=1` only show what that would give."""
    with engine.read() as session:
        plan = splits.plan(session, actor=user, dataset_id=dataset_id, form=body)
    if preview:
        return plan.preview
    with engine.write() as session:
        return DatasetPublic.of(splits.apply(session, actor=user, plan=plan))
