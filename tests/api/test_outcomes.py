"""Through REST: results with and without the merged model, TensorBoard's files, pushes made once a key."""

import io
import time
import zipfile
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlmodel import Session

from qlora_studio.api import build_api
from qlora_studio.api.security import current_user
from qlora_studio.db.models import Adapter, Job, User
from qlora_studio.jobs.events import EventReader
from qlora_studio.jobs.tensorboard import EventFile
from qlora_studio.services import credentials
from qlora_studio.services.credentials import HubToken
from qlora_studio.storage import layout
from tests.services.hub import Hub, hub
from tests.services.outcomes import make_adapter, make_finished_job
from tests.services.test_pushes import ACCOUNT, TOKEN

__all__ = ["hub"]
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # within the Hub's client


@pytest.fixture
def job(session: Session, user: User) -> Job:
    return make_finished_job(session, user)


@pytest.fixture
def adapter(session: Session, user: User, job: Job) -> Adapter:
    return make_adapter(session, user, job)


@pytest.fixture
def api(data_folder, user: User) -> FastAPI:
    built = build_api()
    built.dependency_overrides[current_user] = lambda: user
    return built


@pytest.fixture
def client(api: FastAPI) -> Iterator[TestClient]:
    with TestClient(api, base_url="http://127.0.0.1/api/v1") as opened:
        yield opened


def test_results_and_tensorboards_files_come_as_zips(client: TestClient, job: Job, adapter: Adapter) -> None:
    assert client.get(f"/jobs/{job.id}/tensorboard").status_code == 404
    reader = EventReader(layout.attempt_path(job.id, 1) / "events.jsonl")
    EventFile(job.id, 1).take(reader.read(), offset=reader.offset)
    names = zipfile.ZipFile(io.BytesIO(client.get(f"/jobs/{job.id}/tensorboard").content)).namelist()
    assert [name.split("/")[0] for name in names] == ["prompts"]
    refused = client.get(f"/jobs/{job.id}/results", params={"merged": 1})
    assert (refused.status_code, "not been merged" in refused.json()["detail"]) == (409, True)
    assert zipfile.ZipFile(io.BytesIO(client.get(f"/jobs/{job.id}/results").content)).testzip() is None


def test_a_push_is_made_once_followed_and_forgotten(
    hub: type[Hub], client: TestClient, session: Session, user: User, adapter: Adapter
) -> None:
    hub.accounts = {TOKEN: ACCOUNT}
    form = HubToken(kind="hub", name="hub", token=SecretStr(TOKEN))
    credential = credentials.create(session, actor=user, form=form)
    session.commit()
    body = {"repo_id": "anna/prompts", "credential_id": credential.id}
    path, key = f"/adapters/{adapter.id}/push", {"Idempotency-Key": "k"}
    made = client.post(path, json=body, headers=key)
    assert (made.status_code, made.json()["is_private"]) == (202, True)
    again = client.post(path, json=body, headers=key)
    assert again.json()["id"] == made.json()["id"]
    push = f"/pushes/{made.json()['id']}"
    deadline = time.monotonic() + 20
    while (found := client.get(push).json())["status"] in ("waiting", "running"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert (found["status"], found["error"]) == ("succeeded", "")
    listed = client.get("/pushes", params={"adapter_id": adapter.id}).json()
    assert (listed["total"], listed["items"]) == (1, [found])
    assert TOKEN not in str(listed)
    assert client.delete(push).status_code == 204
    assert client.get(push).status_code == 404
    wrong = client.post(path, json=body | {"repo_id": "--flag"})
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "repo_id")


def test_another_persons_push_is_not_found(
    hub: type[Hub], api: FastAPI, client: TestClient, session: Session, stranger: User, adapter: Adapter
) -> None:
    api.dependency_overrides[current_user] = lambda: stranger
    assert client.get("/pushes").json()["total"] == 0
    body = {"repo_id": "a/b", "credential_id": "cred_x"}
    assert client.post(f"/adapters/{adapter.id}/push", json=body).status_code == 404
    assert client.delete("/pushes/psh_nothing").status_code == 404


def test_where_else_a_job_can_be_looked_at(client: TestClient, job: Job) -> None:
    assert client.get(f"/jobs/{job.id}/tracking").json() == {"has_tensorboard": False, "mlflow_url": None}
