"""What the sanity probe found is on the job's row at once, and stays there when the job fails."""

import json
from collections.abc import Callable

from sqlmodel import Session

from qlora_studio.contracts.enums import ExitReason, JobStatus
from qlora_studio.contracts.events import ResultFile
from qlora_studio.db.models import Job
from qlora_studio.jobs import endings
from qlora_studio.jobs.ingest import Ingest
from qlora_studio.jobs.outcome import Records
from qlora_studio.storage import layout

FOUND = {
    "status": "failed",
    "findings": ["No gradient reaches any of the trained layers."],
    "first_loss": 1.5,
}


def test_a_probe_is_on_the_row_and_outlives_the_failure(
    session: Session, make_job: Callable[..., Job]
) -> None:
    job = make_job()
    job.status = JobStatus.RUNNING
    session.add(job)
    session.commit()
    folder = layout.attempt_path(job.id, job.attempt)
    folder.mkdir(parents=True, exist_ok=True)
    events = ({"type": "started", "pid": 1, "device": "cpu"}, {"type": "probe", **FOUND, "of_tomorrow": 1})
    lines = [json.dumps({"v": 1, "seq": n, "ts": 1.0, **event}) for n, event in enumerate(events, start=1)]
    (folder / "events.jsonl").write_text("\n".join(lines) + "\n")
    assert Ingest(job).drain()
    session.refresh(job)
    assert job.report["probe"] | FOUND == job.report["probe"]
    assert "of_tomorrow" not in job.report["probe"]

    result = ResultFile(reason=ExitReason.MODEL_LOAD, message="It cannot.", step=0)
    endings.record(job.id, job.attempt, Records(result=result))
    session.rollback()  # look again at what others have written
    session.refresh(job)
    assert job.status is JobStatus.FAILED
    assert job.report["probe"]["status"] == "failed"
