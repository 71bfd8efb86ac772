"""The queue over REST."""

import pytest

from qlora_studio.api.security import current_user
from qlora_studio.contracts.enums import Role
from tests.conftest import make_user
from tests.jobs.workbench import make_dataset, make_model, spec_data


@pytest.fixture
def queued(client, session, user):
    body = spec_data(make_dataset(session, user), make_model(session, user))
    return [client.post("/jobs", json=body | {"name": f"j{i}"}).json()["id"] for i in range(3)]


def test_the_queue_is_shown_reordered_paused_and_let_go_on(api, client, session, user, queued):
    shown = client.get("/queue").json()
    assert [(i["id"], i["position"]) for i in shown["items"]] == list(zip(queued, (1, 2, 3), strict=True))
    assert (shown["is_paused"], shown["n_slots"], shown["n_busy"], shown["n_queued"]) == (False, 1, 0, 3)
    moved = client.post(f"/jobs/{queued[2]}/move", json={"position": 1})
    assert (moved.status_code, [i["name"] for i in moved.json()["items"]]) == (200, ["j2", "j0", "j1"])
    assert client.get(f"/jobs/{queued[2]}").json()["queue_position"] == 1

    admin = make_user(session, "root", Role.ADMIN)
    assert client.patch("/queue", json={"is_paused": True}).status_code == 403
    api.dependency_overrides[current_user] = lambda: admin
    paused = client.patch("/queue", json={"is_paused": True, "note": "Back at noon."}).json()
    assert (paused["is_paused"], paused["note"], paused["changed_by"]) == (True, "Back at noon.", "root")
    assert {i["owner"] for i in paused["items"]} == {"ada"}, "an admin sees everybody's"
    api.dependency_overrides[current_user] = lambda: user
    assert client.get("/queue").json()["note"] == "Back at noon."
    api.dependency_overrides[current_user] = lambda: admin
    assert client.patch("/queue", json={"is_paused": False}).json()["is_paused"] is False


def test_wrong_moves_are_refused(api, client, stranger, queued):
    path = f"/jobs/{queued[0]}/move"
    assert client.post(path, json={"position": 0}).status_code == 422
    assert client.post(path, json={"position": 1, "owner": "me"}).status_code == 422
    assert client.post("/jobs/job_none/move", json={"position": 1}).status_code == 404
    client.post(f"/jobs/{queued[0]}/stop")
    assert client.post(path, json={"position": 1}).status_code == 409
    api.dependency_overrides[current_user] = lambda: stranger
    assert client.post(path, json={"position": 1}).status_code == 404
    assert client.get("/queue").json()["items"] == []
