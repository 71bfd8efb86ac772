"""Keys in the form of a new dataset: chosen, added, deleted, and never shown again."""

import json
from typing import Any

import pytest
from sqlmodel import Session, select

from qlora_studio.db.models import User
from qlora_studio.db.models.dataset import Credential
from qlora_studio.ingest import credentials
from qlora_studio.state.credentials import CredentialsState
from tests.state.calling import Opener, call

S3 = {"key_name": "Team", "access_key": "AKIA-ZIRCONIUM", "secret_key": "zirconium-secret"}


async def picker(opened: Opener, source: str = "cloud") -> Any:
    state = opened(CredentialsState, {"source": source})
    await call(state, "load")
    return state


def held(session: Session) -> list[Credential]:
    session.rollback()  # and so see what others have written since
    return list(session.exec(select(Credential)).all())


async def test_a_key_is_added_chosen_and_deleted(opened: Opener, session: Session, user: User) -> None:
    state = await picker(opened)
    assert [value for value, _ in state.options] == [""]
    await call(state, "ask_add")
    assert (state.dialog, state.kind) == ("add", "s3")
    await call(state, "add", form=S3)
    (key,) = held(session)
    assert (state.dialog, state.chosen, key.kind) == ("", key.id, "s3")
    assert credentials.unlock(key.id, owner_id=user.id, kind="s3")["secret"] == "zirconium-secret"
    await call(state, "add", form=S3)
    assert len(held(session)) == 1, "a second press makes no second key"
    assert state.options[1:] == [[key.id, "Team (Amazon S3)"]]
    assert "zirconium" not in json.dumps(state.dict(), default=str).lower()
    await call(state, "ask_delete")
    assert "The key Team is deleted" in "".join(await call(state, "delete"))
    assert (held(session), state.chosen, state.dialog) == ([], "", "")


@pytest.mark.parametrize(
    ("source", "kind", "form", "wrong"),
    [
        ("cloud", "s3", {**S3, "secret_key": ""}, {"secret_key"}),
        ("cloud", "s3", {**S3, "key_name": " ", "region": "Mars!"}, {"key_name", "region"}),
        ("cloud", "gs", {"key_name": "n", "service_account": "zirconium"}, {"service_account"}),
        ("hub", "hub", {"key_name": "n", "token": "hf zirconium"}, {"token"}),
        ("hub", "hub", {}, {"key_name", "token"}),
    ],
)
async def test_a_wrong_key_marks_its_fields_and_says_nothing_of_it(
    opened: Opener, session: Session, source: str, kind: str, form: dict, wrong: set[str]
) -> None:
    state = await picker(opened, source)
    await call(state, "ask_add")
    await call(state, "set_kind", kind=kind)
    await call(state, "add", form=form)
    assert set(state.field_errors) == wrong
    assert state.dialog == "add"
    assert "zirconium" not in str(state.field_errors)
    assert held(session) == []


async def test_only_fitting_keys_of_ones_own_are_offered(
    opened: Opener, session: Session, user: User, stranger: User
) -> None:
    for name, kind, owner in (
        ("a", "s3", user),
        ("b", "gs", user),
        ("c", "hub", user),
        ("d", "s3", stranger),
    ):
        session.add(Credential(id=f"cred_{name}", owner_id=owner.id, name=name, kind=kind, ciphertext="x"))
    session.commit()
    cloud, hub = await picker(opened), await picker(opened, "hub")
    assert [value for value, _ in cloud.options] == ["", "cred_a", "cred_b"]
    assert [value for value, _ in hub.options] == ["", "cred_c"]
    await call(cloud, "choose", key_id="cred_d")
    assert cloud.chosen == ""
    await call(cloud, "ask_delete")
    assert cloud.dialog == "", "nothing is chosen"
    await call(cloud, "choose", key_id="cred_a")
    assert cloud.chosen_name == "a"
