"""The registry of adapters: what is found, what may be changed, and the one default of each base model."""

import threading
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import AdapterStage, Role, Verdict
from qlora_studio.core.errors import Conflict, Forbidden, InvalidInput, NotFound
from qlora_studio.db import engine as db
from qlora_studio.db.models import Adapter, BaseAudioModel, User
from qlora_studio.db.models.audit import AuditEvent
from qlora_studio.services import adapters, inference
from qlora_studio.services.adapter_schemas import AdapterUpdate
from qlora_studio.storage import layout
from tests.conftest import make_user
from tests.jobs.workbench import make_model


def add(session: Session, model: BaseAudioModel, name: str, **values) -> Adapter:
    folder = layout.data_path() / "elsewhere" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_model.safetensors").write_bytes(b"x")
    made = Adapter(
        owner_id=model.owner_id,
        name=name,
        base_model_id=model.id,
        base_model_hash=model.content_hash,
        path=str(folder),
        **values,
    )
    session.add(made)
    session.commit()
    return made


@pytest.fixture
def pair(session: Session, model: BaseAudioModel) -> list[Adapter]:
    return [add(session, model, name) for name in ("first", "second")]


def names(session: Session, user: User, **wanted) -> list[str]:
    found, total = adapters.list_adapters(session, actor=user, sort="name", **wanted)
    assert total == len(found)
    return [view.adapter.name for view in found]


def edit(session: Session, user: User, adapter: Adapter, **changes):
    form = AdapterUpdate(**changes)
    changed = adapters.update(session, actor=user, adapter_id=adapter.id, form=form)
    session.commit()
    session.refresh(adapter)
    return changed


def active(session: Session, user: User, model: BaseAudioModel) -> str | None:
    found = adapters.active_for(session, actor=user, model_id=model.id)
    return found.name if found else None


def test_versions_count_an_owners_adapters_of_one_model(session, user, model, pair):
    other = make_model(session, user)
    session.delete(pair[0])
    session.commit()
    assert [pair[1].version, add(session, model, "third").version, add(session, other, "a").version] == [
        2,
        3,
        1,
    ]


def test_another_one_takes_the_place_of_the_active_one(session, user, model, pair):
    for adapter, strength in zip(pair, (0.5, 1.5), strict=True):
        adapters.activate(session, actor=user, adapter_id=adapter.id, strength=strength)
        session.commit()
        assert active(session, user, model) == adapter.name
        chosen = adapters.choose(session, actor=user, model_id=model.id, adapter_id="active", strength=1.0)
        assert chosen == (adapter.id, strength)
    session.refresh(pair[0])
    assert not pair[0].is_active
    with pytest.raises(IntegrityError):  # whatever path a second one would come by
        add(session, model, "sneaked", is_active=True)
    session.rollback()
    adapters.deactivate(session, actor=user, adapter_id=pair[1].id)
    assert active(session, user, model) is None
    chosen = adapters.choose(session, actor=user, model_id=model.id, adapter_id="active", strength=1.0)
    assert chosen.adapter_id is None
    actions = [line.action for line in session.exec(select(AuditEvent).order_by(col(AuditEvent.id)))]
    assert actions == ["adapter.activate", "adapter.activate", "adapter.deactivate"]


def test_of_two_at_once_one_wins(session, user, model, pair):
    ready = threading.Barrier(2)
    failures = []

    def activate(adapter_id: str) -> None:
        ready.wait(10)
        try:
            with db.write() as own:
                adapters.activate(own, actor=user, adapter_id=adapter_id)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=activate, args=(adapter.id,)) for adapter in pair]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    session.rollback()
    session.expire_all()
    assert not failures
    assert len(session.exec(select(Adapter).where(col(Adapter.is_active))).all()) == 1


def test_what_may_not_be_the_default(session, user, model, pair):
    def activate(adapter: Adapter, **wish):
        return adapters.activate(session, actor=user, adapter_id=adapter.id, **wish)

    with pytest.raises(InvalidInput, match="another model"):
        activate(pair[0], model_id=make_model(session, user).id)
    with pytest.raises(InvalidInput, match="0 to 2"):
        activate(pair[0], strength=2.5)
    broken = add(session, model, "broken", certificate={"verdict": "broken"})
    outdated = add(session, model, "outdated")
    outdated.base_model_hash = "0" * 64
    for adapter, why in ((broken, "is broken"), (outdated, "has changed")):
        with pytest.raises(Conflict, match=why):
            activate(adapter)
        assert activate(adapter, insist=True).adapter.is_active
    (Path(pair[0].path) / "adapter_model.safetensors").unlink()
    with pytest.raises(Conflict, match="“first” are no longer on the disk"):
        activate(pair[0], insist=True)
    edit(session, user, pair[1], archived=True)
    with pytest.raises(Conflict, match="archived"):
        activate(pair[1], insist=True)
    with pytest.raises(NotFound):
        adapters.activate(session, actor=make_user(session, "bob"), adapter_id=pair[0].id)
    user.role = Role.RATER
    with pytest.raises(Forbidden):
        activate(pair[0])


@pytest.mark.parametrize("away", ["archived", "deleted"])
def test_one_that_is_put_away_is_no_longer_the_default(session, user, model, pair, away):
    adapters.activate(session, actor=user, adapter_id=pair[0].id)
    if away == "archived":
        edit(session, user, pair[0], archived=True)
        edit(session, user, pair[0], archived=False)
    else:
        adapters.delete(session, actor=user, adapter_id=pair[0].id)
        session.commit()
    assert active(session, user, model) is None


def test_the_default_is_offered_even_when_it_is_an_old_one(session, user, model, pair, monkeypatch):
    adapters.activate(session, actor=user, adapter_id=pair[0].id)
    session.commit()
    monkeypatch.setattr(inference, "MOST_OFFERED", 1)
    options = inference.get_options(session, actor=user, model_id=model.id)
    assert [adapter.name for adapter in options.adapters] == ["second", "first"]
    assert options.active is pair[0]


def test_one_of_a_model_is_in_production(session, user, model, pair):
    elsewhere = add(session, make_model(session, user), "elsewhere", stage=AdapterStage.PRODUCTION)
    assert edit(session, user, pair[0], stage="production").replaced is None
    assert edit(session, user, pair[0], stage="production").replaced is None
    replaced = edit(session, user, pair[1], stage="production").replaced
    assert replaced is pair[0]
    session.expire_all()
    stages = [pair[0].stage, pair[1].stage, elsewhere.stage]
    assert stages == [AdapterStage.CANDIDATE, AdapterStage.PRODUCTION, AdapterStage.PRODUCTION]
    found = adapters.in_production(session, actor=user, model_id=model.id)
    assert found is pair[1]


def test_adapters_are_found_by_what_is_said_of_them(session, user, model, pair):
    tags = ["Call  Centre", "ä", "call centre"]
    edit(session, user, pair[0], tags=tags, notes="for the 50 % test", stage="candidate")
    edit(session, user, pair[1], tags=["call"], archived=False)
    add(session, model, "hurt", certificate={"verdict": "worse"})
    assert pair[0].tags == ["call centre", "ä"]
    choices = adapters.list_choices(session, actor=user)
    assert choices == (["call", "call centre", "ä"], [(model.id, model.name)], [])
    assert names(session, user, tag="call") == ["second"]
    assert names(session, user, tag="Ä") == ["first"]
    assert names(session, user, tag="c%l") == []
    assert names(session, user, query="50 %") == ["first"]
    assert names(session, user, query="centre") == ["first"]
    assert names(session, user, stage=AdapterStage.CANDIDATE) == ["first"]
    assert names(session, user, verdict=Verdict.WORSE) == ["hurt"]
    edit(session, user, pair[1], archived=True)
    assert names(session, user) == ["first", "hurt"]
    assert names(session, user, archived=True) == ["second"]
    with pytest.raises(InvalidInput):
        edit(session, user, pair[0], name="  ")
