"""Long lists of generations: searched, filtered, sorted and paged by the database, whatever there is of them.

Takes of listening tests are heard blind there, so that they are left out unless they are asked for.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import exists, false, func
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import GenerationStatus
from qlora_studio.core.known import Known
from qlora_studio.db import search
from qlora_studio.db.models import Favorite, Generation, GenerationTag, GenerationTally, MarkState, Take, User
from qlora_studio.db.models.generation import IS_FAVORITE, IS_SHARED
from qlora_studio.db.search import Hits
from qlora_studio.services.datasets import order_by

_counts = Known[int](10_000)
_SORTS: dict[str, Any] = {"created_at": col(Generation.created_at), "status": col(Generation.status)}
OF_NO_TEST = col(Generation.listening_test_id).is_(None)


@dataclass(frozen=True)
class _Narrowed:
    """What is asked for besides a text.

    `same` are columns with the value wanted, `marks` what the owner has done with them and `named` the same
    as values. `are_few`: it is better to look rows up and sort them than to follow an index.
    """

    same: dict[str, Any]
    marks: list[Any]
    named: tuple[Any, ...]
    are_few: bool


def list_generations(
    session: Session,
    *,
    actor: User,
    query: str = "",
    status: GenerationStatus | None = None,
    model_id: str | None = None,
    adapter_id: str | None = None,
    rated: bool | None = None,
    favorite: bool = False,
    tag: str | None = None,
    like: str | None = None,
    from_tests: bool = False,
    sort: str = "-created_at",
    page: int = 1,
    page_size: int = 25,
) -> tuple[list[Generation], int]:
    """Return one page of the actor's generations and how many there are in all.

    Args:
        rated: those of which the actor has rated a take, or (False) none.
        favorite: only those with a favourite of the actor's.
        tag: only those of which the actor has given a take this tag.
        like: a generation; those of its text and model.
        from_tests: those that were made for listening tests, and no others.

    Raises:
        InvalidInput: `sort` isn't a column that can be sorted by.
    """
    words = query.strip()
    hits = search.find_generations(session, owner_id=actor.id, words=words) if words else None
    filters = {"status": status, "model_id": model_id, "adapter_id": adapter_id, "is_rated": rated}
    narrowed = _narrow(session, actor, filters, favorite=favorite, tag=tag, like=like)
    are_few = narrowed.are_few or (hits is not None and hits.are_few)
    owner = search.unindexed(Generation.owner_id) if are_few else col(Generation.owner_id)
    of_test = col(Generation.listening_test_id).is_not(None) if from_tests else OF_NO_TEST
    where = [owner == actor.id, of_test, *_equal(narrowed.same), *narrowed.marks]
    total = _count(session, actor, narrowed, words, hits, from_tests=from_tests)
    if hits is not None:
        where.append(hits.condition)
    rows = select(Generation).where(*where).order_by(*_order(sort, are_few=are_few))
    return list(session.exec(rows.offset((page - 1) * page_size).limit(page_size))), total


def list_shared(
    session: Session, *, actor: User, favorite: bool = False, page: int = 1, page_size: int = 25
) -> tuple[list[Generation], int]:
    """Return one page of what others share, the newest first, and how many there are.

    Args:
        favorite: only those with a favourite of the actor's.
    """
    where = [IS_SHARED, col(Generation.owner_id) != actor.id]
    if favorite:
        liked = select(Take.generation_id).join(Favorite, col(Favorite.take_id) == Take.id)
        where.append(col(Generation.id).in_(liked.where(Favorite.user_id == actor.id)))
    total = session.exec(select(func.count()).select_from(Generation).where(*where)).one()
    rows = select(Generation).where(*where)
    rows = rows.order_by(col(Generation.created_at).desc(), col(Generation.id).desc())
    return list(session.exec(rows.offset((page - 1) * page_size).limit(page_size))), total


def has_tested(session: Session, *, actor: User) -> bool:
    """Whether there are takes that were made for the actor's listening tests."""
    of_tests = (col(Generation.owner_id) == actor.id, col(Generation.listening_test_id).is_not(None))
    return session.exec(select(Generation.id).where(*of_tests).limit(1)).first() is not None


def _narrow(
    session: Session,
    actor: User,
    filters: dict[str, Any],
    *,
    favorite: bool,
    tag: str | None,
    like: str | None,
) -> _Narrowed:
    same = {name: value for name, value in filters.items() if value is not None}
    marks: list[Any] = [IS_FAVORITE] if favorite else []
    are_few = False
    if like:
        one = session.get(Generation, like)
        if one is None or one.owner_id != actor.id:
            marks.append(false())
        else:
            same |= {"model_id": one.model_id, "prompt_key": one.prompt_key}
    if tag:
        word = " ".join(tag.split()).lower()
        mine = (GenerationTag.owner_id == actor.id, GenerationTag.tag == word)
        tagged = select(GenerationTag.generation_id).where(*mine)
        n = select(func.count()).select_from(tagged.limit(search.FEW + 1).subquery())
        are_few = session.exec(n).one() <= search.FEW
        of_this = col(GenerationTag.generation_id) == col(Generation.id)
        marks.append(col(Generation.id).in_(tagged) if are_few else exists().where(*mine, of_this))
    named = (favorite, tag or "", bool(like) and not same.get("prompt_key"))
    return _Narrowed(same, marks, named, are_few)


def _equal(same: dict[str, Any]) -> list[Any]:
    return [getattr(Generation, name) == value for name, value in same.items()]


def _count(
    session: Session, actor: User, narrowed: _Narrowed, words: str, hits: Hits | None, *, from_tests: bool
) -> int:
    """How many there are: known, or counted once for each state of them."""
    same, is_plain = narrowed.same, not narrowed.marks and not from_tests
    if is_plain and hits is None and not set(same) - {"status", "model_id"}:
        tallied = [getattr(GenerationTally, name) == value for name, value in same.items()]
        n = select(func.coalesce(func.sum(GenerationTally.n), 0))
        return int(session.exec(n.where(GenerationTally.owner_id == actor.id, *tallied)).one())
    of_tests = (col(Generation.owner_id) == actor.id, col(Generation.listening_test_id).is_not(None))
    n_hits = hits.n if hits is not None and is_plain and not same else None
    if n_hits is not None and not has_tested(session, actor=actor):
        return n_hits
    where = [*of_tests] if from_tests else [of_tests[0], OF_NO_TEST]
    where += [*_equal(same), *narrowed.marks]
    counted = select(func.count()).select_from(Generation)
    counted = counted.where(*where, *([hits.exact] if hits is not None else []))
    if "status" in same:  # which changes while nothing comes or goes
        return session.exec(counted).one()
    state = search.state_of_generations(session, owner_id=actor.id)
    asked = (actor.id, words, from_tests, *sorted(same.items()), *narrowed.named)
    if narrowed.marks or "is_rated" in same:
        changes = select(MarkState.changes).where(MarkState.owner_id == actor.id)
        asked = (*asked, session.exec(changes).first() or 0)
    if from_tests:
        n_tested = select(func.count()).select_from(Generation).where(*of_tests)
        asked = (*asked, session.exec(n_tested).one())
    key = (state, *asked) if state is not None else None
    return _counts.get(key, lambda: session.exec(counted).one())


def _order(sort: str, *, are_few: bool) -> list[Any]:
    """What SQL sorts by, all in one direction, as the indices have it."""
    sorts = {name: search.unindexed(column) for name, column in _SORTS.items()} if are_few else _SORTS
    first, _ = order_by(sort, sorts, tie=col(Generation.id))
    rest = [col(Generation.id)] if "created_at" in sort else [col(Generation.created_at), col(Generation.id)]
    return [first, *(column.desc() if sort.startswith("-") else column for column in rest)]
