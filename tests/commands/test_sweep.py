"""`sweep` from a file to the table, with the toy worker."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.conftest import Run, answer
from tests.modelfiles.build import whisper_folder
from tests.waiting import wait_for

pytestmark = pytest.mark.slow
SPEC = "name: which\ndataset_id: recordings\nmodel_id: tiny\noptimization: {max_steps: 6}\n"


def test_a_sweep_is_run_and_compared_without_a_server(
    run: Run, tmp_path: Path, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QLORA_STUDIO_WORKER", "toy")
    monkeypatch.setenv("QLORA_STUDIO_TOY_STEP_S", "0.005")
    whisper_folder(tmp_path / "tiny")
    path = tmp_path / "sweep.yaml"
    path.write_text(SPEC + "sweep:\n  qlora.rank: [4, 8]\n")
    done = answer(run("sweep", str(path), "--json"))
    assert done["statuses"] == {"succeeded": 2}
    assert [row["values"] for row in done["rows"]] == [{"qlora.rank": 4}, {"qlora.rank": 8}]
    assert all(row["adapter_id"] and row["best"] < row["base"] for row in done["rows"])
    assert done["best_job_id"] in {row["job_id"] for row in done["rows"]}
    assert done["id"] in run("sweeps", "list").output
    shown = run("sweeps", "show", done["id"]).output
    assert shown.count("succeeded") == 2
    assert "*" in shown
    assert "0 jobs asked to stop" in run("sweeps", "stop", done["id"]).output
    path.write_text(SPEC)
    run("sweep", str(path), code=2)
    path.write_text(SPEC + "sweep: {qlora.rank: [4, 0]}\n")
    run("sweep", str(path), code=2)


@pytest.fixture
def long_sweep(tmp_path: Path, recordings: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three jobs, two slots, and steps enough to be met in the middle."""
    monkeypatch.setenv("QLORA_STUDIO_WORKER", "toy")
    monkeypatch.setenv("QLORA_STUDIO_SLOTS", "2")
    monkeypatch.setenv("QLORA_STUDIO_TOY_STEP_S", "0.1")
    whisper_folder(tmp_path / "tiny")
    path = tmp_path / "sweep.yaml"
    path.write_text(SPEC.replace("max_steps: 6", "max_steps: 600") + "sweep:\n  qlora.rank: [4, 8, 16]\n")
    return path


def test_a_sweep_takes_all_slots_and_ctrl_c_leaves_none_of_its_jobs(
    data_folder: Path, long_sweep: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "qlora_studio.cli", "sweep", str(long_sweep), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def count_begun() -> int:
        events = data_folder.glob("runs/*/attempt-1/events.jsonl")
        return sum('"progress"' in path.read_text() for path in events)

    try:
        wait_for(lambda: count_begun() == 2, within_s=60)
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=60)
    finally:
        process.kill()
    stopped = json.loads(out)
    assert process.returncode == 3, said
    assert stopped["statuses"] == {"stopped": 3}, said
    assert sum(row["adapter_id"] is not None for row in stopped["rows"]) == 2, "the third had not begun"
