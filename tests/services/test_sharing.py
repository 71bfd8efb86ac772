"""Sharing: nothing, listening, or rating and comparing too; never changing or deleting."""

import pytest
from sqlmodel import Session, select

from qlora_studio.contracts.enums import Preference, Role, Sharing
from qlora_studio.core.errors import Forbidden, NotFound
from qlora_studio.db import engine as db
from qlora_studio.db.models import Rating, Take, User
from qlora_studio.services import generation_lists, generations, ratings, votes
from qlora_studio.services.generation_schemas import GenerationUpdate
from qlora_studio.services.vote_schemas import VotePut
from tests.services.test_ratings import add_takes, rate, ready, stats


def share(owner: User, take: Take, sharing: Sharing) -> None:
    with db.write() as session:
        form = GenerationUpdate(sharing=sharing)
        generations.update(session, actor=owner, generation_id=take.generation_id, form=form)


def hears(person: User, take: Take) -> bool:
    with db.read() as session:
        try:
            generations.get_take(session, actor=person, take_id=take.id)
            generations.get_generation(session, actor=person, generation_id=take.generation_id)
        except NotFound:
            return False
    return True


def test_what_is_private_is_not_there_for_others(user: User, stranger: User) -> None:
    take, other = add_takes(user)
    assert hears(user, take)
    assert not hears(stranger, take)
    with pytest.raises(NotFound):
        rate(stranger, take, 5)
    share(user, take, Sharing.READ)
    assert hears(stranger, take)
    with pytest.raises(Forbidden, match="not rate"):
        rate(stranger, take, 5)
    form = VotePut(first_take_id=take.id, second_take_id=other.id, verdict=Preference.LEFT)
    with db.write() as session, pytest.raises(Forbidden):
        votes.put(session, actor=stranger, form=form)
    share(user, take, Sharing.PRIVATE)
    assert not hears(stranger, take)


def test_two_rate_one_take_and_each_rating_counts(user: User, stranger: User, session: Session) -> None:
    take, _ = add_takes(user, sharing=Sharing.USE)
    rate(user, take, 2, note="mine")
    rate(stranger, take, 4, note="theirs")
    rate(stranger, take, 5)
    assert {(r.rater_id, r.stars) for r in session.exec(select(Rating))} == {(user.id, 2), (stranger.id, 5)}
    kept = session.get_one(Take, take.id)
    assert (kept.n_ratings, kept.mean_stars) == (2, 3.5)
    assert (stats(user).n_ratings, stats(stranger).n_ratings) == (2, 0), "they are about the owner's takes"
    assert ready(user, min_stars=3.5).n_good == 1
    told = {
        person.username: [r.stars for r in ratings.list_of_take(session, actor=person, take_id=take.id)]
        for person in (user, stranger)
    }
    assert {name: sorted(stars) for name, stars in told.items()} == {"ada": [2, 5], "mallory": [5]}
    stranger.role = Role.VIEWER
    with pytest.raises(Forbidden):
        rate(stranger, take, 1)


def test_only_the_owner_shares_and_deletes(user: User, stranger: User, session: Session) -> None:
    take, _ = add_takes(user, sharing=Sharing.USE)
    with pytest.raises(NotFound):
        share(stranger, take, Sharing.PRIVATE)
    with db.write() as writing, pytest.raises(NotFound):
        generations.remove(writing, actor=stranger, generation_id=take.generation_id)
    found, total = generation_lists.list_shared(session, actor=stranger)
    assert ([g.id for g in found], total) == ([take.generation_id], 1)
    assert generation_lists.list_shared(session, actor=user) == ([], 0), "one's own are in the other list"
    assert generation_lists.list_generations(session, actor=stranger)[1] == 0
    user.role = Role.RATER
    with pytest.raises(Forbidden):
        share(user, take, Sharing.PRIVATE)


def test_others_are_asked_to_compare_what_is_shared_for_use(user: User, stranger: User) -> None:
    shared = add_takes(user, 3, sharing=Sharing.USE)
    add_takes(user, 3, prompt="secret")
    add_takes(user, 3, prompt="only to hear", sharing=Sharing.READ)
    own = add_takes(stranger, 2, prompt="own")
    seen = set()
    for _ in range(4):
        with db.write() as session:
            pair = votes.get_next(session, actor=stranger).pair
            assert pair is not None
            seen |= {pair.first.id, pair.second.id}
            form = VotePut(first_take_id=pair.first.id, second_take_id=pair.second.id, verdict=Preference.TIE)
            votes.put(session, actor=stranger, form=form)
    assert seen == {take.id for take in (*shared, *own)}
    with db.read() as session:
        assert votes.get_next(session, actor=stranger).pair is None
        assert votes.get_next(session, actor=user).pair is not None, "the owner is asked by himself"
