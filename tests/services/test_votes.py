"""Votes of blind pairs: one of a person and pair, and which pair comes next."""

from collections import Counter

import pytest
from pydantic import ValidationError
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import Preference, Role
from qlora_studio.core.errors import Forbidden, InvalidInput, NotFound
from qlora_studio.db import engine as db
from qlora_studio.db.models import PreferenceVote, PromptTally, Take, User
from qlora_studio.services import generations, votes
from qlora_studio.services.vote_schemas import BlindPair, NextPair, VotePut
from tests.services.test_ratings import add_takes


def ask(user: User, *leaving_out: str) -> NextPair:
    with db.read() as session:
        return votes.get_next(session, actor=user, leaving_out=leaving_out)


def say(user: User, first_id: str, second_id: str, verdict: str) -> PreferenceVote:
    form = VotePut(first_take_id=first_id, second_take_id=second_id, verdict=Preference(verdict))
    with db.write() as session:
        return votes.put(session, actor=user, form=form)


def answer(user: User, pair: BlindPair, verdict: str) -> PreferenceVote:
    return say(user, pair.first.id, pair.second.id, verdict)


def test_all_pairs_are_asked_once_and_those_with_the_fewest_votes_first(user: User, session: Session) -> None:
    for prompt, n_takes in (("rain", 3), ("snow", 3), ("alone", 1)):
        add_takes(user, n_takes, prompt=prompt)
    seen: list[tuple[str, str]] = []
    while (found := ask(user)).pair is not None:
        assert found.n_answered == len(seen)
        seen.append((found.pair.prompt, found.pair.id))
        answer(user, found.pair, "left" if len(seen) % 2 else "skip")
    assert len(set(seen)) == 6
    assert {prompt for prompt, _ in seen[:2]} == {prompt for prompt, _ in seen[2:4]} == {"rain", "snow"}
    assert {t.prompt: t.n_votes for t in session.exec(select(PromptTally))} == {
        "rain": 3, "snow": 3, "alone": 0,
    }  # fmt: skip


def test_takes_of_a_later_generation_of_the_same_text_are_compared_too(user: User) -> None:
    one = add_takes(user, 1)[0]
    assert ask(user).pair is None, "one take has nothing to be compared with"
    same = add_takes(user, 1)[0]
    assert ask(user).pair is None, "the same seed and settings make the same sound"
    with db.write() as session:
        session.get_one(Take, same.id).seed = 9
    pair = ask(user).pair
    assert pair is not None
    assert {pair.first.id, pair.second.id} == {one.id, same.id}


def test_the_closest_takes_come_before_those_that_are_decided(user: User, stranger: User) -> None:
    best, worst, *middle = sorted(add_takes(user, 4), key=lambda take: take.id)
    with db.write() as session:  # somebody else has answered: middle ones lose to one and win against another
        for left, right in [(best, m) for m in middle] + [(m, worst) for m in middle]:
            session.add(vote_of(stranger, left, right))
    left_over = {ask(user).pair.id}  # type: ignore[union-attr]
    assert left_over == {".".join(sorted(take.id for take in middle))}


def vote_of(rater: User, left: Take, right: Take) -> PreferenceVote:
    return PreferenceVote(
        rater_id=rater.id, first_take_id=left.id, second_take_id=right.id, owner_id=left.owner_id,
        pair_key=".".join(sorted((left.id, right.id))), model_id=left.model_id, verdict=Preference.LEFT,
        prompt_key="x",
    )  # fmt: skip


@pytest.mark.slow
def test_sides_are_by_chance_and_stay(user: User) -> None:
    takes = add_takes(user, 12)
    order = {take.id: index for index, take in enumerate(sorted(takes, key=lambda take: take.id))}
    lower_is_left: Counter[bool] = Counter()
    while (pair := ask(user).pair) is not None:
        assert ask(user).pair == pair, "asking again changes nothing"
        lower_is_left[order[pair.first.id] < order[pair.second.id]] += 1
        answer(user, pair, "tie")
    assert lower_is_left.total() == 66
    assert 20 < lower_is_left[True] < 46


def test_the_pair_after_this_one(user: User) -> None:
    add_takes(user, 3)
    now = ask(user).pair
    assert now is not None
    then = ask(user, now.id).pair
    assert then is not None
    assert then.id != now.id
    last = ask(user, now.id, then.id).pair
    assert last is not None
    assert ask(user, now.id, then.id, last.id).pair is None


def test_another_vote_takes_the_place_of_the_first_whichever_way_round(user: User, session: Session) -> None:
    one, other = add_takes(user)
    first = say(user, one.id, other.id, "left")
    again = say(user, other.id, one.id, "left")
    assert again.id == first.id
    kept = session.exec(select(PreferenceVote)).one()
    assert (kept.first_take_id, kept.verdict) == (other.id, "left")
    assert session.exec(select(PromptTally.n_votes)).one() == 1
    better = VotePut(chosen_id=one.id, rejected_id=other.id)
    with db.write() as writing:
        named = votes.put(writing, actor=user, form=better)
    winner = named.first_take_id if named.verdict is Preference.LEFT else named.second_take_id
    assert winner == one.id
    with db.write() as writing:
        tied = VotePut(chosen_id=one.id, rejected_id=other.id, tie=True)
        assert votes.put(writing, actor=user, form=tied).verdict is Preference.TIE


def test_votes_are_taken_back_the_latest_first(user: User, session: Session) -> None:
    takes = add_takes(user, 3)
    say(user, takes[0].id, takes[1].id, "left")
    say(user, takes[1].id, takes[2].id, "skip")
    say(user, takes[0].id, takes[1].id, "right")
    with db.write() as writing:
        back = votes.take_back_last(writing, actor=user)
    assert (back.pair.first.id, back.pair.second.id, back.verdict) == (takes[0].id, takes[1].id, "right")
    with db.write() as writing:
        assert votes.take_back_last(writing, actor=user).n_answered == 0
    assert session.exec(select(PromptTally.n_votes)).one() == 0
    with db.write() as writing, pytest.raises(NotFound):
        votes.take_back_last(writing, actor=user)


def test_votes_go_with_their_takes(user: User, session: Session) -> None:
    kept, gone = add_takes(user), add_takes(user)
    say(user, kept[0].id, kept[1].id, "left")
    say(user, kept[0].id, gone[1].id, "left")
    with db.write() as writing:
        generations.remove(writing, actor=user, generation_id=gone[0].generation_id)
    assert session.exec(select(col(PreferenceVote.second_take_id))).all() == [kept[1].id]
    assert session.exec(select(PromptTally.n_votes)).one() == 1


def test_who_may_not(user: User, stranger: User) -> None:
    one, other = add_takes(user)
    elsewhere = add_takes(user, 1, prompt="snow")[0]
    with pytest.raises(InvalidInput, match="same text"):
        say(user, one.id, elsewhere.id, "left")
    with pytest.raises(NotFound):
        say(stranger, one.id, other.id, "left")
    assert ask(stranger).pair is None
    user.role = Role.VIEWER
    with pytest.raises(Forbidden):
        say(user, one.id, other.id, "left")
    with pytest.raises(Forbidden):
        ask(user)
    for wrong in (
        {},
        {"first_take_id": "a", "second_take_id": "b"},
        {"chosen_id": "a", "rejected_id": "a"},
        {"chosen_id": "a", "rejected_id": "b", "first_take_id": "a"},
        {"first_take_id": "a", "second_take_id": "b", "verdict": "left", "tie": True},
    ):
        with pytest.raises(ValidationError):
            VotePut.model_validate(wrong)
