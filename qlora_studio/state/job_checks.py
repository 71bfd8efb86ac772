"""What a job has found out about itself, as lines of its page."""

from dataclasses import dataclass

from qlora_studio.db.models import Job
from qlora_studio.state import certificates


@dataclass(frozen=True)
class CheckRow:
    """One check: its name, its status word (see `components.status`), and what it says."""

    name: str
    status: str
    text: str


def check_rows(job: Job) -> list[CheckRow]:
    """Return the checks of a job that have an outcome."""
    found = certificates.parse(job.report.get("certificate", {}))
    return [CheckRow("Effect on held-out clips", found.verdict.value, found.sentence)] if found else []
