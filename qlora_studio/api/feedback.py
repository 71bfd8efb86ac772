"""Ratings of takes, what they say in all, and whether it is enough to train on."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from qlora_studio.api.lists import Page, Paging
from qlora_studio.api.security import CurrentUser
from qlora_studio.db import engine as db
from qlora_studio.services import feedback_days, feedback_rules, ratings
from qlora_studio.services.rating_schemas import (
    OVERALL,
    DayCount,
    FeedbackStats,
    Rater,
    RatingPublic,
    RatingPut,
    Readiness,
    ReadinessRulePublic,
    ReadinessRulePut,
)

router = APIRouter(tags=["Feedback"])

ModelId = Annotated[str | None, Query(max_length=32)]


class RatingPage(Page[RatingPublic]):
    """One page of a take's ratings."""


class DayList(BaseModel):
    """Feedback by day, the oldest first, and all who gave any."""

    items: list[DayCount]
    raters: list[Rater]


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
def list_ratings(take_id: str, user: CurrentUser, wanted: Annotated[Paging, Query()]) -> RatingPage:
    """Return what was said of a take, the newest first."""
    with db.read() as session:
        found = ratings.list_of_take(session, actor=user, take_id=take_id)
    return RatingPage.cut([RatingPublic.of(rating) for rating in found], wanted)


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
    criterion: Annotated[str | None, Query(max_length=32)] = None,
) -> Readiness:
    """Return whether enough takes are rated well enough to train on them.

    A take counts if the mean of its ratings, by one criterion or all, is at least `min_stars`. What isn't
    given is as your own rule, or else the server's settings, say; an empty `criterion` is all of them.
    """
    rule = {"min_stars": min_stars, "n_needed": n_needed, "criterion": criterion}
    with db.read() as session:
        return ratings.get_readiness(session, actor=user, model_id=model_id, **rule)


@router.get("/feedback/readiness-rule")
def get_rule(user: CurrentUser) -> ReadinessRulePublic:
    """Return when you have enough to train on: your own rule, or the server's."""
    with db.read() as session:
        return feedback_rules.get_rule(session, actor=user)


@router.put("/feedback/readiness-rule")
def put_rule(body: ReadinessRulePut, user: CurrentUser) -> ReadinessRulePublic:
    """Set when you have enough to train on."""
    with db.write() as session:
        return feedback_rules.put_rule(session, actor=user, form=body)


@router.delete("/feedback/readiness-rule", status_code=204)
def forget_rule(user: CurrentUser) -> Response:
    """Go by the server's rule again."""
    with db.write() as session:
        feedback_rules.forget_rule(session, actor=user)
    return Response(status_code=204)


@router.get("/feedback/days")
def list_days(
    user: CurrentUser, days: Annotated[int, Query(ge=1, le=366)] = 30, model_id: ModelId = None
) -> DayList:
    """Return how many ratings and votes came on each of the last days (UTC's), and who gave any at all."""
    with db.read() as session:
        found = feedback_days.list_days(session, actor=user, n_days=days, model_id=model_id)
        return DayList(items=found, raters=feedback_days.list_raters(session, actor=user))
