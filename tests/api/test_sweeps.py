"""Sweeps over REST."""

import pytest

from qlora_studio.api.security import current_user
from tests.jobs.workbench import make_dataset, make_model, spec_data


@pytest.fixture
def body(session, user):
    spec = spec_data(make_dataset(session, user), make_model(session, user))
    return {"spec": spec, "axes": {"qlora.rank": [4, 8], "optimization.batch_size": [1, 2]}}


def test_a_sweep_is_launched_once_listed_compared_and_stopped(api, client, body, stranger):
    answers = [client.post("/sweeps", json=body, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert [a.status_code for a in answers] == [201, 201]
    made = answers[0].json()
    assert made == answers[1].json()
    assert (made["n_jobs"], made["metric"], made["best_job_id"]) == (4, "wer", None)
    assert made["rows"][1]["values"] == {"qlora.rank": 4, "optimization.batch_size": 2}
    assert client.get("/jobs", params={"group_id": made["id"]}).json()["total"] == 4
    assert client.get(f"/jobs/{made['rows'][0]['job_id']}").json()["group_id"] == made["id"]
    assert client.get("/sweeps").json()["items"][0]["statuses"] == {"queued": 4}
    path = f"/sweeps/{made['id']}"
    api.dependency_overrides[current_user] = lambda: stranger
    assert client.get(path).status_code == client.post(f"{path}/stop").status_code == 404
    assert client.get("/sweeps").json()["items"] == []


def test_wrong_values_are_named(client, body):
    wrong = client.post("/sweeps", json=body | {"axes": {"qlora.rank": [8, 0]}})
    assert (wrong.status_code, [e["field"] for e in wrong.json()["errors"]]) == (422, ["axes.qlora.rank"])
    assert client.post("/sweeps", json=body | {"axes": {"qlora.rank": [[8], 4]}}).status_code == 422
    assert client.get("/jobs").json()["total"] == 0
