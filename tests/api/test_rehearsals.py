"""Trying one step of a job over REST."""

import sys
import time

import pytest

from qlora_studio.api.security import current_user
from qlora_studio.services import rehearsals
from tests.conftest import make_user
from tests.jobs.workbench import make_dataset, make_model, spec_data

SAYS = '{"ok": true, "reason": "ok", "message": "One step works.", "step_s": 0.5}'


@pytest.fixture
def body(session, user):
    return spec_data(make_dataset(session, user), make_model(session, user))


def ended(client, rehearsal_id):
    deadline = time.monotonic() + 20
    while True:
        answer = client.get(f"/jobs/rehearse/{rehearsal_id}").json()
        if answer["status"] == "done":
            return answer
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_step_is_tried_and_asked_for(client, body, monkeypatch):
    monkeypatch.setattr(rehearsals, "COMMAND", (sys.executable, "-c", f"print('{SAYS}')"))
    started = client.post("/jobs/rehearse", json=body)
    assert started.status_code == 202, started.text
    done = ended(client, started.json()["id"])
    assert (done["report"]["ok"], done["steps_s"]) == (True, 4.0)
    assert {"memory", "time", "disk"} <= set(done["forecast"])
    assert client.get("/jobs").json()["total"] == 0, "nothing is queued"


@pytest.mark.slow
def test_it_is_its_owners_alone_and_can_be_called_off(api, client, body, session, user, monkeypatch):
    monkeypatch.setattr(rehearsals, "COMMAND", (sys.executable, "-c", "import time; time.sleep(60)"))
    started = client.post("/jobs/rehearse", json=body).json()["id"]
    path = f"/jobs/rehearse/{started}"
    again = client.post("/jobs/rehearse", json=body)
    assert again.status_code == 409
    assert started in again.json()["detail"], "a client that lost the first answer finds its step again"
    stranger = make_user(session, "mallory")
    api.dependency_overrides[current_user] = lambda: stranger
    assert [client.get(path).status_code, client.delete(path).status_code] == [404, 404]
    api.dependency_overrides[current_user] = lambda: user
    assert client.delete(path).status_code == 204
    assert ended(client, path.rpartition("/")[2])["report"]["reason"] == "user_stop"


def test_a_wrong_spec_names_its_fields(client, body):
    answer = client.post("/jobs/rehearse", json=body | {"dataset_id": "ds_none"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "dataset_id"
