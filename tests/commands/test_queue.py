"""The queue on the command line."""

from typing import Any

import pytest
from sqlmodel import Session

from qlora_studio.contracts.enums import ExitReason, JobStatus, Role
from qlora_studio.db.models import Job, User
from qlora_studio.services import jobs
from tests.commands.conftest import Run, answer
from tests.conftest import make_user
from tests.jobs.workbench import make_dataset, make_model, make_spec


@pytest.fixture
def admin(session: Session) -> User:
    return make_user(session, "root", Role.ADMIN)


@pytest.fixture
def queued(session: Session, admin: User) -> list[Job]:
    things = make_dataset(session, admin), make_model(session, admin)
    made = [jobs.submit(session, actor=admin, spec=make_spec(*things, name=f"j{i}")) for i in range(3)]
    session.commit()
    return made


def test_the_queue_is_shown_moved_paused_and_let_go_on(run: Run, queued: list[Job], user: User) -> None:
    assert "3 queued; 0 of 1 slots are busy." in run("queue", "show").output
    moved = answer(run("jobs", "move", queued[2].id, "1", "--json"))
    assert [item["name"] for item in moved["items"]] == ["j2", "j0", "j1"]
    assert "paused by root: New disk" in run("queue", "pause", "--note", "New disk").output
    assert answer(run("queue", "show", "--user", "ada", "--json"))["note"] == "New disk"
    run("queue", "resume", "--user", "ada", code=1)
    assert answer(run("queue", "resume", "--json"))["is_paused"] is False


def test_jobs_are_resumed_cloned_put_right_and_deleted(run: Run, queued: list[Job], session: Session) -> None:
    first, second, third = queued
    run("jobs", "stop", first.id)
    assert "queued, place 3" in run("jobs", "resume", first.id).output
    copy = answer(
        run("jobs", "clone", first.id, "--set", "optimization.batch_size=1", "--set", "name=x", "--json")
    )
    assert (copy["name"], copy["spec"]["optimization"]["batch_size"]) == ("x", 1)
    assert copy["spec"]["optimization"]["max_steps"] == 8, "the rest of the part stays"
    run("jobs", "clone", first.id, "--set", "batch_size", code=2)
    run("jobs", "clone", first.id, "--set", "optimization.speed=1", code=2)
    second.status, second.reason = JobStatus.FAILED, ExitReason.OOM_HOST
    session.add(second)
    session.commit()
    put_right: dict[str, Any] = answer(run("jobs", "next", second.id, "--json"))
    assert put_right["spec"]["optimization"]["batch_size"] == 1
    run("jobs", "next", third.id, code=1)
    run("jobs", "delete", second.id)
    run("jobs", "show", second.id, code=2)
