"""What somebody has done with takes, by which a long list of them is searched: liked, rated, tagged.

Favourites are an account's own, also among takes that others share. That a generation is rated, tagged or
liked is written down beside it for its owner alone, whose list it is in.
"""

from collections.abc import Iterable

from sqlalchemy import func
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, delete, select

from qlora_studio.db.models import Favorite, Generation, GenerationTag, MarkState, Rating, Take, User
from qlora_studio.services import generations

MOST_TAGS = 100  # that a list is offered to be searched by


def put_favorite(session: Session, *, actor: User, take_id: str) -> None:
    """Keep a take among the actor's favourites; once more changes nothing.

    Raises:
        NotFound: the take isn't there, or isn't for the actor.
    """
    take = generations.get_take(session, actor=actor, take_id=take_id)
    generation = _lock(session, take)
    if session.get(Favorite, (actor.id, take.id)) is None:
        session.add(Favorite(user_id=actor.id, take_id=take.id))
    if take.owner_id == actor.id:
        _set(session, generation, is_favorite=True)


def remove_favorite(session: Session, *, actor: User, take_id: str) -> None:
    """Have a take no longer among the actor's favourites; it need not have been.

    Raises:
        NotFound: the take isn't there, or isn't for the actor.
    """
    take = generations.get_take(session, actor=actor, take_id=take_id)
    generation = _lock(session, take)
    session.execute(
        delete(Favorite).where(col(Favorite.user_id) == actor.id, col(Favorite.take_id) == take.id)
    )
    if take.owner_id == actor.id:
        left = select(Favorite.take_id).join(Take, col(Take.id) == Favorite.take_id)
        left = left.where(Favorite.user_id == actor.id, Take.generation_id == generation.id)
        _set(session, generation, is_favorite=session.exec(left.limit(1)).first() is not None)


def favorites_among(session: Session, *, actor: User, take_ids: Iterable[str]) -> set[str]:
    """Return which of these takes are the actor's favourites."""
    found = select(Favorite.take_id).where(Favorite.user_id == actor.id)
    return set(session.exec(found.where(col(Favorite.take_id).in_(list(take_ids)))))


def list_tags(session: Session, *, actor: User) -> list[str]:
    """Return the tags that the actor has given to own takes: the 100 most used, by name."""
    used = select(GenerationTag.tag).where(GenerationTag.owner_id == actor.id)
    used = used.group_by(col(GenerationTag.tag)).order_by(func.count().desc(), col(GenerationTag.tag))
    return sorted(session.exec(used.limit(MOST_TAGS)))


def note_rating(session: Session, *, actor: User, take: Take) -> None:
    """Write down what the actor's ratings of a generation come to, after one of them has changed."""
    if take.owner_id != actor.id:
        return
    generation = _lock(session, take)
    session.flush()
    of_all = session.exec(select(Take.id).where(Take.generation_id == generation.id)).all()
    mine = select(Rating.tags).where(col(Rating.take_id).in_(of_all), Rating.rater_id == actor.id)
    said = session.exec(mine).all()
    if generation.is_rated != bool(said):
        _set(session, generation, is_rated=bool(said))
    tags = {tag for words in said for tag in words}
    there = select(GenerationTag).where(
        GenerationTag.owner_id == actor.id, GenerationTag.generation_id == generation.id
    )
    for row in session.exec(there).all():
        if row.tag in tags:
            tags.discard(row.tag)
        else:
            session.delete(row)
            _set(session, generation)
    if tags:
        _set(session, generation)
    session.add_all(GenerationTag(owner_id=actor.id, tag=tag, generation_id=generation.id) for tag in tags)


def _set(session: Session, generation: Generation, **marks: bool) -> None:
    """Mark a generation, and have those with marks counted anew."""
    for name, value in marks.items():
        setattr(generation, name, value)
    session.add(generation)
    dialect = session.get_bind().dialect.name
    made = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(MarkState)
    more = {"changes": col(MarkState.changes) + 1}
    made = made.values(owner_id=generation.owner_id, changes=1)
    session.execute(made.on_conflict_do_update(index_elements=["owner_id"], set_=more))


def _lock(session: Session, take: Take) -> Generation:
    """The generation, which whoever marks another of its takes waits for."""
    return session.get_one(Generation, take.generation_id, with_for_update=True)
