"""The page of the feedback: who is offered what, the days, the rule, and updates of datasets."""

import asyncio

from sqlmodel import Session

from qlora_studio.contracts.enums import DatasetStatus, Role, Task
from qlora_studio.db.models import Dataset, User
from qlora_studio.services.rating_schemas import DayCount
from qlora_studio.state.feedback import FeedbackState, day_bars
from qlora_studio.state.feedback_adapters import FeedbackAdaptersState
from qlora_studio.state.feedback_rules import FeedbackRuleState
from qlora_studio.state.feedback_updates import FeedbackUpdateState
from tests.services.test_ratings import add_takes, rate
from tests.state.calling import Opener, call


def test_bars_have_a_day_each_and_tell_ratings_from_votes() -> None:
    days = [
        DayCount(day="2026-01-01", n_ratings=1, n_votes=0),
        DayCount(day="2026-01-02", n_ratings=2, n_votes=3),
    ]
    assert day_bars(days) == {
        "x": ["2026-01-01", "2026-01-02"],
        "y": [1, 5],
        "customdata": ["1 rating, 0 votes", "2 ratings, 3 votes"],
    }


def test_who_may_what_is_told_to_the_page(user: User, session: Session, opened: Opener) -> None:
    async def sit() -> None:
        for role, may in (
            (Role.TRAINER, (True, True)),
            (Role.RATER, (False, True)),
            (Role.VIEWER, (False, False)),
        ):
            user.role = role
            session.add(user)
            session.commit()
            state, tab = opened(FeedbackState), opened(FeedbackAdaptersState)
            await call(state, "load")
            await call(tab, "load")
            assert (state.may_train, state.may_rate) == may
            assert tab.may_train == may[0]

    asyncio.run(sit())


def test_a_rule_and_a_period_are_chosen(user: User, opened: Opener) -> None:
    rate(user, add_takes(user)[0], 5)

    async def sit() -> None:
        rules, page = opened(FeedbackRuleState), opened(FeedbackState)
        await call(rules, "show")
        assert (rules.n_needed, rules.min_stars, rules.is_own) == ("50", "4", False)
        await call(rules, "save", form={"rule-n_needed": "0", "rule-min_stars": "9", "rule-criterion": ""})
        assert set(rules.field_errors) == {"n_needed", "min_stars"}
        assert rules.is_open
        await call(rules, "save", form={"rule-n_needed": "1", "rule-min_stars": "5", "rule-criterion": ""})
        assert not rules.is_open
        await call(page, "load")
        assert page.progress.ready.endswith("enough to train on.")
        assert len(page.bars["x"]) == 30
        assert page.told == "1 rating and 0 votes in the last 30 days"
        assert page.raters == [["", "Anybody"], [user.id, user.username]]
        await call(page, "choose_period", days="90")
        await call(page, "choose_period", days="1000000")
        assert len(page.bars["x"]) == 90
        await call(page, "choose", field="rater_id", value="usr_nobody")
        assert page.counted == "No such takes yet"
        await call(rules, "forget")
        await call(rules, "show")
        assert not rules.is_own

    asyncio.run(sit())


def test_an_update_is_told_first_and_a_refusal_stays_in_the_dialog(
    user: User, session: Session, opened: Opener
) -> None:
    dataset = Dataset(owner_id=user.id, name="Good", task=Task.TEXT_TO_AUDIO, status=DatasetStatus.READY)
    dataset.source = {"kind": "feedback"}
    session.add(dataset)
    session.commit()

    async def sit() -> None:
        state = opened(FeedbackUpdateState)
        await call(state, "ask", dataset_id=dataset.id)
        assert (state.name, state.can_update) == ("Good", False)
        assert "Nothing to do" in state.message
        rate(user, add_takes(user)[0], 5)
        await call(state, "ask", dataset_id=dataset.id)
        assert (state.added, state.removed, state.message) == ("1", "0", "The next version has 1.")
        await call(state, "update_it")
        assert "gone from the disk" in state.problem
        assert state.dataset_id == dataset.id
        await call(state, "close")
        assert state.dataset_id == ""

    asyncio.run(sit())
