"""Writes down how a job ended: its final state, the adapter that it leaves, and what its owner is told."""

import json
import logging
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import ACTIVE_STATUSES, ExitReason, JobStatus, Verdict
from qlora_studio.contracts.events import ResultFile
from qlora_studio.core.clock import utc_now
from qlora_studio.db.engine import write
from qlora_studio.db.models import Adapter, BaseAudioModel, Job
from qlora_studio.db.models.audit import AuditEvent
from qlora_studio.jobs import actuals, notices, stamps, transitions
from qlora_studio.jobs import outcome as outcomes
from qlora_studio.jobs.ingest import name_eval_values
from qlora_studio.storage import layout

MAX_REPORT = 200_000  # characters; what is more stays in the run's `result.json`
_GROWS = "confusion_matrix"  # with the square of the classes

_log = logging.getLogger(__name__)


def record(job_id: str, attempt: int, records: outcomes.Records) -> outcomes.Outcome:
    """Bring the job to its final state, once: a job that is final already stays as it is."""
    outcome = outcomes.decide(records)
    actual = actuals.at_end(job_id, attempt, records.result)
    with write() as session:
        if _move(session, job_id, attempt, outcome, records.result, actual=actual):
            _register_adapter(session, job_id, outcome, records.result)
            _log.info("job %s: %s (%s)", job_id, outcome.status.value, outcome.message)
    stamps.touch(job_id)
    return outcome


def record_failure(job_id: str, attempt: int, reason: ExitReason, message: str) -> None:
    """Fail a job that never came to run."""
    with write() as session:
        _move(session, job_id, attempt, outcomes.Outcome(JobStatus.FAILED, reason, message), None, actual={})
    stamps.touch(job_id)


def _move(
    session: Session,
    job_id: str,
    attempt: int,
    outcome: outcomes.Outcome,
    result: ResultFile | None,
    *,
    actual: dict[str, Any],
) -> bool:
    before = session.exec(select(Job.actual).where(col(Job.id) == job_id)).first()
    values: dict[str, Any] = {
        "reason": outcome.reason,
        "message": outcome.message[:2000],
        "finished_at": utc_now(),
        "eta_s": None,
        "phase": "",
        "actual": actuals.merged(before or {}, actual),
    }
    if peak := values["actual"].get("peak_rss_bytes"):
        values["peak_rss_bytes"] = peak
    if result is not None:
        values |= _from_result(result)
    is_moved = transitions.move(
        session, job_id=job_id, attempt=attempt, from_=ACTIVE_STATUSES, to=outcome.status, **values
    )
    if is_moved:
        notices.tell(session, job_id)  # in the same transaction, so that it is told exactly once
    return is_moved


def _from_result(result: ResultFile) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if result.samples_per_s is not None:
        values["samples_per_s"] = result.samples_per_s
    if result.base_metrics:
        values["base_metrics"] = name_eval_values(result.base_metrics)
    if result.metrics:
        values["best_metrics"] = name_eval_values(result.metrics) | {"step": result.best_step or result.step}
    report = result.extra
    if not _fits(report):
        report = {name: value for name, value in report.items() if name != _GROWS}
    if report and _fits(report):  # what came before an error stays
        values["report"] = report
    return values


def _fits(report: dict[str, Any]) -> bool:
    return len(json.dumps(report)) <= MAX_REPORT


def _register_adapter(
    session: Session, job_id: str, outcome: outcomes.Outcome, result: ResultFile | None
) -> None:
    """Make or renew the job's adapter when a usable one is on disk."""
    if outcome.status not in (JobStatus.SUCCEEDED, JobStatus.STOPPED) or result is None:
        return
    folder = _adapter_folder(job_id, result)
    job = session.get(Job, job_id)
    if folder is None or job is None:
        return
    model = session.get(BaseAudioModel, job.model_id)
    adapter = session.exec(select(Adapter).where(col(Adapter.job_id) == job_id)).first()
    if adapter is None:
        adapter = Adapter(
            owner_id=job.owner_id, name=job.name, job_id=job_id, base_model_id=job.model_id, path=""
        )
    adapter.base_model_hash = model.content_hash if model else ""
    adapter.dataset_id = job.dataset_id
    adapter.dataset_version = job.dataset_version
    adapter.path = str(folder)
    adapter.size_bytes = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    adapter.metrics = name_eval_values(result.metrics)
    before, adapter.certificate = adapter.certificate, result.extra.get("certificate") or {}
    if adapter.is_active and _has_broken(before, adapter.certificate):
        _deactivate(session, adapter, model)
    adapter.base_metrics = name_eval_values(result.base_metrics)
    session.add(adapter)


def _has_broken(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether it worked before; one that was broken already was made the default all the same."""
    return now.get("verdict") == Verdict.BROKEN and before.get("verdict") != Verdict.BROKEN


def _deactivate(session: Session, adapter: Adapter, model: BaseAudioModel | None) -> None:
    """Take an adapter that broke as its training went on off its model, and tell its owner."""
    adapter.is_active = False
    notices.tell_of_broken_default(session, adapter, model_name=model.name if model else "its base model")
    session.add(
        AuditEvent(
            action="adapter.deactivate",
            object_type="adapter",
            object_id=adapter.id,
            object_name=adapter.name,
            details={"reason": "broken"},
        )
    )


def _adapter_folder(job_id: str, result: ResultFile) -> Path | None:
    """The folder that the worker named, if it is inside the run and holds PEFT's two files."""
    if not result.adapter_path:
        return None
    run = layout.run_path(job_id).resolve()
    folder = (run / result.adapter_path).resolve()
    is_whole = all((folder / n).is_file() for n in ("adapter_model.safetensors", "adapter_config.json"))
    return folder if is_whole and folder.is_relative_to(run) else None
