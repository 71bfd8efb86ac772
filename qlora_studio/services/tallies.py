"""Running counts of generations, takes and their ratings, kept in the transaction that changes either.

With them what is told of all feedback costs the same after a million ratings as after ten.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, delete, func, select, update

from qlora_studio.contracts.enums import GenerationStatus
from qlora_studio.db.models import (
    CriterionTally,
    FeedbackDay,
    Generation,
    GenerationTally,
    PreferenceVote,
    PromptTally,
    Rating,
    RatingTally,
    Take,
    TakeTally,
)
from qlora_studio.db.models.generation import key_of_prompt as prompt_key


def count_generation(session: Session, generation: Generation) -> None:
    """Count one more generation, as it is now."""
    _add_status(session, generation, generation.status, 1)


def count_status(session: Session, generation: Generation, *, after: GenerationStatus) -> None:
    """Count a generation as what it becomes."""
    if after != generation.status:
        _add_status(session, generation, generation.status, -1)
        _add_status(session, generation, after, 1)


def count_take(session: Session, generation: Generation) -> None:
    """Count one more take of a text, which nobody has rated."""
    _add_to_prompt(session, generation, n_takes=1, n_rated=0)
    _add_mean(session, generation, None, 1)


def forget_generation(session: Session, generation: Generation) -> None:
    """Count a generation, its takes and their ratings no more; they are about to be deleted."""
    _add_status(session, generation, generation.status, -1)
    found = select(Take.id, Take.mean_stars).where(Take.generation_id == generation.id)
    takes = session.exec(found).all()
    if not takes:
        return
    take_ids = [take_id for take_id, _ in takes]
    n_rated = sum(mean is not None for _, mean in takes)
    n_votes = _count_votes(session, take_ids)
    _add_to_prompt(session, generation, n_takes=-len(takes), n_rated=-n_rated, n_votes=-n_votes)
    for _, mean in takes:
        _add_mean(session, generation, mean, -1)
    grouped = (
        select(Rating.criterion, Rating.stars, func.count())
        .where(col(Rating.take_id).in_(take_ids))
        .group_by(col(Rating.criterion), col(Rating.stars))
    )
    for criterion, stars, n in session.exec(grouped).all():
        _add_stars(session, generation, criterion, stars, -n)
    of_takes = select(Rating.criterion, func.sum(Rating.stars), func.count())
    of_takes = of_takes.where(col(Rating.take_id).in_(take_ids))
    for criterion, stars, n in session.exec(
        of_takes.group_by(col(Rating.take_id), col(Rating.criterion))
    ).all():
        _add_criterion_mean(session, generation, criterion, stars / n, -1)
    for rating in session.exec(select(Rating).where(col(Rating.take_id).in_(take_ids))).all():
        _add_day(session, generation, rating, -1)
    for vote in session.exec(select(PreferenceVote).where(*_votes_about(take_ids))).all():
        _add_day(session, generation, vote, -1)


def count_rating(
    session: Session, take: Take, rating: Rating, *, before: int | None, after: int | None
) -> None:
    """Count a rating's stars: `before` none if it is new, `after` none if it is taken back.

    The rating itself is as it comes to be: added, changed or deleted.
    """
    criterion = rating.criterion
    generation = session.get_one(Generation, take.generation_id)
    _count_in_criterion(session, take, generation, criterion, before=before, after=after)
    if (before is None) != (after is None):
        n = 1 if before is None else -1
        _add_day(session, generation, rating, n)
    for stars, n in ((before, -1), (after, 1)):
        if stars is not None and before != after:
            _add_stars(session, generation, criterion, stars, n)
    was_rated, mean_before = take.n_ratings > 0, take.mean_stars
    take.n_ratings += (after is not None) - (before is not None)
    take.stars_sum += (after or 0) - (before or 0)
    take.mean_stars = take.stars_sum / take.n_ratings if take.n_ratings else None
    session.add(take)
    if take.mean_stars != mean_before:
        _add_mean(session, generation, mean_before, -1)
        _add_mean(session, generation, take.mean_stars, 1)
    if was_rated != (take.n_ratings > 0):
        _add_to_prompt(session, generation, n_takes=0, n_rated=-1 if was_rated else 1)


def count_vote(session: Session, vote: PreferenceVote, n: int) -> None:
    """Count an answer about two takes of a text, or (-1) count it no more."""
    key = {name: getattr(vote, name) for name in ("owner_id", "model_id", "prompt_key")}
    where = [getattr(PromptTally, name) == value for name, value in key.items()]
    session.execute(update(PromptTally).where(*where).values(n_votes=col(PromptTally.n_votes) + n))
    _add_day(session, vote, vote, n)


def _count_votes(session: Session, take_ids: list[str]) -> int:
    counted = select(func.count()).select_from(PreferenceVote)
    return session.exec(counted.where(*_votes_about(take_ids))).one()


def _votes_about(take_ids: list[str]) -> list[Any]:
    """Those outside listening tests that are about one of these takes."""
    first, second = col(PreferenceVote.first_take_id), col(PreferenceVote.second_take_id)
    is_of_one = first.in_(take_ids) | second.in_(take_ids)
    return [is_of_one, col(PreferenceVote.listening_test_id).is_(None)]


def _count_in_criterion(
    session: Session,
    take: Take,
    generation: Generation,
    criterion: str,
    *,
    before: int | None,
    after: int | None,
) -> None:
    """Count a take as what its mean by one criterion becomes."""
    session.flush()
    summed = select(func.coalesce(func.sum(Rating.stars), 0), func.count())
    stars, n = session.exec(summed.where(Rating.take_id == take.id, Rating.criterion == criterion)).one()
    n_before = n - (after is not None) + (before is not None)
    if n_before:
        mean = (stars - (after or 0) + (before or 0)) / n_before
        _add_criterion_mean(session, generation, criterion, mean, -1)
    if n:
        _add_criterion_mean(session, generation, criterion, stars / n, 1)


def _add_to_prompt(
    session: Session, generation: Generation, *, n_takes: int, n_rated: int, n_votes: int = 0
) -> None:
    key = {"prompt_key": prompt_key(generation.prompt)}
    counts = {"n_takes": n_takes, "n_rated": n_rated, "n_votes": n_votes}
    _add(session, PromptTally, generation, key, counts, prompt=generation.prompt)


def _add_stars(session: Session, generation: Generation, criterion: str, stars: int, n: int) -> None:
    _add(session, RatingTally, generation, {"criterion": criterion, "stars": stars}, {"n": n})


def _add_mean(session: Session, generation: Generation, mean_stars: float | None, n: int) -> None:
    _add(session, TakeTally, generation, {"mean_stars": mean_stars or 0.0}, {"n": n})


def _add_criterion_mean(
    session: Session, generation: Generation, criterion: str, mean_stars: float, n: int
) -> None:
    key = {"criterion": criterion, "mean_stars": mean_stars}
    _add(session, CriterionTally, generation, key, {"n": n})


def _add_day(
    session: Session, of: Generation | PreferenceVote, given: Rating | PreferenceVote, n: int
) -> None:
    kind = "rating" if isinstance(given, Rating) else "vote"
    key = {"day": day_of(given.created_at), "rater_id": given.rater_id, "kind": kind}
    _add(session, FeedbackDay, of, key, {"n": n})


def day_of(at: datetime) -> str:
    """The day in UTC, as it is counted by."""
    return at.astimezone(UTC).date().isoformat()


def _add_status(session: Session, generation: Generation, status: GenerationStatus, n: int) -> None:
    _add(session, GenerationTally, generation, {"status": status}, {"n": n})


def _add(
    session: Session,
    table: type[PromptTally | RatingTally | TakeTally | GenerationTally | CriterionTally | FeedbackDay],
    of: Generation | PreferenceVote,
    key: dict[str, Any],
    counts: dict[str, int],
    **besides: Any,
) -> None:
    """Add to the counts of a row, which is made, or removed once its first count is 0.

    One statement makes or adds: two people whose first ratings come at once would else both make the row.
    Takes of listening tests aren't counted: they are heard there, and in no list.
    """
    if of.listening_test_id is not None:
        return
    key = {"owner_id": of.owner_id, "model_id": of.model_id, **key}
    dialect = session.get_bind().dialect.name
    made = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(table)
    more = {name: getattr(table, name) + getattr(made.excluded, name) for name in counts}
    session.execute(
        made.values(**key, **counts, **besides).on_conflict_do_update(index_elements=list(key), set_=more)
    )
    first = next(iter(counts))
    if counts[first] < 0:
        where = [getattr(table, name) == value for name, value in key.items()]
        session.execute(delete(table).where(*where, getattr(table, first) <= 0))
