"""The dialog that pushes an adapter: fields marked, one push for two presses, a token that nothing shows."""

import json
from typing import Any

import pytest
from sqlmodel import Session, select

from qlora_studio.db.models import HubPush, User
from qlora_studio.db.models.dataset import Credential
from qlora_studio.services import pushes
from qlora_studio.state.pushing import NEW_TOKEN, PushingState
from tests.services.outcomes import make_adapter, make_finished_job
from tests.state.calling import Opener, call

TOKEN = "hf_zirconiumzirconiumzirconium"


@pytest.fixture
async def state(opened: Opener, session: Session, user: User, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(pushes, "launch", lambda _: None)
    adapter = make_adapter(session, user, make_finished_job(session, user), name="My prompts")
    made = opened(PushingState, adapter_id=adapter.id)
    await call(made, "load")
    await call(made, "open_dialog")
    return made


def form(**changes: Any) -> dict[str, Any]:
    """As a browser sends it: an empty box comes as false."""
    sent = {"repo_id": "anna/prompts", "credential_id": NEW_TOKEN, "token": TOKEN, "is_public": False}
    return sent | changes


async def test_two_presses_make_one_private_push_with_the_token_kept(state: Any, session: Session) -> None:
    assert (state.dialog, state.suggested, state.keys) == (
        "push",
        "my-prompts",
        [[NEW_TOKEN, "A new token"]],
    )
    await call(state, "push", form=form())
    await call(state, "push", form=form())
    session.rollback()
    (push,), (credential,) = session.exec(select(HubPush)).all(), session.exec(select(Credential)).all()
    assert (push.is_private, push.credential_id, push.weights) == (True, credential.id, "adapter")
    assert (state.dialog, state.is_sending, [row.status for row in state.pushes]) == ("", False, ["waiting"])
    assert "zirconium" not in json.dumps(state.dict(), default=str).lower()
    await call(state, "open_dialog")
    assert state.chosen == credential.id
    await call(state, "remove", push_id=push.id)
    assert [row.status for row in state.pushes] == ["cancelled"]


async def test_public_is_only_what_was_ticked(state: Any, session: Session) -> None:
    await call(state, "push", form=form(is_public="on"))
    session.rollback()
    assert [push.is_private for push in session.exec(select(HubPush))] == [False]


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"token": ""}, "token"),
        ({"token": "two words"}, "token"),
        ({"repo_id": ""}, "repo_id"),
        ({"repo_id": "--flag"}, "repo_id"),
        ({"credential_id": "cred_of_another"}, "credential_id"),
    ],
)
async def test_what_is_wrong_is_marked_and_nothing_is_kept(
    state: Any, session: Session, changes: dict[str, Any], wrong: str
) -> None:
    await call(state, "push", form=form(**changes))
    session.rollback()
    assert set(state.field_errors) == {wrong}
    assert (state.dialog, state.is_sending) == ("push", False)
    assert session.exec(select(HubPush)).all() == session.exec(select(Credential)).all() == []
