"""Two to six jobs side by side."""

from typing import Annotated

from fastapi import APIRouter, Query

from qlora_studio.api.problems import answers
from qlora_studio.api.security import CurrentUser
from qlora_studio.db import engine as db
from qlora_studio.jobs.metrics import MAX_POINTS
from qlora_studio.services import comparisons
from qlora_studio.services.reading_schemas import ComparisonPublic

router = APIRouter(tags=["Jobs"])


@router.get("/comparisons", responses=answers(404))
def compare_jobs(
    *,
    user: CurrentUser,
    ids: Annotated[list[str], Query(description="Two to six ids: repeated, or separated by commas.")],
    keys: Annotated[list[str] | None, Query(description="Curves; all of the training unless told.")] = None,
    max_points: Annotated[int, Query(ge=16, le=MAX_POINTS)] = 600,
) -> ComparisonPublic:
    """Return jobs side by side: settings that differ, figures, curves, and the same clips in each."""
    with db.read() as session:
        found = comparisons.compare_jobs(session, actor=user, job_ids=split(ids))
    return ComparisonPublic.of(found, keys=split(keys or []), max_points=max_points)


def split(given: list[str]) -> list[str]:
    """The parts of a parameter that may be repeated, or hold several parts with commas between."""
    return [part for text in given for part in text.split(",") if part]
