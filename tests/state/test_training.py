"""The list of jobs: its queue, as a signed-in tab changes it."""

from typing import Any

import pytest
from sqlmodel import Session

from qlora_studio.contracts.enums import Role
from qlora_studio.db.models import User
from qlora_studio.services import jobs
from qlora_studio.state.jobs import TrainingState
from tests.jobs.workbench import make_dataset, make_model, make_spec
from tests.state.calling import Opener, call


@pytest.fixture
async def state(opened: Opener, session: Session, user: User) -> Any:
    things = make_dataset(session, user), make_model(session, user)
    for name in ("one", "two", "three"):
        jobs.submit(session, actor=user, spec=make_spec(*things, name=name))
    session.commit()
    made = opened(TrainingState)
    await call(made, "load")
    return made


def names(state: Any) -> list[str]:
    return [row.name for row in state.queued]


async def test_a_job_moves_up_and_down_and_no_further_than_the_ends(state: Any) -> None:
    last = state.queued[2].id
    for by, expected in (
        (-1, "one three two"),
        (-1, "three one two"),
        (-1, "three one two"),
        (1, "one three two"),
    ):
        await call(state, "move", job_id=last, by=by)
        await call(state, "load")
        assert names(state) == expected.split()
    await call(state, "move", job_id="job_of_somebody", by=-1)


async def test_only_an_admin_pauses_and_lets_go_on(state: Any, session: Session, user: User) -> None:
    assert "role" in " ".join(await call(state, "pause", form={"note": "x"}))
    user.role = Role.ADMIN
    session.add(user)
    session.commit()
    await call(state, "pause", form={"note": "New disk."})
    await call(state, "load")
    assert (state.queue.is_paused, state.queue.can_go_on) == (True, True)
    assert "New disk." in state.queue.why
    await call(state, "go_on")
    await call(state, "load")
    assert not state.queue.is_paused
