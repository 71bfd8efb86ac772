"""Which two takes a rater hears next: of one text and model, those that votes say least about. Own takes, and
those that others share for use; none that were made for a listening test, where they are heard blind.

Texts with the fewest votes come first; of a text the pairs with the fewest votes, and of these the two takes
that are the closest by the votes so far (`listening.strengths`). Answered ones never come again.
"""

import heapq
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from qlora_studio.contracts.enums import Preference, Sharing
from qlora_studio.db.models import Generation, PreferenceVote, PromptTally, Take, User
from qlora_studio.db.models.generation import IS_SHARED
from qlora_studio.listening import strengths
from qlora_studio.listening.votes import Choice, count_rows
from qlora_studio.services.generation_lists import OF_NO_TEST

MOST_TAKES = 48  # of one text that are looked at together
_GENERATIONS = 24
_TEXTS = 20  # that are read at once
_MOST_TEXTS = 200
OUTSIDE_TESTS = col(PreferenceVote.listening_test_id).is_(None)


@dataclass(frozen=True)
class Pair:
    """Two takes of a text; the first belongs on the left."""

    key: str
    prompt: str
    first: Take
    second: Take


def key_of(one_id: str, other_id: str) -> str:
    """The name of a pair, whichever way round."""
    return ".".join(sorted((one_id, other_id)))


def in_order(rater_id: str, one_id: str, other_id: str) -> tuple[str, str]:
    """Which of two takes is on the left for a rater: by chance, and always the same."""
    low, high = sorted((one_id, other_id))
    return (low, high) if Random(f"{rater_id}:{low}.{high}").random() < 0.5 else (high, low)


def find_next(session: Session, *, actor: User, leaving_out: Collection[str] = ()) -> Pair | None:
    """Return the pair that a rater hears next, None if there is none that the rater hasn't answered.

    Args:
        leaving_out: keys of pairs that are being answered just now.
    """
    for text in _texts(session, actor):
        pair = _pick(session, actor, text, leaving_out)
        if pair is not None:
            return pair
    return None


def _texts(session: Session, actor: User) -> Iterator[PromptTally]:
    """Texts of which the rater can have pairs left, those with the fewest votes first."""
    n_takes = col(PromptTally.n_takes)
    own = select(PromptTally).where(
        PromptTally.owner_id == actor.id, n_takes >= 2, _n_answered(actor) < n_takes * (n_takes - 1) / 2
    )
    queries = [_paged(session, query) for query in (own, _shared(actor))]
    yield from heapq.merge(*queries, key=lambda text: text.n_votes)


def _paged(session: Session, query: SelectOfScalar[PromptTally]) -> Iterator[PromptTally]:
    query = query.order_by(col(PromptTally.n_votes), col(PromptTally.prompt_key)).limit(_TEXTS)
    for start in range(0, _MOST_TEXTS, _TEXTS):
        texts = session.exec(query.offset(start)).all()
        yield from texts
        if len(texts) < _TEXTS:
            return


def _n_answered(actor: User) -> Any:
    """How many pairs of a text the rater has answered, as part of a query of texts."""
    return (
        select(func.count())
        .where(
            PreferenceVote.rater_id == actor.id,
            PreferenceVote.owner_id == PromptTally.owner_id,
            PreferenceVote.model_id == PromptTally.model_id,
            PreferenceVote.prompt_key == PromptTally.prompt_key,
            OUTSIDE_TESTS,
        )
        .scalar_subquery()
    )


def _shared(actor: User) -> SelectOfScalar[PromptTally]:
    """Texts of which others share two takes or more for use."""
    key = (col(Generation.owner_id), col(Generation.model_id), col(Generation.prompt_key))
    n_there = func.sum(col(Generation.n_done)).label("n_there")
    shared = (
        select(*key, n_there)
        .where(IS_SHARED, Generation.sharing == Sharing.USE, Generation.owner_id != actor.id, OF_NO_TEST)
        .group_by(*key)
        .having(n_there >= 2)
        .subquery()
    )
    same = (
        (shared.c.owner_id == col(PromptTally.owner_id))
        & (shared.c.model_id == col(PromptTally.model_id))
        & (shared.c.prompt_key == col(PromptTally.prompt_key))
    )
    n = shared.c.n_there
    # votes about takes that are no longer shared count too: then a pair may be missed, none is asked twice
    return select(PromptTally).join(shared, same).where(_n_answered(actor) < n * (n - 1) / 2)


def _pick(session: Session, actor: User, text: PromptTally, leaving_out: Collection[str]) -> Pair | None:
    rng = Random(f"{actor.id}:{text.prompt_key}:{text.n_votes}")
    made_by, takes = _takes(session, actor, text, rng)
    votes = _votes(session, [take.id for take in takes])
    n_votes = Counter(vote.pair_key for vote in votes if vote.verdict is not Preference.SKIP)
    closed = {vote.pair_key for vote in votes if vote.rater_id == actor.id} | set(leaving_out)
    strength = _strengths(takes, votes)
    open_pairs = [
        (n_votes[key], abs(strength[one.id] - strength[other.id]), rng.random(), key, one, other)
        for one, other in combinations(takes, 2)
        if (key := key_of(one.id, other.id)) not in closed
        and _recipe(made_by[one.generation_id], one) != _recipe(made_by[other.generation_id], other)
    ]
    if not open_pairs:
        return None
    *_, key, one, other = min(open_pairs, key=lambda pair: pair[:3])
    by_id = {one.id: one, other.id: other}
    first, second = in_order(actor.id, one.id, other.id)
    return Pair(key, text.prompt, by_id[first], by_id[second])


def _takes(
    session: Session, actor: User, text: PromptTally, rng: Random
) -> tuple[dict[str, Generation], list[Take]]:
    """Takes of a text, not more than can be looked at together, and what made them."""
    where = [getattr(Generation, name) == getattr(text, name) for name in ("owner_id", "model_id")]
    where += [col(Generation.prompt_key) == text.prompt_key, OF_NO_TEST]
    if text.owner_id != actor.id:
        where.append(col(Generation.sharing) == Sharing.USE)
    rows = select(Generation).where(*where).order_by(col(Generation.id)).limit(_GENERATIONS)
    pivot = f"gen_{rng.choice('0123456789abcdefghjkmnpqrstvwxyz')}"
    found = list(session.exec(rows.where(col(Generation.id) >= pivot)))
    if len(found) < _GENERATIONS:
        found += session.exec(rows.where(col(Generation.id) < pivot).limit(_GENERATIONS - len(found)))
    made_by = {generation.id: generation for generation in found}
    takes = list(
        session.exec(select(Take).where(col(Take.generation_id).in_(list(made_by))).order_by(col(Take.id)))
    )
    return made_by, rng.sample(takes, MOST_TAKES) if len(takes) > MOST_TAKES else takes


def _recipe(generation: Generation, take: Take) -> tuple[Any, ...]:
    """Two takes with the same one are the same sound."""
    how = ("adapter_id", "strength", "duration_s", "guidance", "temperature")
    return (take.seed, *(getattr(generation, name) for name in how))


def _votes(session: Session, take_ids: list[str]) -> Sequence[PreferenceVote]:
    found = select(PreferenceVote).where(col(PreferenceVote.first_take_id).in_(take_ids))
    return session.exec(found.where(col(PreferenceVote.second_take_id).in_(take_ids), OUTSIDE_TESTS)).all()


def _strengths(takes: Sequence[Take], votes: Sequence[PreferenceVote]) -> dict[str, float]:
    rows = [
        (vote.first_take_id, vote.second_take_id, Choice(vote.verdict.value), 1)
        for vote in votes
        if vote.verdict is not Preference.SKIP
    ]
    if not rows:
        return dict.fromkeys((take.id for take in takes), 0.0)
    ranking = strengths.rank(count_rows(rows, systems=[take.id for take in takes]))
    return dict(zip(ranking.systems, map(float, ranking.strengths), strict=True))
