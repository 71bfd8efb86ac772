"""Listening tests: taken by two at once, answered once, closed, and readable when everything else is gone."""

import threading
from contextlib import suppress

import pytest
from pydantic import ValidationError
from sqlmodel import Session, select

from qlora_studio.contracts.enums import Audience, ListeningStatus, Preference, QuestionKind, Role
from qlora_studio.core.errors import Conflict, Forbidden, NotFound
from qlora_studio.db import engine as db
from qlora_studio.db.models import (
    Generation,
    ListeningQuestion,
    ListeningTest,
    PreferenceVote,
    Take,
    User,
)
from qlora_studio.services import (
    generations,
    listening_questions,
    listening_results,
    listening_tests,
    votes,
)
from qlora_studio.services.listening_schemas import Asked, ListeningTestCreate, Results
from tests.services.listening_desk import Contrarian, Listener, look_up, open_test


def ask(user: User, test: ListeningTest) -> Asked:
    with db.write() as session:
        return listening_questions.ask(session, actor=user, test_id=test.id)


def say(user: User, question_id: str, verdict: str) -> None:
    with db.write() as session:
        listening_questions.answer(session, actor=user, question_id=question_id, verdict=Preference(verdict))


def results(user: User, test: ListeningTest) -> Results:
    with db.read() as session:
        return listening_results.get(session, actor=user, test_id=test.id)


def sit(rater: User, test: ListeningTest, listener: Listener, n_most: int = 10_000) -> int:
    """Answer until nothing is left; returns how many were answered."""
    n = 0
    while n < n_most and (asked := ask(rater, test)).questions:
        question = look_up(asked.questions[0].id)
        say(rater, question.id, listener.answer(question))
        n += 1
    return n


def now(test: ListeningTest) -> ListeningTest:
    with db.read() as session:
        return session.get_one(ListeningTest, test.id)


def test_two_who_take_it_at_once_have_questions_of_their_own(user: User, stranger: User) -> None:
    test = open_test(user)
    mine, theirs = ask(user, test), ask(stranger, test)
    assert len({q.id for q in [*mine.questions, *theirs.questions]}) == 4
    assert ask(user, test) == mine, "asking again gives the same two"
    say(user, mine.questions[0].id, "left")
    after = ask(user, test)
    assert after.questions[0] == mine.questions[1]
    assert (after.n_answered, ask(stranger, test).n_answered) == (1, 0)
    with pytest.raises(NotFound):
        say(stranger, mine.questions[1].id, "left")


def test_the_same_answer_twice_counts_once_and_another_is_refused(user: User, session: Session) -> None:
    test = open_test(user, catch_every=0)
    question = ask(user, test).questions[0]
    say(user, question.id, "left")
    say(user, question.id, "left")
    with pytest.raises(Conflict, match="already"):
        say(user, question.id, "right")
    assert now(test).n_votes == 1
    vote = session.exec(select(PreferenceVote)).one()
    asked = look_up(question.id)
    assert (vote.first_take_id, vote.second_take_id) == (asked.left_take_id, asked.right_take_id)
    assert (vote.verdict, vote.listening_test_id) == ("left", test.id)
    assert votes.count(session, actor=user) == 0, "it is no answer to a pair outside"


def test_four_tabs_of_two_raters_at_once_ask_and_count_each_pair_once(user: User, stranger: User) -> None:
    test = open_test(user, n_contestants=3, n_prompts=2, catch_every=0)
    together = threading.Barrier(4)
    failures: list[BaseException] = []

    def run(rater: User, seed: int) -> None:
        listener = Listener(seed, [0.0] * 3)
        together.wait(10)
        try:
            while (asked := ask(rater, test)).questions:
                question = look_up(asked.questions[0].id)
                with suppress(Conflict):  # the other tab was faster
                    say(rater, question.id, listener.answer(question))
        except BaseException as error:
            failures.append(error)

    tabs = [(user, 0), (user, 1), (stranger, 2), (stranger, 3)]
    threads = [threading.Thread(target=run, args=tab) for tab in tabs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert now(test).n_votes == results(user, test).n_votes == 12
    assert {rater.name: rater.n_votes for rater in results(user, test).raters} == {"ada": 6, "mallory": 6}


def test_every_pair_is_asked_with_catch_pairs_and_repeats_between(user: User, session: Session) -> None:
    test = open_test(user, n_contestants=3, n_prompts=4, catch_every=5)
    n = sit(user, test, Listener(0, [0.0, 0.0, 0.0]))
    rows = session.exec(select(ListeningQuestion).order_by("number")).all()
    assert [row.number for row in rows] == list(range(n))
    of_kind = {kind: [row for row in rows if row.kind is kind] for kind in QuestionKind}
    asked = {(row.prompt, frozenset((row.left, row.right))) for row in of_kind[QuestionKind.NEW]}
    assert len(asked) == len(of_kind[QuestionKind.NEW]) == now(test).n_votes == 12
    assert len(of_kind[QuestionKind.CATCH]) in (n // 5, n // 5 + 1)
    assert all(row.left == row.right for row in of_kind[QuestionKind.CATCH])
    told = results(user, test)
    assert (told.n_votes, told.raters[0].n_known) == (12, len(of_kind[QuestionKind.CATCH]))
    assert told.raters[0].n_right == told.raters[0].n_known


def test_it_stops_by_its_rules(user: User, stranger: User) -> None:
    bounded = open_test(user, n_prompts=6, max_per_rater=5)
    assert sit(user, bounded, Listener(0, [0.0] * 3)) == 5
    assert sit(stranger, bounded, Listener(1, [0.0] * 3), 3) == 3
    test = open_test(user, n_prompts=6, catch_every=0, max_votes=4)
    waiting = ask(stranger, test).questions[0]
    sit(user, test, Listener(0, [0.0] * 3))
    assert (now(test).status, now(test).n_votes) == (ListeningStatus.CLOSED, 4)
    with pytest.raises(Conflict, match="closed"):
        say(stranger, waiting.id, "left")
    assert ask(stranger, test).questions == []
    assert results(user, test).n_votes == 4


def test_skipped_pairs_count_nothing_and_are_not_asked_again(user: User) -> None:
    test = open_test(user, n_contestants=2, n_prompts=2, catch_every=0)
    for _ in range(2):
        say(user, ask(user, test).questions[0].id, "skip")
    assert ask(user, test).questions == []
    assert (now(test).n_votes, results(user, test).summary) == (0, "No vote counts yet.")


@pytest.mark.slow
def test_a_careless_rater_is_left_out_until_the_owner_says_otherwise(user: User, stranger: User) -> None:
    test = open_test(user, n_contestants=2, n_prompts=15, catch_every=5)
    sit(user, test, Listener(0, [1.5, -1.5]))
    sit(stranger, test, Contrarian(3, [0.0, 0.0]))
    told = results(user, test)
    raters = {rater.name: rater for rater in told.raters}
    assert not raters["ada"].is_left_out
    assert raters["mallory"].is_left_out
    assert raters["mallory"].reason.startswith("Missed")
    assert (told.n_votes, told.n_left_out) == (15, 15)
    for word, n_votes in ((False, 30), (True, 15), (None, 15)):
        with db.write() as session:
            listening_results.decide(
                session, actor=user, test_id=test.id, rater_id=stranger.id, is_left_out=word
            )
        assert results(user, test).n_votes == n_votes
    with db.write() as session, pytest.raises(NotFound):
        listening_results.decide(session, actor=user, test_id=test.id, rater_id="usr_x", is_left_out=True)


def test_takes_that_are_deleted_are_asked_no_more_and_answers_stay(user: User) -> None:
    test = open_test(user, n_contestants=2, n_prompts=3, catch_every=0)
    first, second = ask(user, test).questions
    say(user, first.id, "left")
    for question in (first, second):
        with db.write() as session:
            take = session.get_one(Take, look_up(question.id).left_take_id)
            generations.remove(session, actor=user, generation_id=take.generation_id)
    left = ask(user, test).questions
    assert second.id not in {question.id for question in left}
    assert len(left) == 1
    with db.write() as writing:
        listening_tests.close(writing, actor=user, test_id=test.id)
        for generation in writing.exec(select(Generation)).all():
            generations.remove(writing, actor=user, generation_id=generation.id)
    told = results(user, test)
    assert told.n_votes == 1
    assert {standing.label for standing in told.standings} == {"Bells (base)", "adapter 1"}
    with db.read() as reading:
        rows = listening_results.list_answers(reading, actor=user, test_id=test.id)
    assert [(row.rater, row.verdict, row.kind) for row in rows] == [("ada", "left", "new")]
    assert listening_results.to_csv(rows).splitlines()[1].startswith("0,ada,bell")


def test_deleting_it_leaves_nothing(user: User, session: Session) -> None:
    test = open_test(user, files=True)
    say(user, ask(user, test).questions[0].id, "left")
    with db.write() as writing:
        listening_tests.remove(writing, actor=user, test_id=test.id)
    for table in (ListeningTest, ListeningQuestion, PreferenceVote, Generation, Take):
        assert session.exec(select(table)).all() == []


def test_who_may_do_what(user: User, stranger: User) -> None:
    test, private = open_test(user), open_test(user, audience=Audience.OWNER)
    question = ask(user, private).questions[0]
    for refused in (
        lambda session: listening_tests.get(session, actor=stranger, test_id=private.id),
        lambda session: listening_questions.ask(session, actor=stranger, test_id=private.id),
        lambda session: listening_questions.get_sound(
            session, actor=stranger, question_id=question.id, side="left"
        ),
        lambda session: listening_results.get(session, actor=stranger, test_id=test.id),
        lambda session: listening_results.list_answers(session, actor=stranger, test_id=test.id),
        lambda session: listening_tests.close(session, actor=stranger, test_id=test.id),
        lambda session: listening_tests.remove(session, actor=stranger, test_id=test.id),
    ):
        with db.write() as session, pytest.raises(NotFound):
            refused(session)
    with db.read() as session:
        seen, total = listening_tests.list_tests(session, actor=stranger)
        (shown,) = listening_tests.to_public(session, actor=stranger, tests=seen)
    assert (total, shown.id) == (1, test.id)
    assert (shown.contestants, shown.prompts, shown.n_contestants) == ([], [], 3)
    stranger.role = Role.VIEWER
    with pytest.raises(Forbidden):
        ask(stranger, test)


def test_forms_that_make_no_sense_are_refused() -> None:
    fine = {
        "name": "a",
        "prompts": ["rain"],
        "contestants": [{"model_id": "mod_a"}, {"model_id": "mod_a", "adapter_id": "ada_a"}],
    }
    ListeningTestCreate.model_validate(fine)
    for wrong in (
        {"contestants": [{"model_id": "mod_a"}]},
        {"contestants": [{"model_id": "mod_a"}, {"model_id": "mod_a", "strength": 0.5}]},
        {"prompts": ["rain", " rain "]},
        {"prompts": []},
        {"prompts": [f"{i}" for i in range(50)], "n_seeds": 8},
        {"catch_every": 3},
        {"max_votes": 0},
        {"name": " "},
    ):
        with pytest.raises(ValidationError):
            ListeningTestCreate.model_validate(fine | wrong)
