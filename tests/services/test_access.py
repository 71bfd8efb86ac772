"""Who may do what: the whole table, and that services, REST and events ask it."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from sqlmodel import Session

from qlora_studio.api import build_api
from qlora_studio.api.security import current_user
from qlora_studio.contracts.enums import Role, Sharing
from qlora_studio.core.errors import Conflict, Forbidden, InvalidInput, NotFound
from qlora_studio.db.models import Adapter, AuditEvent, BaseAudioModel, Dataset, Job, User
from qlora_studio.services import access, adapters, clips, datasets, jobs, models, sharing
from qlora_studio.services.access import Action, Shelf, Standing
from tests.conftest import make_user
from tests.jobs.workbench import make_spec

# action: for each standing (owner, may use, may look, stranger) the least role, or none at all
V, R, T, A = Role.VIEWER, Role.RATER, Role.TRAINER, Role.ADMIN
TABLE: dict[Action, tuple[Role | None, ...]] = {
    Action.SEE: (V, V, V, None),
    Action.TRY: (V, V, None, None),
    Action.RATE: (R, R, None, None),
    Action.TRAIN: (T, T, None, None),
    Action.HOLD: (V, None, None, None),
    Action.CHANGE: (T, None, None, None),
    Action.ADMINISTER: (A, None, None, None),
}


def test_every_role_action_and_standing_is_as_the_table_says() -> None:
    assert set(TABLE) == set(Action)
    order = (V, R, T, A)
    for action, least in TABLE.items():
        for stands, needed in zip(Standing, least, strict=True):
            for role in order:
                person = User(
                    username="p", username_key="p", email="", email_key="", password_hash="", role=role
                )
                wanted = needed is not None and order.index(role) >= order.index(needed)
                assert access.may(person, action, stands) is wanted, (role, action, stands)


@pytest.fixture
def things(session: Session, user: User, dataset: Dataset, model: BaseAudioModel, submit: Callable) -> dict:
    job = submit()
    adapter = Adapter(owner_id=user.id, name="mine", base_model_id=model.id, path="/nowhere", job_id=job.id)
    session.add(adapter)
    session.commit()
    return {"dataset": dataset, "model": model, "job": job, "adapter": adapter}


def set_all(session: Session, owner: User, things: dict, wanted: Sharing) -> None:
    for kind, thing in things.items():
        sharing.share(session, actor=owner, kind=kind, thing_id=thing.id, sharing=wanted)
    session.commit()


LISTS = {
    "dataset": datasets.list_datasets,
    "model": models.list_models,
    "job": jobs.list_jobs,
    "adapter": adapters.list_adapters,
}
TABLES = {"dataset": Dataset, "model": BaseAudioModel, "job": Job, "adapter": Adapter}


def test_what_is_shared_is_seen_listed_and_used_as_far_as_it_is_shared(
    session: Session, user: User, stranger: User, things: dict
) -> None:
    for wanted, seen, used in (
        (Sharing.PRIVATE, False, False),
        (Sharing.READ, True, False),
        (Sharing.USE, True, True),
        (Sharing.PRIVATE, False, False),
    ):
        set_all(session, user, things, wanted)
        for kind, thing in things.items():
            found = access.find
            key = (session, TABLES[kind], thing.id)
            if not seen:
                assert found(*key, actor=stranger, action=Action.SEE) is None, (kind, wanted)
                with pytest.raises(NotFound, match=f"no such {kind}"):
                    access.get(*key, actor=stranger, action=Action.TRAIN)
            else:
                assert found(*key, actor=stranger, action=Action.SEE) is thing
                for refused in (Action.HOLD, Action.CHANGE, *(() if used else (Action.TRAIN, Action.TRY))):
                    with pytest.raises(Forbidden, match="shared by ada"):
                        found(*key, actor=stranger, action=refused)
            for shelf, n_there in ((Shelf.MINE, 0), (Shelf.SHARED, int(seen)), (Shelf.ALL, int(seen))):
                assert LISTS[kind](session, actor=stranger, shelf=shelf)[1] == n_there, (kind, wanted, shelf)
                n_used = int(used) if shelf is not Shelf.MINE else 0
                of_use = LISTS[kind](
                    session, actor=stranger, shelf=shelf, action=Action.TRAIN, query=thing.name
                )
                assert of_use[1] == n_used
            assert LISTS[kind](session, actor=user, shelf=Shelf.SHARED)[1] == 0, (
                "one's own isn't shared with one"
            )
            assert LISTS[kind](session, actor=user, shelf=Shelf.ALL)[1] == 1
    told = [e for e in session.exec(AuditEvent.__table__.select()) if e.action.endswith(".share")]
    assert len(told) == 12, "a change that changes nothing isn't told"


def test_somebody_trains_on_what_is_shared_for_use_and_the_owner_is_told_whose_job_it_is(
    session: Session, user: User, stranger: User, dataset: Dataset, model: BaseAudioModel
) -> None:
    spec = make_spec(dataset, model)
    for kind, thing in (("dataset", dataset), ("model", model)):
        sharing.share(session, actor=user, kind=kind, thing_id=thing.id, sharing=Sharing.READ)
    with pytest.raises(InvalidInput) as refused:
        jobs.submit(session, actor=stranger, spec=spec)
    assert set(refused.value.fields) == {"dataset_id", "model_id"}
    assert "Ask ada to share it for use" in refused.value.fields["model_id"]
    for kind, thing in (("dataset", dataset), ("model", model)):
        sharing.share(session, actor=user, kind=kind, thing_id=thing.id, sharing=Sharing.USE)
    job = jobs.submit(session, actor=stranger, spec=spec)
    session.commit()
    assert job.owner_id == stranger.id
    assert jobs.list_jobs(session, actor=user, shelf=Shelf.ALL)[1] == 0, "the job is its maker's own"
    for delete, key in ((datasets.delete, "dataset_id"), (models.delete_model, "model_id")):
        with pytest.raises(Conflict) as in_use:
            delete(session, actor=user, **{key: dataset.id if key == "dataset_id" else model.id})
        assert any("of mallory" in name for name in in_use.value.users_of)
    clip = clips.list_clips(session, actor=stranger, dataset_id=dataset.id)[0][0]
    assert clips.get_clip(session, actor=stranger, clip_id=clip.id) is clip
    with pytest.raises(Forbidden):
        clips.update(session, actor=stranger, clip_id=clip.id, form=clips.ClipUpdate(text="x"))
    with pytest.raises(Forbidden):
        models.update_model(session, actor=stranger, model_id=model.id, data=models.ModelUpdate(name="x"))


def test_over_rest_a_thing_is_shared_found_and_not_changed(
    session: Session, user: User, stranger: User, things: dict
) -> None:
    api = build_api()
    person = user
    api.dependency_overrides[current_user] = lambda: person
    viewer = make_user(session, "vera", Role.VIEWER)
    with TestClient(api, base_url="http://127.0.0.1/api/v1") as client:
        for kind, thing in things.items():
            path = f"/{kind}s/{thing.id}"
            person = viewer
            assert client.put(f"{path}/sharing", json={"sharing": "use"}).status_code == 403
            person = stranger
            assert client.get(path).status_code == 404
            assert client.put(f"{path}/sharing", json={"sharing": "use"}).status_code == 404
            person = user
            assert client.put(f"{path}/sharing", json={"sharing": "all"}).status_code == 422
            assert client.put(f"{path}/sharing", json={"sharing": "read"}).json() == {
                "id": thing.id,
                "sharing": "read",
                "note": "",
            }
            assert client.get(path).json()["owner"] is None
            person = viewer
            shown = client.get(f"/{kind}s", params={"shelf": "shared"}).json()["items"]
            assert [(one["id"], one["owner"], one["sharing"]) for one in shown] == [(thing.id, "ada", "read")]
            assert client.get(path).json()["owner"] == "ada"
            person = stranger
            assert client.delete(path).status_code == 403
            assert client.put(f"{path}/sharing", json={"sharing": "use"}).status_code == 403
            assert client.get(f"/{kind}s").json()["total"] == 0
