"""What jobs have written down, on the command line."""

import pytest

from qlora_studio.contracts.enums import JobStatus
from qlora_studio.db import engine as db
from qlora_studio.db.models import JobSample
from qlora_studio.jobs.metrics import MetricsWriter, sequence
from qlora_studio.services import jobs
from qlora_studio.storage import layout
from tests.commands.conftest import answer
from tests.jobs.workbench import make_dataset, make_model, make_spec


@pytest.fixture
def run(run, user):
    """Run the command line as the owner of the jobs."""
    return lambda *arguments, code=0: run(*arguments, "--user", user.username, code=code)


@pytest.fixture
def job_ids(data_folder, session, user):
    """Two jobs that have ended, the second resumed once."""
    dataset, model = make_dataset(session, user), make_model(session, user)
    ids = []
    for rank in (4, 8):
        spec = make_spec(dataset, model, name=f"rank {rank}", qlora={"rank": rank})
        with db.write() as writing:
            job = jobs.submit(writing, actor=user, spec=spec)
            job.status, job.attempt = JobStatus.SUCCEEDED, rank // 4
            job.base_metrics, job.best_metrics = {"wer": 0.5}, {"wer": 1 / rank}
            writing.add(job)
            writing.add(
                JobSample(
                    job_id=job.id, step=4, clip_id="a", reference="press two", now="press to", error=0.5
                )
            )
            ids.append(job.id)
        for attempt in range(1, rank // 4 + 1):
            folder = layout.attempt_path(job.id, attempt)
            folder.mkdir(parents=True)
            (folder / "worker.log").write_text(f"attempt {attempt}\nValueError: bad\n")
        writer = MetricsWriter(layout.run_path(job.id) / "metrics")
        writer.append({"loss": [(sequence(1, i), i, float(i), 1 / i) for i in range(1, 9)]})
    return ids


def test_logs_are_printed_searched_followed_and_kept(run, job_ids, tmp_path):
    _, twice = job_ids
    assert run("jobs", "logs", twice).output.splitlines() == ["attempt 2", "ValueError: bad"]
    assert run("jobs", "logs", twice, "--search", "ATTEMPT").output.splitlines() == ["attempt 2"]
    assert run("jobs", "logs", twice, "--level", "error").output.splitlines() == ["ValueError: bad"]
    followed = run("jobs", "logs", twice, "--attempt", "1", "--follow").output.splitlines()
    assert followed == ["attempt 1", "ValueError: bad", "attempt 2", "ValueError: bad"]
    kept = tmp_path / "run.log"
    run("jobs", "logs", twice, "--attempt", "1", "--to", str(kept))
    assert kept.read_text() == "attempt 1\nValueError: bad\n"
    run("jobs", "logs", twice, "--to", str(kept), code=1)
    run("jobs", "logs", twice, "--attempt", "3", code=2)
    run("jobs", "logs", twice, "--follow", "--search", "x", code=2)


def test_curves_are_summed_up_or_written_whole(run, job_ids, tmp_path):
    first, _ = job_ids
    row = run("jobs", "metrics", first, "--from-step", "2").output.splitlines()[1].split()
    assert row == ["loss", "2", "to", "8", "0.5", "0.125", "0.5", "0.125"]
    assert answer(run("jobs", "metrics", first, "loss", "--json"))["loss"]["step"] == list(range(1, 9))
    run("jobs", "metrics", first, "--to", str(tmp_path / "m.csv"))
    assert len((tmp_path / "m.csv").read_text().splitlines()) == 9


def test_samples_mark_what_is_wrong(run, job_ids):
    first, _ = job_ids
    assert "press [to] -two-" in run("jobs", "samples", first).output
    assert answer(run("jobs", "samples", first, "--json"))[0]["words"][1] == {"text": "to", "kind": "wrong"}


def test_jobs_are_set_side_by_side(run, job_ids):
    lines = run("jobs", "compare", *job_ids).output.splitlines()
    assert next(line.split() for line in lines if "qlora.rank" in line) == ["qlora.rank", "4", "8"]
    assert "50.0 % → 12.5 %" in next(line for line in lines if line.startswith("word error rate"))
    found = answer(run("jobs", "compare", *job_ids, "--json"))
    assert [row["key"] for row in found["differences"]] == ["qlora.rank"]
