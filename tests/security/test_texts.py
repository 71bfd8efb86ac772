"""X1, X2: texts that would run somewhere else, and secrets that would show, through a running server."""

import csv
import io
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from sqlmodel import Session, select

from qlora_studio.db.engine import make_engine
from qlora_studio.db.models import User
from tests.jobs.workbench import make_dataset, make_model, spec_data
from tests.security.conftest import KEY_OF_THE_SERVER, SECRET_OF_THE_SERVER, TOKEN_OF_THE_SERVER, Lab

pytestmark = pytest.mark.slow
FORMULAS = ["=cmd()|' /C calc'!A0", "+1+cmd()", "-1+cmd()", "@SUM(1)", "\t=cmd()"]
OF_THE_SERVER = (TOKEN_OF_THE_SERVER, KEY_OF_THE_SERVER, SECRET_OF_THE_SERVER)
LEAKED = {
    "HF_TOKEN=hf_abcdefghijklmnop1234": "hf_abcdefghijklmnop1234",
    "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI": "wJalrXUtnFEMI",
    "Authorization: Basic dXNlcjpwYXNz": "dXNlcjpwYXNz",
    "postgresql://studio:hunter2@db.example/x": "hunter2",
    "made qls_0123456789abcdefghij": "qls_0123456789abcdefghij",
}


@pytest.fixture(scope="module")
def ada(lab: Lab) -> httpx.Client:
    return lab.join("ada-texts")


@pytest.fixture(scope="module")
def spec(lab: Lab, ada: httpx.Client) -> dict[str, Any]:
    engine = make_engine(f"sqlite:///{lab.server.data_path / 'studio.db'}")
    with Session(engine) as session:
        user = session.exec(select(User).where(User.username == "ada-texts")).one()
        model = make_model(session, user, data_path=lab.server.data_path)
        data = spec_data(make_dataset(session, user), model)
    engine.dispose()
    return data


def finished(api: httpx.Client, spec: dict[str, Any]) -> str:
    job = api.post("/jobs", json=spec).raise_for_status().json()["id"]
    deadline = time.monotonic() + 60
    while (found := api.get(f"/jobs/{job}").json())["status"] != "succeeded":
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return str(job)


def files_of(answer: httpx.Response) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(answer.raise_for_status().content)) as archive:
        for name in archive.namelist():
            yield name, archive.read(name)


@pytest.mark.attack("X1", "`=cmd()` in names, as the audit log's CSV has them", "no cell is a formula")
@pytest.mark.parametrize("name", FORMULAS)
def test_no_cell_of_the_audit_log_is_a_formula(lab: Lab, ada: httpx.Client, name: str) -> None:
    made = ada.post("/datasets", json={"name": name}).raise_for_status().json()["id"]
    rows = list(csv.reader(io.StringIO(lab.admin.get("/audit.csv", params={"object": made}).text)))
    assert any(name.strip() in cell for row in rows for cell in row)
    assert not [cell for row in rows for cell in row if cell[:1] in tuple("=+-@\t\r")]
    ada.delete(f"/datasets/{made}").raise_for_status()


@pytest.mark.attack("X1", "ANSI escapes and markup in a log", "escapes gone, markup is text")
def test_escapes_in_a_log_are_gone(lab: Lab, ada: httpx.Client, spec: dict[str, Any]) -> None:
    job = finished(ada, spec)
    log = lab.server.data_path / f"runs/{job}/attempt-1/worker.log"
    with log.open("a") as file:
        file.write("\x1b]0;owned\x07\x1b[31mred\x1b[0m <script>alert(1)</script>\x00\x9b31m\n")
    answer = ada.get(f"/jobs/{job}/logs", params={"tail": 5})
    text = "\n".join(answer.json()["lines"])
    assert "red <script>alert(1)</script>" in text
    assert not [c for c in text if c != "\n" and (ord(c) < 32 or 127 <= ord(c) < 160)]
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.attack("X2", "the server's tokens and keys in a job's processes", "none is there")
def test_a_job_is_given_no_secret(lab: Lab, ada: httpx.Client, spec: dict[str, Any]) -> None:
    own = lab.server.serving.environ()
    assert own["HF_TOKEN"] == TOKEN_OF_THE_SERVER, "there is something to leak"
    job = ada.post("/jobs", json=spec | {"optimization": {"max_steps": 400}}).raise_for_status().json()["id"]
    deadline, seen = time.monotonic() + 60, 0
    while not seen:
        assert time.monotonic() < deadline, "the job has no process"
        for process in psutil.process_iter():
            try:
                command, environment = " ".join(process.cmdline()), str(process.environ())
            except psutil.Error:
                continue
            if f"{job}/attempt-1/spec.json" in command:
                seen += 1
                assert not [secret for secret in OF_THE_SERVER if secret in command + environment]
        time.sleep(0.05)
    ada.post(f"/jobs/{job}/stop", json={"mode": "kill"}).raise_for_status()


@pytest.mark.attack("X2", "the server's tokens and keys in run folders and its log", "nowhere on the disk")
def test_nothing_on_the_disk_holds_a_secret_of_the_server(
    lab: Lab, ada: httpx.Client, spec: dict[str, Any]
) -> None:
    finished(ada, spec)
    files = [path for path in lab.server.data_path.rglob("*") if path.is_file()]
    assert any(path.name == "launch.json" for path in files)
    found = [path for path in files for secret in OF_THE_SERVER if secret.encode() in path.read_bytes()]
    assert found == []


@pytest.mark.attack("X2", "secrets that a worker prints", "redacted in the log and the results")
def test_what_a_worker_prints_is_redacted(lab: Lab, ada: httpx.Client, spec: dict[str, Any]) -> None:
    job = finished(ada, spec)
    with (lab.server.data_path / f"runs/{job}/attempt-1/worker.log").open("a") as file:
        file.write("\n".join(LEAKED) + "\nthe last line\n")
    log = ada.get(f"/jobs/{job}/logs", params={"tail": 50}).text
    assert "the last line" in log
    texts = {"log": log, "search": ada.get(f"/jobs/{job}/logs", params={"search": "e"}).text}
    texts |= {n: b.decode(errors="replace") for n, b in files_of(ada.get(f"/jobs/{job}/results"))}
    leaks = [(where, secret) for where, text in texts.items() for secret in LEAKED.values() if secret in text]
    assert leaks == []


@pytest.mark.attack("X2", "a kept credential, asked for again", "name and kind only; sealed in the database")
def test_a_kept_credential_never_comes_out(lab: Lab, ada: httpx.Client) -> None:
    secret = "kept-secret-of-ada-4711"
    form = {"kind": "s3", "name": "mine", "key": "AKIAADA", "secret": secret}
    made = ada.post("/credentials", json=form).raise_for_status()
    assert set(made.json()) == {"id", "name", "kind", "created_at"}
    wrong = ada.post("/credentials", json=form | {"kind": "nonsense"})
    answers = [made, wrong, ada.get("/credentials"), lab.admin.get("/audit")]
    assert not [answer.text for answer in answers if secret in answer.text]
    for path in Path(lab.server.data_path).glob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path
