"""Ratings of takes, what they say in all, and whether it is enough to train on."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from qlora_studio.api.security import CurrentUser
from qlora_studio.db import engine as db
from qlora_studio.services import ratings
from qlora_studio.services.rating_schemas import OVERALL, FeedbackStats, RatingPublic, RatingPut, Readiness

router = APIRouter(tags=["Feedback"])

ModelId = Annotated[str | None, Query(max_length=32)]


class RatingList(BaseModel):
    """All ratings of a take."""

    items: list[RatingPublic]


@router.put("/takes/{take_id}/rating")
def put_rating(take_id: str, body: RatingPut, user: CurrentUser) -> RatingPublic:
    """Rate a take by a criterion; your own rating by the same one is replaced."""
    with db.write() as session:
        return RatingPublic.of(ratings.put(session, actor=user, take_id=take_id, form=body))


@router.delete("/takes/{take_id}/rating", status_code=204)
def delete_rating(
    take_id: str, user: CurrentUser, criterion: Annotated[str, Query(max_length=32)] = OVERALL
) -> Response:
    """Take your own rating back."""
    with db.write() as session:
        ratings.take_back(session, actor=user, take_id=take_id, criterion=criterion)
    return Response(status_code=204)


@router.get("/takes/{take_id}/ratings")
def list_ratings(take_id: str, user: CurrentUser) -> RatingList:
    """Return what was said of a take, the newest first."""
    with db.read() as session:
        found = ratings.list_of_take(session, actor=user, take_id=take_id)
    return RatingList(items=[RatingPublic.of(rating) for rating in found])


@router.get("/feedback/stats")
def get_stats(user: CurrentUser, model_id: ModelId = None) -> FeedbackStats:
    """Return what all ratings of your takes say: by criterion, and which texts have the fewest."""
    with db.read() as session:
        return ratings.get_stats(session, actor=user, model_id=model_id)


@router.get("/feedback/readiness")
def get_readiness(
    user: CurrentUser,
    model_id: ModelId = None,
    min_stars: Annotated[float | None, Query(ge=1, le=5)] = None,
    n_needed: Annotated[int | None, Query(ge=1, le=1_000_000)] = None,
) -> Readiness:
    """Return whether enough takes are rated well enough to train on them.

    A take counts if the mean of its ratings is at least `min_stars`; the server's settings have the defaults.
    """
    with db.read() as session:
        return ratings.get_readiness(
            session, actor=user, model_id=model_id, min_stars=min_stars, n_needed=n_needed
        )
