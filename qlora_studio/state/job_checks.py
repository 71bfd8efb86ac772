"""What a job has found out about itself, as lines of its page."""

from dataclasses import dataclass

from pydantic import ValidationError

from qlora_studio.contracts.probe import ProbeReport
from qlora_studio.db.models import Job
from qlora_studio.state import certificates, formats


@dataclass(frozen=True)
class CheckRow:
    """One check: its name, its status word (see `components.status`), and what it says."""

    name: str
    status: str
    text: str


def check_rows(job: Job) -> list[CheckRow]:
    """Return the checks of a job that have an outcome."""
    rows = []
    if probe := _probe_of(job):
        rows.append(CheckRow("Sanity probe", probe.status, probe.sentence))
    if found := certificates.parse(job.report.get("certificate", {})):
        rows.append(
            CheckRow("Effect on held-out clips", found.verdict.value, formats.kept_together(found.sentence))
        )
    return rows


def probe_doubt(job: Job) -> str:
    """What the sanity probe wants a person to look at while there is time; empty otherwise."""
    probe = _probe_of(job)
    return probe.sentence if probe and probe.status == "doubtful" else ""


def _probe_of(job: Job) -> ProbeReport | None:
    stored = job.report.get("probe")
    try:
        return ProbeReport.model_validate(stored) if stored else None
    except ValidationError:
        return None
