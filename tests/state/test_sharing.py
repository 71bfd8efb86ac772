"""Jobs and adapters that are shared: who shares from the page, and what others are shown and offered."""

from typing import Any

import pytest
from sqlmodel import Session

from qlora_studio.contracts.enums import JobStatus, Role, Sharing
from qlora_studio.db.models import Adapter, BaseAudioModel, Job, User
from qlora_studio.services import jobs
from qlora_studio.state.adapters import AdaptersState, AdapterState
from qlora_studio.state.job import JobState
from qlora_studio.state.job_look import JobLook
from qlora_studio.state.jobs import TrainingState
from qlora_studio.state.merging import MergingState
from tests.conftest import make_user
from tests.jobs.workbench import make_dataset, make_model, make_spec
from tests.services.test_adapters import add
from tests.state.calling import Opener, call


def add_job(session: Session, owner: User) -> Job:
    spec = make_spec(make_dataset(session, owner), make_model(session, owner))
    job = jobs.submit(session, actor=owner, spec=spec)
    job.status = JobStatus.FAILED
    session.commit()
    return job


def add_adapter(session: Session, owner: User) -> Adapter:
    return add(session, make_model(session, owner), "theirs")


def set_sharing(session: Session, thing: Any, sharing: Sharing) -> None:
    thing.sharing = sharing
    session.add(thing)
    session.commit()


@pytest.mark.parametrize(
    ("page", "list_state", "make", "key"),
    [(JobState, TrainingState, add_job, "job_id"), (AdapterState, AdaptersState, add_adapter, "adapter_id")],
)
async def test_an_owner_shares_from_the_page(
    page: type, list_state: type, make: Any, key: str, opened: Opener, session: Session, user: User
) -> None:
    made = make(session, user)
    state = opened(page, **{key: made.id})
    for wanted in ("use", "everybody"):  # an odd word changes nothing
        await call(state, "share", wanted=wanted)
        session.refresh(made)
        assert made.sharing is Sharing.USE
    own = opened(list_state)
    await call(own, "load")
    assert [(row.owner, row.sharing, row.may_change) for row in own.rows] == [("", "use", True)]
    theirs = opened(list_state, {"shelf": "shared"})
    await call(theirs, "load")
    assert theirs.rows == []


@pytest.mark.parametrize(("sharing", "may_train"), [(Sharing.READ, False), (Sharing.USE, True)])
async def test_what_others_share_can_be_seen_and_not_changed(
    sharing: Sharing, may_train: bool, opened: Opener, session: Session, user: User
) -> None:
    bob = make_user(session, "bob")
    job, adapter = add_job(session, bob), add_adapter(session, bob)
    page = opened(AdapterState, adapter_id=adapter.id)
    await call(page, "load")
    assert page.load_error == "There is no such adapter."
    for thing in (job, adapter):
        set_sharing(session, thing, sharing)
    for kind, thing in ((TrainingState, job), (AdaptersState, adapter)):
        shelf = opened(kind, {"shelf": "shared"})
        await call(shelf, "load")
        (row,) = shelf.rows
        assert (row.id, row.owner, row.may_change, row.may_train) == (thing.id, "bob", False, may_train)
    page = opened(AdapterState, adapter_id=adapter.id)
    await call(page, "load")
    shown = page.adapter
    assert (page.load_error, shown.owner, shown.may_change, shown.may_train) == ("", "bob", False, may_train)
    assert (shown.model, shown.model_href, shown.try_href) == ("Small recogniser", "", ""), "it is private"
    merging = opened(MergingState, adapter_id=adapter.id)
    assert await call(merging, "load") == [], "nothing of it is told to be refused"
    shown = JobLook(user, job.id, tab="overview").text()["job"]
    assert (shown.owner, shown.may_train, shown.can_resume, shown.can_delete) == (
        "bob",
        may_train,
        False,
        False,
    )
    for state, key, thing in ((page, "adapter", adapter), (opened(JobState, job_id=job.id), "job", job)):
        sent = "".join(await call(state, "share", wanted="private"))
        session.refresh(thing)
        assert thing.sharing is sharing, key
        assert "shared by bob" in sent


async def test_whoever_shares_an_adapter_is_told_that_it_takes_its_base(
    opened: Opener, session: Session, user: User
) -> None:
    adapter = add_adapter(session, user)
    page = opened(AdapterState, adapter_id=adapter.id)
    told = {wanted: "".join(await call(page, "share", wanted=wanted)) for wanted in ("read", "use")}
    assert "base model “Small recogniser” is shared for use, too" in told["use"]
    assert "base model" not in told["read"]
    base = session.get_one(BaseAudioModel, adapter.base_model_id)
    set_sharing(session, base, Sharing.USE)
    await call(page, "share", wanted="private")
    assert "base model" not in "".join(await call(page, "share", wanted="use"))


async def test_a_viewer_is_offered_no_change_of_what_is_their_own(
    opened: Opener, session: Session, user: User
) -> None:
    add_adapter(session, user)
    user.role = Role.VIEWER
    session.add(user)
    session.commit()
    state = opened(AdaptersState)
    await call(state, "load")
    assert [(row.may_change, row.may_train) for row in state.rows] == [(False, False)]
