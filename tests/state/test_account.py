"""The settings page and administration: what their handlers show, change and refuse."""

from sqlmodel import Session

from qlora_studio.contracts.enums import Role, Sharing
from qlora_studio.db import engine as db
from qlora_studio.db.models import Dataset, User
from qlora_studio.services import accounts, sharing, tokens
from qlora_studio.state.account import AccountState
from qlora_studio.state.admin import AuditState, PeopleState
from qlora_studio.state.datasets import DatasetsState
from tests.conftest import make_user
from tests.jobs.workbench import make_dataset
from tests.state.calling import Opener, call


async def test_sessions_end_and_tokens_are_shown_once(opened: Opener, session: Session, user: User) -> None:
    with db.write() as writing:
        accounts.start_session(writing, user=user, user_agent="curl/8", peer="10.0.0.9")
    state = opened(AccountState)
    await call(state, "load")
    assert ([place.is_this for place in state.places], state.n_others) == ([True, False], 1)
    await call(state, "end_others")
    assert [place.is_this for place in state.places] == [True]
    await call(state, "ask_add")
    await call(state, "add", form={"token_name": " ", "scope": "all", "days": "30"})
    assert set(state.field_errors) == {"token_name"}
    await call(state, "add", form={"token_name": "nightly", "scope": "all", "days": ""})
    assert (state.dialog, tokens.authenticate_bearer(state.secret).user.id) == ("secret", user.id)
    await call(state, "close")
    (row,) = state.rows
    assert (state.secret, row.scope, row.ends) == ("", "Everything you may do", "Does not expire")
    await call(state, "ask_delete", row_id=row.id)
    await call(state, "delete")
    assert state.rows == []


async def test_only_an_admin_administers(opened: Opener, session: Session, user: User) -> None:
    bob = make_user(session, "bob")
    state, log = opened(PeopleState, {"query": "bob"}), opened(AuditState, {"action": "user", "since": "x"})
    for refused in (state, log):
        await call(refused, "load")
        assert refused.rows == []
    user.role = Role.ADMIN
    session.add(user)
    session.commit()
    await call(state, "load")
    assert [(row.username, row.role, row.is_self) for row in state.rows] == [("bob", "trainer", False)]
    await call(state, "set_role", user_id=bob.id, role="rater")
    await call(state, "set_role", user_id=bob.id, role="emperor")
    assert state.rows[0].role == "rater"
    await call(state, "ask", name="limits", user_id=bob.id)
    await call(state, "save_limits", form={"gigabytes": "-1", "jobs": "many"})
    assert set(state.field_errors) == {"gigabytes", "jobs"}
    await call(state, "save_limits", form={"gigabytes": "2.5", "jobs": ""})
    assert (state.rows[0].of_limit, state.rows[0].own_gigabytes) == ("of 2.5 GB", "2.5")
    await call(state, "ask", name="link", user_id=bob.id)
    assert "/reset#" in state.link
    await call(state, "close")
    await call(state, "ask", name="disable", user_id=bob.id)
    await call(state, "disable")
    assert (state.link, state.rows[0].is_disabled) == ("", True)
    await call(log, "load")
    assert {row.action for row in log.rows} == {"user.update", "user.reset_link"}
    assert ["user", "user: all"] in log.actions
    assert log.csv_href == "/api/v1/audit.csv?action=user"
    await call(state, "ask", name="delete", user_id=bob.id)
    await call(state, "delete")
    assert state.rows == []


async def test_the_shelf_of_what_others_share(opened: Opener, session: Session, user: User) -> None:
    theirs: Dataset = make_dataset(session, make_user(session, "bob"))
    make_dataset(session, user)
    shared = opened(DatasetsState, {"shelf": "shared"})
    for level, may_train in ((Sharing.READ, False), (Sharing.USE, True)):
        bob = session.get_one(User, theirs.owner_id)
        with db.write() as writing:
            sharing.share(writing, actor=bob, kind="dataset", thing_id=theirs.id, sharing=level)
        await call(shared, "load")
        (row,) = shared.rows
        assert (row.id, row.owner, row.may_change, row.may_train) == (theirs.id, "bob", False, may_train)
    assert shared._address(page=2) == "/datasets?shelf=shared&page=2"
    mine = opened(DatasetsState)
    await call(mine, "load")
    assert [(row.owner, row.may_change) for row in mine.rows] == [("", True)]
