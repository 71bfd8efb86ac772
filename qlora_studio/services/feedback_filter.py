"""Which takes, or pairs of takes, a dataset is made of, and the one query that finds them.

What is counted before, what a dataset is made of and what it exports are rows of this query.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from sqlalchemy import Select, and_, case, exists, or_
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, func, select

from qlora_studio.contracts.enums import Preference
from qlora_studio.contracts.spec import Strict
from qlora_studio.db.models import Generation, PreferenceVote, Rating, Take, User
from qlora_studio.services.rating_schemas import Words

BASE_MODEL = "none"  # as an adapter: takes of the model as it is
DEFAULT_STARS = 4.0
DEFAULT_GAP = 1.0
_RECIPE = ("adapter_id", "strength", "duration_s", "guidance", "temperature")
Id = Annotated[str, Field(max_length=32)]


class FeedbackFilter(Strict):
    """Which takes or pairs, of one's own, become rows.

    Attributes:
        target: `takes` are learned from as they are, `pairs` say which of two is better.
        pairs_from: `votes` of blind pairs (the majority of a pair's votes decides), or `ratings` that differ.
        min_stars: a take counts from this score on; for `takes`, 4 by default.
        min_gap: two takes of one text and model whose scores differ by so much; for `ratings`, 1 by default.
        over: a take's score is the mean or the median of its ratings.
        criterion, tags, rater_id, since, until: only these ratings (votes: rater and dates) are looked at;
            with several tags those that have all. Both dates are included, in UTC.
        model_id, adapter_id: only takes made by these; `none` is the model without an adapter.
        from_tests: also takes that were made for listening tests.
    """

    target: Literal["takes", "pairs"] = "takes"
    pairs_from: Literal["votes", "ratings"] = "votes"
    min_stars: Annotated[float, Field(ge=1, le=5)] | None = None
    min_gap: Annotated[float, Field(ge=0.1, le=4)] | None = None
    over: Literal["mean", "median"] = "mean"
    criterion: Words | None = None
    tags: Annotated[list[Words], Field(max_length=10)] = []
    rater_id: Id | None = None
    model_id: Id | None = None
    adapter_id: Id | None = None
    since: date | None = None
    until: date | None = None
    from_tests: bool = False

    @model_validator(mode="after")
    def _goes_together(self) -> "FeedbackFilter":
        if self.target == "pairs" and self.min_stars is not None:
            raise ValueError("min_stars goes with takes; pairs of ratings have min_gap")
        if not self.is_gap and self.min_gap is not None:
            raise ValueError("min_gap goes with pairs from ratings")
        if self.is_vote and (self.criterion or self.tags):
            raise ValueError("votes have neither a criterion nor tags")
        if self.since and self.until and self.since > self.until:
            raise ValueError("since is after until")
        return self

    @property
    def is_vote(self) -> bool:
        """Whether rows come from votes."""
        return self.target == "pairs" and self.pairs_from == "votes"

    @property
    def is_gap(self) -> bool:
        """Whether rows are pairs whose ratings differ."""
        return self.target == "pairs" and self.pairs_from == "ratings"

    def describe(self) -> str:
        """What it finds, for people."""
        if self.is_vote:
            return "pairs by the votes"
        by = f" by {self.criterion}" if self.criterion else ""
        if self.is_gap:
            return f"pairs rated {self.min_gap or DEFAULT_GAP:g} apart{by} ({self.over})"
        return f"takes rated {self.min_stars or DEFAULT_STARS:g} or more{by} ({self.over})"


def rows_query(session: Session, *, actor: User, wanted: FeedbackFilter) -> Select[Any]:
    """Return the query of all rows, in an order that stays.

    Columns: the take's id, its generation, bytes, text and model; then id, generation and bytes of the
    take that is worse, none of them for `takes`.
    """
    if wanted.is_vote:
        pairs = _voted(actor, wanted).subquery()
        return _pair_rows(actor, wanted, pairs.c.better, pairs.c.worse)
    scores = _scores(session, actor, wanted).subquery()
    if wanted.is_gap:
        others = _scores(session, actor, wanted).subquery()
        gap = scores.c.score - others.c.score >= (wanted.min_gap or DEFAULT_GAP) - 1e-9
        return _pair_rows(actor, wanted, scores.c.take_id, others.c.take_id).where(gap)
    enough = scores.c.score >= (wanted.min_stars or DEFAULT_STARS) - 1e-9
    query: Select[Any] = select(*_columns(Take, Generation))  # type: ignore[call-overload]
    query = query.join(Generation, col(Generation.id) == Take.generation_id)
    query = query.join(scores, scores.c.take_id == Take.id)
    return query.where(*_made_by(actor, wanted, Take, Generation), enough).order_by(col(Take.id))


def count(session: Session, *, actor: User, wanted: FeedbackFilter) -> int:
    """How many rows there are."""
    rows = rows_query(session, actor=actor, wanted=wanted).order_by(None).subquery()
    return session.execute(select(func.count()).select_from(rows)).scalar_one()


def _columns(take: Any, generation: Any) -> list[Any]:
    return [take.id, take.generation_id, take.size_bytes, generation.prompt, generation.model_id]


def _scores(session: Session, actor: User, wanted: FeedbackFilter) -> Select[Any]:
    """Each rated take's score. The median is the mean of the middle one or two."""
    order = {"partition_by": col(Rating.take_id)}
    rank = func.row_number().over(order_by=(col(Rating.stars), col(Rating.rater_id)), **order)
    counted: Any = select(
        Rating.take_id, Rating.stars, rank.label("rank"), func.count().over(**order).label("n")
    )
    counted = counted.join(Take, col(Take.id) == Rating.take_id).where(Take.owner_id == actor.id)
    where = _dates(Rating, wanted)
    if wanted.criterion:
        where.append(Rating.criterion == wanted.criterion)
    if wanted.rater_id:
        where.append(Rating.rater_id == wanted.rater_id)
    where += [_has_tag(session, tag) for tag in wanted.tags]
    one = counted.where(*where).subquery()
    is_middle = and_(2 * one.c.rank >= one.c.n, 2 * one.c.rank <= one.c.n + 2)
    stars = case((is_middle, one.c.stars)) if wanted.over == "median" else one.c.stars
    scored: Any = select(one.c.take_id, func.avg(stars).label("score"))
    return scored.group_by(one.c.take_id)


def _has_tag(session: Session, tag: str) -> Any:
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    each = func.json_each if is_sqlite else func.json_array_elements_text
    tags = each(Rating.tags).table_valued("value")
    return exists().where(tags.c.value == tag).correlate(Rating)


def _voted(actor: User, wanted: FeedbackFilter) -> Select[Any]:
    """The better and the worse take of each pair that the votes outside listening tests decide."""
    vote = PreferenceVote
    first, second = col(vote.first_take_id), col(vote.second_take_id)
    lower, upper = case((first < second, first), else_=second), case((first < second, second), else_=first)
    winner = case((col(vote.verdict) == Preference.LEFT, first), else_=second)
    lead = func.sum(case((winner == lower, 1), else_=-1))
    where = [vote.owner_id == actor.id, col(vote.listening_test_id).is_(None), *_dates(vote, wanted)]
    where.append(col(vote.verdict).in_([Preference.LEFT, Preference.RIGHT]))
    if wanted.rater_id:
        where.append(vote.rater_id == wanted.rater_id)
    low, high = func.min(lower), func.min(upper)
    better, worse = case((lead > 0, low), else_=high), case((lead > 0, high), else_=low)
    query: Any = select(better.label("better"), worse.label("worse")).where(*where)
    return query.group_by(col(vote.pair_key)).having(lead != 0)


def _pair_rows(actor: User, wanted: FeedbackFilter, better_id: Any, worse_id: Any) -> Select[Any]:
    """Two takes of one text and model that aren't the same sound."""
    worse, other = aliased(Take), aliased(Generation)
    columns = [*_columns(Take, Generation), worse.id, worse.generation_id, worse.size_bytes]
    query: Any = select(*columns).join(Generation, col(Generation.id) == Take.generation_id)  # type: ignore[call-overload]
    same_text = [getattr(other, name) == getattr(Generation, name) for name in ("model_id", "prompt_key")]
    query = query.join(other, and_(*same_text)).join(worse, worse.generation_id == other.id)
    unlike = [col(Take.seed) != worse.seed]
    for name in _RECIPE:
        unlike.append(getattr(other, name).is_distinct_from(getattr(Generation, name)))
    query = query.where(Take.id == better_id, worse.id == worse_id, or_(*unlike))
    query = query.where(*_made_by(actor, wanted, Take, Generation), *_made_by(actor, wanted, worse, other))
    return query.order_by(col(Take.id), worse.id)


def _made_by(actor: User, wanted: FeedbackFilter, take: Any, generation: Any) -> list[Any]:
    where = [take.owner_id == actor.id]
    if not wanted.from_tests:
        where.append(generation.listening_test_id.is_(None))
    if wanted.model_id:
        where.append(take.model_id == wanted.model_id)
    if wanted.adapter_id == BASE_MODEL:
        where.append(generation.adapter_id.is_(None))
    elif wanted.adapter_id:
        where.append(generation.adapter_id == wanted.adapter_id)
    return where


def _dates(table: Any, wanted: FeedbackFilter) -> list[Any]:
    where = []
    if wanted.since:
        where.append(col(table.updated_at) >= datetime.combine(wanted.since, time(), UTC))
    if wanted.until:
        end = datetime.combine(wanted.until + timedelta(days=1), time(), UTC)
        where.append(col(table.updated_at) < end)
    return where
