"""The pages of listening tests: one question after the other, results in words, mistakes marked."""

import asyncio

import pytest
from sqlmodel import Session, select

from qlora_studio.contracts.enums import ListeningStatus, Preference
from qlora_studio.db import engine as db
from qlora_studio.db.models import ListeningTest, User
from qlora_studio.services import listening_making
from qlora_studio.state.listening import ListeningTestsState, ListeningTestState
from qlora_studio.state.listening_form import ListeningFormState
from qlora_studio.state.listening_results import ListeningResultsState
from tests.services.listening_desk import Listener, open_test
from tests.services.test_generations import sound_model
from tests.services.test_listening_tests import sit
from tests.state.calling import Opener, call


def test_a_rater_goes_from_question_to_question(user: User, stranger: User, opened: Opener) -> None:
    test = open_test(stranger, n_contestants=2, n_prompts=3, catch_every=0)
    state = opened(ListeningTestState, test_id=test.id)

    async def sit_down() -> None:
        await call(state, "load")
        first, second = state.pair, state.upcoming
        assert first.left == f"/api/v1/listening-tests/questions/{first.id}/left"
        assert (state.test.is_own, state.test.detail.startswith("By mallory.")) == (False, True)
        await call(state, "answer", pair_id=first.id, verdict=Preference.LEFT)
        await call(state, "answer", pair_id=first.id, verdict=Preference.RIGHT)
        assert (state.pair, state.progress) == (second, "1 pair answered")
        again = opened(ListeningTestState, test_id=test.id)
        await call(again, "load")
        assert again.pair == second, "who comes back goes on"
        for _ in range(2):
            await call(state, "answer", pair_id=state.pair.id, verdict=Preference.TIE)
        assert (state.pair.id, state.progress, state.test.status) == ("", "3 pairs answered", "open")

    asyncio.run(sit_down())


def test_what_is_not_for_somebody_is_missing(user: User, stranger: User, opened: Opener) -> None:
    test = open_test(stranger, n_contestants=2)
    state = opened(ListeningResultsState, test_id=test.id)
    asyncio.run(call(state, "load"))
    assert state.is_missing
    tests = opened(ListeningTestsState)
    asyncio.run(call(tests, "load"))
    assert [(row.id, row.is_own, row.is_open) for row in tests.rows] == [(test.id, False, True)]


def test_results_in_words(user: User, opened: Opener) -> None:
    test = open_test(user, n_contestants=3, n_prompts=4, catch_every=0)
    sit(user, test, Listener(1, [0.0, 9.0, -9.0]))
    state = opened(ListeningResultsState, test_id=test.id)

    async def read() -> None:
        await call(state, "load")
        assert [row.label for row in state.standings] == ["adapter 1", "Bells (base)", "adapter 2"]
        assert all(0 <= row.start <= row.at <= row.start + row.width <= 100 for row in state.standings)
        assert (state.results.votes, len(state.comparisons)) == ("12", 3)
        assert state.results.agreement_detail == "No pair was judged by two raters yet."
        (rater,) = state.raters
        assert (rater.votes, rater.catches, rater.is_left_out) == ("12", "–", False)
        await call(state, "decide", rater_id=user.id, word="leave-out")
        assert (state.results.has_votes, state.raters[0].note) == (False, "Left out by you.")
        await call(state, "decide", rater_id=user.id, word="rule")
        await call(state, "close")
        assert (state.results.has_votes, state.test.status) == (True, ListeningStatus.CLOSED)

    asyncio.run(read())


def test_the_form_marks_what_is_wrong_and_sets_a_test_up(
    user: User, session: Session, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening_making, "launch", lambda test_id: None)
    one, other = sound_model(session, user), sound_model(session, user, "gpu")
    state = opened(ListeningFormState)
    fine = {
        "name": "Which", "prompts": "rain\n\n snow ", "n_seeds": "1", "duration_s": "0.1",
        "audience": "owner", "catch_every": "10", "max_votes": "", "max_per_rater": "3",
    }  # fmt: skip

    async def fill() -> None:
        await call(state, "load")
        assert {row.choice for row in state.rows} == {one.id, other.id}
        await call(state, "choose", number=1, choice=f"{one.id}|ada_000000000000")
        await call(state, "set_strength", number=1, strength="0.5")
        await call(state, "create", form=fine)
        assert set(state.field_errors) == {"max_per_rater"}
        await call(state, "create", form=fine | {"max_per_rater": "5"})
        assert (state.field_errors, state.rows[1].error) == ({}, "There is no such adapter.")
        (free,) = {one.id, other.id} - {state.rows[0].choice}
        await call(state, "choose", number=1, choice=free)
        sent = await call(state, "create", form=fine | {"max_per_rater": "5"})
        assert "/results" in sent[-1], (state.field_errors, state.rows)

    asyncio.run(fill())
    with db.read() as reading:
        made = reading.exec(select(ListeningTest)).one()
    assert (made.prompts, made.audience, made.max_votes) == (["rain", "snow"], "owner", None)
