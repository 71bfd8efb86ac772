"""REST: what is wrong with a dataset, what is left out, and how it is split."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query
from pydantic import BaseModel

from qlora_studio.api.datasets import DatasetPublic
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


@router.get("/datasets/{dataset_id}/report")
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
def list_exclusions(dataset_id: str, user: CurrentUser) -> dict[str, Any]:
    """List what is left out together and can be taken back, newest first."""
    with engine.read() as session:
        found = exclusions.list_exclusions(session, actor=user, dataset_id=dataset_id)
    return {"items": [ExclusionPublic.of(view) for view in found], "total": len(found)}


@router.post("/datasets/{dataset_id}/exclusions")
def create_exclusion(dataset_id: str, body: ExclusionCreate, user: CurrentTrainer) -> ExclusionPublic:
    """Leave out what a `check` found (of duplicates all but the first), or the clips in `clip_ids`."""
    if body.check is not None:
        reports.bring_up_to_date(actor=user, dataset_id=dataset_id)
    with engine.write() as session:
        return ExclusionPublic.of(exclusions.create(session, actor=user, dataset_id=dataset_id, form=body))


@router.delete("/datasets/{dataset_id}/exclusions/{exclusion_id}")
def undo_exclusion(dataset_id: str, exclusion_id: str, user: CurrentTrainer) -> dict[str, int]:
    """Take back exactly the clips that this exclusion left out."""
    with engine.write() as session:
        n_clips = exclusions.undo(session, actor=user, dataset_id=dataset_id, exclusion_id=exclusion_id)
    return {"n_clips": n_clips}


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
