"""The campaign's checker finds what it is for: a folder in order passes, and each broken rule is named."""

import json
import random
import shutil
from pathlib import Path

import pytest

from qlora_studio.contracts.enums import JobStatus
from qlora_studio.db.engine import get_engine
from qlora_studio.db.models import Job
from qlora_studio.jobs.metrics import MetricsWriter, sequence
from qlora_studio.storage import checkpoints, layout
from tests.faults import campaign, checker
from tests.jobs.workbench import make_dataset, make_model


@pytest.fixture
def job(data_folder, session, user) -> Job:
    """A job that was killed at step 3 and succeeded in its second attempt."""
    dataset, model = make_dataset(session, user), make_model(session, user)
    job = Job(
        owner_id=user.id, name="ada 1", status=JobStatus.SUCCEEDED, attempt=2, training_type="qlora",
        dataset_id=dataset.id, model_id=model.id, step=4, total_steps=4,
    )  # fmt: skip
    session.add(job)
    session.commit()
    run = layout.run_path(job.id)
    write_attempt(job.id, 1, [1, 2, 3], start=100.0)
    write_attempt(job.id, 2, [3, 4], start=200.0)
    writer = MetricsWriter(run / "metrics")
    writer.append({"loss": [(sequence(2, step), step, 100.0 + step, 1.0) for step in range(1, 5)]})
    checkpoints.save(run / "checkpoints", step=2, fill=lambda f: (f / "a").write_bytes(b"a"), state={})
    (run / "adapter").mkdir()
    (run / "adapter" / "adapter_config.json").write_text("{}")
    session.close()
    get_engine().dispose()
    return job


def write_attempt(job_id: str, attempt: int, steps: list[int], *, start: float) -> None:
    events = [{"type": "started"}, *({"type": "metric", "step": s, "values": {"loss": 1.0}} for s in steps)]
    lines = [json.dumps({"seq": i + 1, "ts": start + i, **event}) for i, event in enumerate(events)]
    layout.attempt_path(job_id, attempt).mkdir(parents=True, exist_ok=True)
    (layout.attempt_path(job_id, attempt) / "events.jsonl").write_text("\n".join(lines) + "\n")


def found(data: Path, **told: str) -> str:
    person = campaign.Person("ada", None, None, random.Random(1), launched=told)  # type: ignore[arg-type]
    return "; ".join(checker.check(data, [person], slots=1))


def test_a_folder_in_order_passes(data_folder, job):
    assert found(data_folder, **{job.id: "ada 1"}) == ""


def test_a_lost_launch_is_found(data_folder, job):
    assert "acknowledged and is lost" in found(data_folder, job_gone="ada 2")


@pytest.mark.parametrize(
    ("steps", "start", "sentence"),
    [
        ([3, 5], 200.0, "steps [3, 5]"),
        ([4, 3], 200.0, "steps [4, 3]"),
        ([3, 4], 101.5, "were alive together"),
    ],
)
def test_wrong_steps_and_two_workers_are_found(data_folder, job, steps, start, sentence):
    write_attempt(job.id, 2, steps, start=start)
    assert sentence in found(data_folder)


def test_an_overbooked_slot_is_found(data_folder, job):
    spans = [(0.5, 0.5, "an instant"), (1.0, 5.0, "a"), (4.0, 6.0, "b"), (6.5, 7.0, "c")]
    assert checker.over_booked(spans, 2) == []
    assert "2 workers on 1 slots" in checker.over_booked(spans, 1)[0]


def test_a_damaged_checkpoint_a_leftover_and_an_unknown_run_are_found(data_folder, job):
    run = layout.run_path(job.id)
    (run / "checkpoints" / "step-00000002" / "a").write_bytes(b"b")
    (run / ".adapter.partial").mkdir()
    shutil.rmtree(run / "metrics")
    said = found(data_folder)
    for sentence in ("does not verify", ".adapter.partial is left", "succeeded with 0 of 4 steps"):
        assert sentence in said


def test_an_end_that_changes_is_found(tmp_path):
    watch = checker.Watch(tmp_path, slots=1)
    watch._look([("job_a", 1, "failed", None, "", "now", 3)])
    watch._look([("job_a", 2, "running", None, "", None, 3)])
    assert watch.violations == []
    watch._look([("job_a", 1, "succeeded", None, "", "now", 3), ("job_b", 1, "running", *[None] * 4)])
    assert "had ended as" in watch.violations[0]
    watch._look([("job_a", 3, "running", *[None] * 4), ("job_b", 1, "running", *[None] * 4)])
    assert "2 active jobs on 1 slots" in watch.violations[1]
