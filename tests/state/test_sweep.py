"""A sweep's page, as a tab calls it."""

import asyncio
from typing import Any

import pytest
from sqlmodel import Session, select

from qlora_studio.db import engine as db
from qlora_studio.db.models import Job, User
from qlora_studio.services import jobs, sweeps
from qlora_studio.state import sweep as state_sweep
from qlora_studio.state.sweep import SweepState
from tests.jobs.workbench import make_dataset, make_model, make_spec
from tests.state.calling import Opener, call


@pytest.fixture
def sweep_id(session: Session, user: User) -> str:
    spec = make_spec(make_dataset(session, user), make_model(session, user))
    with db.write() as writing:
        return sweeps.submit(writing, actor=user, spec=spec, axes={"qlora.rank": [4, 8]}).id


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    async def enter(self: Any) -> Any:
        return self

    async def leave(self: Any, *_: object) -> None:
        return None

    monkeypatch.setattr(SweepState, "__aenter__", enter)
    monkeypatch.setattr(SweepState, "__aexit__", leave)
    monkeypatch.setattr(state_sweep, "LOOK_EVERY_S", 0.01)


async def test_a_sweep_deleted_in_another_tab_is_said(
    quick: None, opened: Opener, user: User, sweep_id: str
) -> None:
    state = opened(SweepState, sweep_id=sweep_id)
    await call(state, "load")
    assert (len(state.rows), state.load_error) == (2, "")
    with db.write() as writing:
        for job_id in writing.exec(select(Job.id)).all():
            jobs.delete(writing, actor=user, job_id=job_id)
    async with asyncio.timeout(10):
        assert await call(state, "watch") == [], "no toast"
    assert state.load_error == "There is no such sweep."
