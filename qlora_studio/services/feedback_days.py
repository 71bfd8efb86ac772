"""How much was rated and compared on which day, and by whom."""

from datetime import timedelta

from sqlalchemy import func
from sqlmodel import Session, col, select

from qlora_studio.core.clock import utc_now
from qlora_studio.db.models import FeedbackDay, User
from qlora_studio.services.rating_schemas import DayCount, Rater
from qlora_studio.services.tallies import day_of

MOST_RATERS = 100


def list_days(
    session: Session, *, actor: User, n_days: int = 30, model_id: str | None = None
) -> list[DayCount]:
    """Return the last days up to today, the oldest first, those without any feedback too.

    A rating or a vote counts on the day on which it was first given; days are UTC's.
    """
    now = utc_now()
    days = [day_of(now - timedelta(days=back)) for back in range(n_days - 1, -1, -1)]
    query = select(FeedbackDay.day, FeedbackDay.kind, func.sum(FeedbackDay.n))
    query = query.where(FeedbackDay.owner_id == actor.id, col(FeedbackDay.day) >= days[0])
    if model_id is not None:
        query = query.where(FeedbackDay.model_id == model_id)
    counts: dict[tuple[str, str], int] = {}
    for day, kind, n in session.exec(query.group_by(col(FeedbackDay.day), col(FeedbackDay.kind))):
        counts[day, kind] = int(n)
    return [
        DayCount(day=day, n_ratings=counts.get((day, "rating"), 0), n_votes=counts.get((day, "vote"), 0))
        for day in days
    ]


def list_raters(session: Session, *, actor: User) -> list[Rater]:
    """Return who has rated or compared the actor's takes, those who did the most first; 100 at most."""
    given = func.sum(FeedbackDay.n)
    query = select(FeedbackDay.rater_id, User.username, given).join(
        User, col(User.id) == FeedbackDay.rater_id
    )
    query = query.where(FeedbackDay.owner_id == actor.id)
    query = query.group_by(col(FeedbackDay.rater_id), col(User.username))
    rows = session.exec(query.order_by(given.desc(), col(User.username)).limit(MOST_RATERS))
    return [Rater(id=rater_id, name=name, n=int(n)) for rater_id, name, n in rows]
