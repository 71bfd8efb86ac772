"""`train` from end to end with the toy worker: no torch, the whole protocol."""

import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from qlora_studio.services import rehearsals
from tests.commands.conftest import Run, answer
from tests.modelfiles.build import whisper_folder
from tests.waiting import wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def job_file(tmp_path: Path, recordings: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spec that names its folders beside it, as people write them."""
    monkeypatch.setenv("QLORA_STUDIO_WORKER", "toy")
    whisper_folder(tmp_path / "tiny")
    path = tmp_path / "job.yaml"
    path.write_text("name: by hand\ndataset_id: recordings\nmodel_id: tiny\noptimization:\n  max_steps: 12\n")
    return path


def test_a_job_from_folders_to_adapter_without_a_server(run: Run, job_file: Path, tmp_path: Path) -> None:
    done = answer(run("train", str(job_file), "--json"))
    assert (done["status"], done["progress"]["step"]) == ("succeeded", 12)
    assert done["adapter_id"]
    again = answer(run("train", str(job_file), "--json"))
    assert again["id"] != done["id"]
    assert (again["dataset_id"], again["model_id"]) == (done["dataset_id"], done["model_id"]), "known folders"
    assert len(answer(run("jobs", "list", "--json"))) == 2
    assert "step 12/12" in run("jobs", "logs", done["id"]).output
    zip_path = tmp_path / "adapter.zip"
    run("adapters", "download", done["adapter_id"], "--to", str(zip_path))
    assert zipfile.ZipFile(zip_path).testzip() is None
    run("adapters", "download", done["adapter_id"], "--to", str(zip_path), code=1)
    results = tmp_path / "results.zip"
    run("export", done["id"], "--to", str(results))
    assert any(name.endswith("metrics.csv") for name in zipfile.ZipFile(results).namelist())
    run("jobs", "stop", done["id"], code=1)


def test_a_failing_job_ends_with_one(run: Run, job_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QLORA_STUDIO_TOY_FAIL", "nan")
    failed = answer(run("train", str(job_file), "--json", code=1))
    assert (failed["status"], failed["reason"]) == ("failed", "nan_loss")
    assert failed["message"]


def test_one_step_is_tried_and_no_job_is_made(
    run: Run, job_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"ok": True, "reason": "ok", "message": "One step works.", "step_s": 0.5, "n_clips": 10}
    says = (sys.executable, "-c", f"print({json.dumps(json.dumps(found))})")
    monkeypatch.setattr(rehearsals, "COMMAND", says)
    tried = answer(run("train", str(job_file), "--rehearse", "--json"))
    assert (tried["report"]["ok"], tried["steps_s"]) == (True, 6.0)
    assert "one step 0.50 s, all steps 6 s" in run("train", str(job_file), "--rehearse").output
    fails = (sys.executable, "-c", "import sys; sys.exit(3)")
    monkeypatch.setattr(rehearsals, "COMMAND", fails)
    assert "status 3" in run("train", str(job_file), "--rehearse", code=1).output
    assert answer(run("jobs", "list", "--json")) == []


def test_ctrl_c_stops_and_keeps_the_adapter(data_folder: Path, job_file: Path) -> None:
    environment = {**os.environ, "QLORA_STUDIO_TOY_STEP_S": "0.1"}
    job_file.write_text(job_file.read_text().replace("12", "600"))
    process = subprocess.Popen(
        [sys.executable, "-m", "qlora_studio.cli", "train", str(job_file), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
    )
    wait_for(lambda: _has_steps(data_folder, 3), within_s=60)
    process.send_signal(signal.SIGINT)
    stopped: dict[str, Any] = json.loads(process.communicate(timeout=60)[0])
    assert process.returncode == 3
    assert (stopped["status"], stopped["reason"]) == ("stopped", "user_stop")
    assert stopped["adapter_id"]


def test_what_a_job_waits_for_is_started_first_without_a_server(run: Run, job_file: Path) -> None:
    done = answer(run("train", str(job_file), "--json"))
    first = answer(run("jobs", "clone", done["id"], "--json"))
    second = answer(run("train", str(job_file), "--after", first["id"], "--if-succeeded", "--json"))
    first = answer(run("jobs", "show", first["id"], "--json"))
    assert (first["status"], second["status"]) == ("succeeded", "succeeded")
    assert second["started_at"] >= first["finished_at"]


def _has_steps(data_folder: Path, n_steps: int) -> bool:
    events = data_folder.glob("runs/*/attempt-1/events.jsonl")
    return any(path.read_text().count('"progress"') >= n_steps for path in events)
