"""What is kept of a result: in the job's row, and of the adapter that it leaves."""

import pytest
from sqlmodel import select

from qlora_studio.contracts.enums import ExitReason, JobStatus
from qlora_studio.contracts.events import ResultFile
from qlora_studio.db import engine as db
from qlora_studio.db.models import Adapter, Notification
from qlora_studio.db.models.audit import AuditEvent
from qlora_studio.jobs import endings, outcome
from qlora_studio.storage import layout


def _kept(**extra: object) -> object:
    result = ResultFile(reason=ExitReason.OK, message="", step=1, extra=extra)
    return endings._from_result(result).get("report")


def test_a_matrix_of_very_many_classes_does_not_take_the_rest_with_it() -> None:
    rest = {"certificate": {"verdict": "improved"}, "probe": {"status": "passed"}}
    small, large = [[3, 1], [0, 4]], [[0] * 260] * 260
    assert _kept(**rest, confusion_matrix=small) == {**rest, "confusion_matrix": small}
    assert _kept(**rest, confusion_matrix=large) == rest
    assert _kept(anything="x" * endings.MAX_REPORT) is None


@pytest.mark.parametrize(
    ("before", "now", "stays"),
    [("improved", "broken", False), ("broken", "broken", True), ("improved", "worse", True)],
)
def test_a_default_that_breaks_as_its_training_goes_on_is_the_default_no_longer(
    make_job, session, before: str, now: str, stays: bool
) -> None:
    job = make_job()
    folder = layout.run_path(job.id) / "adapter"
    folder.mkdir(parents=True)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        (folder / name).write_text("{}")
    session.add(
        Adapter(
            owner_id=job.owner_id, name="mine", job_id=job.id, base_model_id=job.model_id, path="",
            is_active=True, certificate={"verdict": before},
        )
    )  # fmt: skip
    session.commit()
    extra = {"certificate": {"verdict": now}}
    result = ResultFile(reason=ExitReason.OK, message="", step=1, extra=extra, adapter_path="adapter")
    with db.write() as writing:
        ended = outcome.Outcome(JobStatus.SUCCEEDED, ExitReason.OK, "")
        endings._register_adapter(writing, job.id, ended, result)
    with db.read() as reading:
        adapter = reading.exec(select(Adapter)).one()
        told = [notice.body for notice in reading.exec(select(Notification))]
        lines = reading.exec(select(AuditEvent).where(AuditEvent.action == "adapter.deactivate")).all()
    assert (adapter.is_active, adapter.certificate["verdict"]) == (stays, now)
    assert len(lines) == len(told) == (not stays)
    assert all("used without an adapter until you choose one" in body for body in told)
