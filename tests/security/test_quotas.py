"""Q1: one account takes all there is: its own limit stops it, and nobody else notices."""

import statistics
import time

import httpx
import pytest
from sqlmodel import Session, select

from qlora_studio.db.engine import make_engine
from qlora_studio.db.models import User
from tests.ingest import sounds
from tests.jobs.workbench import make_dataset, make_model, spec_data
from tests.security.conftest import MAX_DATASETS, MAX_JOBS, MAX_MODELS, Lab
from tests.security.uploading import create, settled

pytestmark = pytest.mark.slow
LIMIT = 3_000_000


def limited(lab: Lab, username: str) -> httpx.Client:
    """A new account that may keep three megabytes."""
    api = lab.join(username)
    account = api.get("/me").raise_for_status().json()["id"]
    lab.admin.patch(f"/users/{account}", json={"max_bytes": LIMIT}).raise_for_status()
    return api


def unaffected(lab: Lab, username: str) -> None:
    """Somebody else makes a dataset, from upload to ready, and finds the pages' answers quick."""
    other = lab.join(username)
    dataset_id = create(other)
    other.put(f"/datasets/{dataset_id}/files/a.wav", content=sounds.wav()).raise_for_status()
    other.post(f"/datasets/{dataset_id}/ingest").raise_for_status()
    assert settled(other, dataset_id)["status"] == "ready"
    took = []
    for _ in range(20):
        begun = time.monotonic()
        other.get("/datasets").raise_for_status()
        took.append(time.monotonic() - begun)
    assert statistics.median(took) < 1


@pytest.mark.attack("Q1", "an account fills its space", "413 says how full it is; others unaffected")
def test_a_full_account_is_told_and_alone(lab: Lab) -> None:
    greedy = limited(lab, "greedy-bytes")
    dataset_id, answers = create(greedy), []
    for i in range(6):
        sound = sounds.wav(30.0, pitch=200 + i)  # 960 kB
        answers.append(greedy.put(f"/datasets/{dataset_id}/files/{i}.wav", content=sound))
    assert [a.status_code for a in answers] == [201, 201, 201, 413, 413, 413]
    assert lab.held_bytes("greedy-bytes") <= LIMIT
    refused = greedy.post("/datasets", json={"name": "more", "source": {"kind": "upload"}})
    model = greedy.post("/models", json={"source": {"kind": "upload"}})
    if model.status_code == 201:
        weights = f"/models/{model.json()['id']}/files/model.safetensors"
        assert greedy.put(weights, content=bytes(1_000_000)).status_code == 413
    assert refused.status_code in (201, 413)
    assert lab.held_bytes("greedy-bytes") <= LIMIT
    unaffected(lab, "modest-bytes")
    greedy.delete(f"/datasets/{dataset_id}").raise_for_status()
    assert lab.held_bytes("greedy-bytes") == 0


@pytest.mark.attack("Q1", "an account makes datasets without end", "413 at the limit; others unaffected")
def test_datasets_without_end_are_refused(lab: Lab) -> None:
    greedy = lab.join("greedy-datasets")
    made = [greedy.post("/datasets", json={"name": f"d{i}"}) for i in range(MAX_DATASETS + 5)]
    assert [a.status_code for a in made] == [201] * MAX_DATASETS + [413] * 5
    assert f"You have {MAX_DATASETS} datasets" in made[-1].json()["detail"]
    unaffected(lab, "modest-datasets")


@pytest.mark.attack("Q1", "an account registers models without end", "413 at the limit")
def test_models_without_end_are_refused(lab: Lab) -> None:
    greedy = lab.join("greedy-models")
    made = [greedy.post("/models", json={"source": {"kind": "upload"}}) for _ in range(MAX_MODELS + 5)]
    assert [a.status_code for a in made] == [201] * MAX_MODELS + [413] * 5
    assert f"You have {MAX_MODELS} models" in made[-1].json()["detail"]


@pytest.mark.attack("Q1", "an account queues jobs without end", "413 at the limit; others have their turn")
def test_jobs_without_end_are_refused(lab: Lab) -> None:
    greedy, other = lab.join("greedy-jobs"), lab.join("modest-jobs")
    engine = make_engine(f"sqlite:///{lab.server.data_path / 'studio.db'}")
    specs = []
    with Session(engine) as session:
        for name in ("greedy-jobs", "modest-jobs"):
            user = session.exec(select(User).where(User.username == name)).one()
            model = make_model(session, user, data_path=lab.server.data_path)
            specs.append(spec_data(make_dataset(session, user), model))
    engine.dispose()
    long = specs[0] | {"optimization": {"max_steps": 60}}
    made = [greedy.post("/jobs", json=long) for _ in range(MAX_JOBS + 8)]
    jobs = [a.json()["id"] for a in made if a.status_code == 201]
    refused = [a for a in made if a.status_code != 201]
    assert refused
    assert {a.status_code for a in refused} == {413}
    assert f"over the limit of {MAX_JOBS}" in refused[-1].json()["detail"]
    theirs = other.post("/jobs", json=specs[1]).raise_for_status().json()["id"]
    deadline = time.monotonic() + 60
    while other.get(f"/jobs/{theirs}").json()["status"] != "succeeded":
        assert time.monotonic() < deadline, "the other's job waited for all of them"
        time.sleep(0.1)
    waiting = [greedy.get(f"/jobs/{job}").json()["status"] for job in jobs]
    assert "queued" in waiting, "the other's job took its turn"
    for job in jobs:
        greedy.post(f"/jobs/{job}/stop", json={"mode": "kill"})
