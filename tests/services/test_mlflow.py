"""Runs told to an MLflow server on loopback: every point, whatever is absent or killed in between."""

import json
import math
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlmodel import Session

from qlora_studio.contracts.enums import JobStatus
from qlora_studio.core.clock import utc_now
from qlora_studio.core.settings import get_settings
from qlora_studio.db.models import Job, User
from qlora_studio.services import mlflow
from qlora_studio.services.mlflow import Teller
from qlora_studio.services.mlflow_client import MlflowClient, MlflowError
from qlora_studio.storage import layout
from tests.services.outcomes import make_finished_job

TOKEN = "secret-token-of-the-lab"


class Mlflow(BaseHTTPRequestHandler):
    """As much of MLflow's REST API as is asked for. `absent` answers with that status; "drop" hangs up."""

    experiments: dict[str, str]
    runs: dict[str, dict[str, Any]]
    absent: int | str | None
    seen: list[str]
    n_metrics: list[int]
    tokens: set[str]

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        given = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        self._handle(given)

    def do_POST(self) -> None:
        self._handle(json.loads(self.rfile.read(int(self.headers["content-length"]))))

    def _handle(self, given: dict[str, Any]) -> None:
        name = urlsplit(self.path).path.removeprefix("/api/2.0/mlflow/")
        self.seen.append(name)
        self.tokens.add(self.headers.get("authorization", ""))
        if self.absent == "drop":
            self.close_connection = True
            self.connection.close()
        elif self.absent:
            self._send(int(self.absent), {})
        else:
            self._send(*getattr(self, "_" + name.replace("/", "_").replace("-", "_"))(given))

    def _experiments_get_by_name(self, given: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if given["experiment_name"] not in self.experiments:
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST"}
        return 200, {"experiment": {"experiment_id": self.experiments[given["experiment_name"]]}}

    def _experiments_create(self, given: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.experiments[given["name"]] = str(len(self.experiments) + 1)
        return 200, {"experiment_id": self.experiments[given["name"]]}

    def _runs_search(self, given: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        found = [
            i for i, r in self.runs.items() if f"'{r['tags']['qlora_studio.job_id']}'" in given["filter"]
        ]
        return 200, {"runs": [{"info": {"run_id": run_id}} for run_id in found]}

    def _runs_create(self, given: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        run_id = f"run{len(self.runs)}"
        tags = {tag["key"]: tag["value"] for tag in given["tags"]}
        self.runs[run_id] = {"name": given["run_name"], "tags": tags, "points": {}, "params": {}, "said": []}
        return 200, {"run": {"info": {"run_id": run_id}}}

    def _runs_log_batch(self, given: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        run = self.runs.get(given["run_id"])
        if run is None:
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST"}
        metrics = given.get("metrics", [])
        self.n_metrics.append(len(metrics))
        for m in metrics:  # the real one keeps each point once, too
            run["points"][m["key"], m["timestamp"], m["step"]] = float(m["value"])
        run["params"] |= {p["key"]: p["value"] for p in given.get("params", [])}
        return 200, {}

    def _runs_update(self, given: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.runs[given["run_id"]]["said"].append(given["status"])
        return 200, {}

    def _send(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, data_folder) -> Iterator[str]:
    Mlflow.experiments, Mlflow.runs, Mlflow.absent, Mlflow.seen = {}, {}, None, []
    Mlflow.n_metrics, Mlflow.tokens = [], set()
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Mlflow)
    thread = threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listening.server_port}"
    monkeypatch.setenv("QLORA_STUDIO_MLFLOW_URL", url)
    monkeypatch.setenv("QLORA_STUDIO_MLFLOW_TOKEN", TOKEN)
    get_settings.cache_clear()
    yield url
    listening.shutdown()
    listening.server_close()
    thread.join()


@pytest.fixture
def make_teller(server: str) -> Iterator[Any]:
    clients: list[MlflowClient] = []

    def make() -> Teller:
        """As a server does that was started anew."""
        clients.append(MlflowClient(server, TOKEN))
        return Teller(clients[-1], url=server, experiment="QLoRA Studio")

    make()
    yield make
    for client in clients:
        client.close()


@pytest.fixture
def job(session: Session, user: User, make_teller: Any) -> Job:
    made = make_finished_job(session, user)
    (layout.attempt_path(made.id, 1) / "events.jsonl").unlink()
    return change(session, made, status=JobStatus.RUNNING, started_at=utc_now(), finished_at=None)


def change(session: Session, job: Job, **values: Any) -> Job:
    for name, value in values.items():
        setattr(job, name, value)
    session.add(job)
    session.commit()
    return job


def write_steps(job: Job, first: int, last: int, *, attempt: int = 1) -> None:
    path = layout.attempt_path(job.id, attempt) / "events.jsonl"
    path.parent.mkdir(exist_ok=True)
    n_there = len(path.read_bytes().splitlines()) if path.exists() else 0
    with path.open("a") as file:
        for index, step in enumerate(range(first, last + 1), start=n_there + 1):
            values = {"loss": None if step == 13 else 1 / step, "grad_norm": 1.0}
            event = {
                "v": 1,
                "seq": index,
                "ts": 1000.0 + step,
                "type": "metric",
                "step": step,
                "values": values,
            }
            file.write(json.dumps(event) + "\n")


def steps_of(key: str = "train/loss") -> list[int]:
    (run,) = Mlflow.runs.values()
    return sorted(step for name, _, step in run["points"] if name == key)


def test_a_run_is_told_from_its_beginning_to_its_end(session, job, make_teller):
    teller = make_teller()
    write_steps(job, 1, 20)
    teller.tell()
    write_steps(job, 21, 30)
    teller.tell()
    assert steps_of() == list(range(1, 31))
    (run,) = Mlflow.runs.values()
    assert run["name"] == "prompts"
    assert run["tags"]["model"] == "Small recogniser"
    assert (run["params"]["qlora.rank"], run["params"]["optimization.max_steps"]) == ("16", "8")
    assert [k for k, v in run["points"].items() if math.isnan(v)] == [("train/loss", 1_013_000, 13)]
    assert run["said"] == []
    change(session, job, status=JobStatus.SUCCEEDED, finished_at=utc_now())
    teller.tell()
    teller.tell()
    assert run["said"] == ["FINISHED"]
    assert Mlflow.tokens == {f"Bearer {TOKEN}"}
    assert list(Mlflow.experiments) == ["QLoRA Studio"]


@pytest.mark.slow
@pytest.mark.parametrize("absent", [503, 401, "drop"])
def test_an_absence_loses_nothing_though_the_job_ends_meanwhile(session, job, make_teller, absent):
    make_teller().tell()
    Mlflow.absent = absent
    write_steps(job, 1, 600)
    teller = make_teller()
    with pytest.raises(MlflowError):
        teller.tell()
    change(session, job, status=JobStatus.FAILED, finished_at=utc_now())
    with pytest.raises(MlflowError):
        teller.tell()
    Mlflow.absent = None
    make_teller().tell()  # a server that was started anew in between
    assert steps_of() == list(range(1, 601))
    assert max(Mlflow.n_metrics) <= 1000
    (run,) = Mlflow.runs.values()
    assert run["said"] == ["FAILED"]


def test_a_resumed_job_goes_on_in_the_same_run(session, job, make_teller):
    teller = make_teller()
    write_steps(job, 1, 10)
    change(session, job, status=JobStatus.STOPPED, finished_at=utc_now())
    teller.tell()
    change(session, job, status=JobStatus.RUNNING, attempt=2, finished_at=None)
    write_steps(job, 11, 20, attempt=2)
    teller.tell()
    change(session, job, status=JobStatus.SUCCEEDED, finished_at=utc_now())
    teller.tell()
    assert steps_of() == list(range(1, 21))
    (run,) = Mlflow.runs.values()
    assert run["said"] == ["KILLED", "RUNNING", "FINISHED"]


def test_a_crash_before_the_note_makes_no_second_run(session, job, make_teller):
    write_steps(job, 1, 5)
    make_teller().tell()
    (layout.run_path(job.id) / "mlflow.json").unlink()
    make_teller().tell()
    assert len(Mlflow.runs) == 1
    assert steps_of() == [1, 2, 3, 4, 5]


@pytest.mark.slow
def test_older_jobs_and_a_run_deleted_over_there_hold_up_nobody(session, user, job, make_teller):
    old = make_finished_job(session, user)
    change(session, old, started_at=utc_now().replace(year=2020), finished_at=utc_now())
    write_steps(job, 1, 3)
    teller = make_teller()
    teller.tell()
    assert len(Mlflow.runs) == 1
    Mlflow.runs.clear()
    write_steps(job, 4, 6)
    other = make_finished_job(session, user, name="other")
    change(session, other, started_at=utc_now(), finished_at=utc_now())
    teller.tell()
    assert [run["name"] for run in Mlflow.runs.values()] == ["other"]
    n_seen = len(Mlflow.seen)
    teller.tell()
    assert len(Mlflow.seen) == n_seen


def test_the_thread_tells_by_itself_and_stops_at_once(session, job, server, monkeypatch):
    monkeypatch.setattr(mlflow, "LOOK_EVERY_S", 0.02)
    write_steps(job, 1, 5)
    mlflow.start()
    mlflow.start()
    try:
        deadline = time.monotonic() + 10
        while not Mlflow.runs or len(steps_of()) < 5:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        write_steps(job, 6, 8)
        mlflow.stop(10)
    assert steps_of() == list(range(1, 9))  # a last look before it ends


def test_the_address_of_a_run_is_its_owners_and_has_no_password(session, user, stranger, job, make_teller):
    from qlora_studio.core.errors import NotFound

    assert mlflow.find_address(session, actor=user, job_id=job.id) == ""
    make_teller().tell()
    assert mlflow.find_address(session, actor=user, job_id=job.id).endswith("/#/experiments/1/runs/run0")
    with pytest.raises(NotFound):
        mlflow.find_address(session, actor=stranger, job_id=job.id)


def test_without_an_address_nothing_runs(monkeypatch, data_folder):
    monkeypatch.delenv("QLORA_STUDIO_MLFLOW_URL", raising=False)
    get_settings.cache_clear()
    mlflow.start()
    assert not [thread for thread in threading.enumerate() if thread.name == "mlflow"]
