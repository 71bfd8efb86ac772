"""Ratings of takes: given, changed, taken back; what they say in all, and whether that is enough."""

from collections import defaultdict
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import InvalidInput, NotFound
from qlora_studio.db.models import CriterionTally, PromptTally, Rating, RatingTally, Take, TakeTally, User
from qlora_studio.services import audit, feedback_rules, generations, marks, tallies
from qlora_studio.services.rating_schemas import (
    CriterionStats,
    FeedbackStats,
    PromptCoverage,
    RatingPut,
    Readiness,
)

MOST_CRITERIA = 20  # that an account's takes are rated by
MOST_PROMPTS = 50
_STARS = range(1, 6)


def put(session: Session, *, actor: User, take_id: str, form: RatingPut) -> Rating:
    """Rate a take. The actor's own rating by the same criterion is replaced.

    Raises:
        Forbidden: the actor's role, or whoever shares the take, allows listening only.
        NotFound: the take isn't there, or isn't for the actor.
        InvalidInput: it would be one criterion too many.
    """
    take = _take_to_rate(session, actor, take_id)
    rating = session.get(Rating, (take.id, actor.id, form.criterion))
    before = rating.stars if rating is not None else None
    if rating is None:
        _check_criterion(session, take.owner_id, form.criterion)
        rating = Rating(take_id=take.id, rater_id=actor.id, criterion=form.criterion, stars=form.stars)
    rating.stars, rating.note, rating.tags = form.stars, form.note, list(dict.fromkeys(form.tags))
    rating.updated_at = utc_now()
    session.add(rating)
    tallies.count_rating(session, take, rating, before=before, after=form.stars)
    marks.note_rating(session, actor=actor, take=take)
    audit.count(session, actor=actor, action="take.rate", object_type="take", object_id=take.id)
    return rating


def take_back(session: Session, *, actor: User, take_id: str, criterion: str) -> None:
    """Forget the actor's own rating of a take by a criterion.

    Raises:
        Forbidden: the actor's role, or whoever shares the take, allows listening only.
        NotFound: the take isn't for the actor, or there is no such rating.
    """
    take = _take_to_rate(session, actor, take_id)
    rating = session.get(Rating, (take.id, actor.id, " ".join(criterion.split()).lower()))
    if rating is None:
        raise NotFound("There is no such rating.")
    session.delete(rating)
    tallies.count_rating(session, take, rating, before=rating.stars, after=None)
    marks.note_rating(session, actor=actor, take=take)
    _audit(session, actor, "take.unrate", take, criterion=rating.criterion, stars=rating.stars)


def list_of_take(session: Session, *, actor: User, take_id: str) -> list[Rating]:
    """Return what was said of one of the actor's takes, the newest first; of others' what the actor said.

    Raises:
        NotFound: the take isn't there, or isn't for the actor.
    """
    take = generations.get_take(session, actor=actor, take_id=take_id)
    found = select(Rating).where(Rating.take_id == take_id)
    if take.owner_id != actor.id:
        found = found.where(Rating.rater_id == actor.id)
    return list(session.exec(found.order_by(col(Rating.updated_at).desc(), col(Rating.criterion))))


def get_stats(session: Session, *, actor: User, model_id: str | None = None) -> FeedbackStats:
    """Return what all ratings of the actor's takes say, of one model or of all."""
    criteria = _criteria(session, actor, model_id)
    n_ratings = sum(found.n for found in criteria)
    stars = sum(found.mean_stars * found.n for found in criteria)
    of_prompts = _mine(PromptTally, actor, model_id)
    counted = select(func.count(), func.count().filter(col(PromptTally.n_rated) > 0)).where(*of_prompts)
    n_prompts, n_prompts_rated = session.exec(counted).one()
    least = select(PromptTally).where(*of_prompts)
    least = least.order_by(col(PromptTally.n_rated), col(PromptTally.prompt_key)).limit(MOST_PROMPTS)
    return FeedbackStats(
        n_takes=_count_takes(session, actor, model_id),
        n_rated=_count_takes(session, actor, model_id, min_stars=1),
        n_ratings=n_ratings,
        mean_stars=stars / n_ratings if n_ratings else None,
        criteria=criteria,
        n_prompts=n_prompts,
        n_prompts_rated=n_prompts_rated,
        prompts=[
            PromptCoverage(prompt=t.prompt, model_id=t.model_id, n_takes=t.n_takes, n_rated=t.n_rated)
            for t in session.exec(least)
        ],
    )


def get_readiness(
    session: Session,
    *,
    actor: User,
    model_id: str | None = None,
    min_stars: float | None = None,
    n_needed: int | None = None,
    criterion: str | None = None,
) -> Readiness:
    """Return whether enough of the actor's takes are rated well enough to train on them.

    What isn't given is as the actor's rule, or else the server's settings, say.

    Args:
        min_stars: a take counts if the mean of its ratings is at least this.
        n_needed: so many takes are enough.
        criterion: only ratings by this.
    """
    own = feedback_rules.get_rule(session, actor=actor)
    stars = own.min_stars if min_stars is None else min_stars
    needed = own.n_needed if n_needed is None else n_needed
    by = own.criterion if criterion is None else " ".join(criterion.split()).lower() or None
    n_good = _count_takes(session, actor, model_id, min_stars=stars, criterion=by)
    missing = max(0, needed - n_good)
    rule = f"{n_good:,} of {needed:,} takes are rated {stars:g} or more" + (f" by {by}" if by else "")
    return Readiness(
        is_ready=not missing,
        n_good=n_good,
        n_needed=needed,
        n_missing=missing,
        min_stars=stars,
        criterion=by,
        message=f"{rule}: rate {missing:,} more." if missing else f"{rule}: enough to train on.",
    )


def _take_to_rate(session: Session, actor: User, take_id: str) -> Take:
    generations.get_take_to_rate(session, actor=actor, take_id=take_id)
    # two who rate it at once count one after the other
    return session.get_one(Take, take_id, with_for_update=True, populate_existing=True)


def _check_criterion(session: Session, owner_id: str, criterion: str) -> None:
    known = set(
        session.exec(select(RatingTally.criterion).where(RatingTally.owner_id == owner_id).distinct())
    )
    if criterion not in known and len(known) >= MOST_CRITERIA:
        sentence = f"Takes are rated by {MOST_CRITERIA} criteria at most. Use one of those."
        raise InvalidInput(sentence, fields={"criterion": sentence})


def _criteria(session: Session, actor: User, model_id: str | None) -> list[CriterionStats]:
    counts: dict[str, dict[int, int]] = defaultdict(dict)
    rows = select(RatingTally.criterion, RatingTally.stars, func.sum(RatingTally.n))
    rows = rows.where(*_mine(RatingTally, actor, model_id))
    rows = rows.group_by(col(RatingTally.criterion), col(RatingTally.stars)).order_by(
        col(RatingTally.criterion)
    )
    for criterion, stars, n in session.exec(rows):
        counts[criterion][stars] = int(n)
    return [
        CriterionStats(
            criterion=criterion,
            n=sum(found.values()),
            mean_stars=sum(stars * n for stars, n in found.items()) / sum(found.values()),
            counts=[found.get(stars, 0) for stars in _STARS],
        )
        for criterion, found in counts.items()
    ]


def _count_takes(
    session: Session,
    actor: User,
    model_id: str | None,
    *,
    min_stars: float = 0,
    criterion: str | None = None,
) -> int:
    table: Any = TakeTally if criterion is None else CriterionTally
    counted = select(func.sum(table.n)).where(*_mine(table, actor, model_id))
    if criterion is not None:
        counted = counted.where(table.criterion == criterion)
    return session.exec(counted.where(table.mean_stars >= min_stars - 1e-9)).one() or 0


def _mine(table: Any, actor: User, model_id: str | None) -> list[Any]:
    where = [col(table.owner_id) == actor.id]
    return where if model_id is None else [*where, col(table.model_id) == model_id]


def _audit(session: Session, actor: User, action: str, take: Take, **details: Any) -> None:
    audit.record(session, actor=actor, action=action, object_type="take", object_id=take.id, details=details)
