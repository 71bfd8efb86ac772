"""`sweep` from a file to the table, with the toy worker."""

from pathlib import Path

import pytest

from tests.commands.conftest import Run, answer
from tests.modelfiles.build import whisper_folder

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
