"""The log of a job's attempts: its end, what is new, what is found in it, and all of it as a file."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlmodel import Session

from qlora_studio.contracts.enums import TERMINAL_STATUSES
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db.models import Job, User
from qlora_studio.jobs import logs
from qlora_studio.jobs.logs import LogLine
from qlora_studio.services.access import Action
from qlora_studio.services.job_reading import write_log
from qlora_studio.services.jobs import get_job
from qlora_studio.storage import layout

MAX_LINES = 5_000
MAX_SEARCH = 200  # characters


@dataclass(frozen=True)
class LogView:
    """Lines of one attempt's log. `n_found` counts what a search found, also beyond these lines."""

    lines: list[LogLine]
    attempt: int
    n_attempts: int
    next_offset: int
    n_found: int | None = None
    is_complete: bool = True

    @property
    def cursor(self) -> str:
        """The place to go on from, in whichever attempt that is."""
        return f"{self.attempt}-{self.next_offset}"


def read(
    session: Session,
    *,
    actor: User,
    job_id: str,
    tail: int = 200,
    after: int | None = None,
    cursor: str = "",
    level: str | None = None,
    search: str = "",
    attempt: int | None = None,
) -> LogView:
    """Return the last `tail` lines of a log, the whole lines after a place, or the newest that are found.

    Args:
        after: a number of bytes, as an answer's `next_offset` gives it.
        cursor: a place as an answer's `cursor` gives it; it goes on into the next attempt.
        level: only lines of this level and above: debug, info, warning or error.
        search: only lines that hold this text, whatever its case; looks through all that is kept.
        attempt: of which attempt; the newest unless told.

    Raises:
        NotFound: it isn't the actor's.
        InvalidInput: there is no such level, attempt or place.
    """
    job = get_job(session, actor=actor, job_id=job_id, action=Action.SEE)
    levels, n_lines = _levels_from(level), max(1, min(tail, MAX_LINES))
    if cursor:
        return _read_from(job, _parse_cursor(cursor, job), levels)
    attempt = check_attempt(job, attempt)
    folder = layout.attempt_path(job.id, attempt)
    is_growing = _is_growing(job, attempt)
    if after is not None:
        part = logs.read_after(folder, max(0, after), is_growing=is_growing)
        return LogView(_of(part.lines, levels), attempt, job.attempt, part.next_offset)
    if search.strip() or level is not None:
        end = logs.read_end(folder)
        found = logs.search(folder, text=search.strip()[:MAX_SEARCH], levels=levels, limit=n_lines)
        return LogView(found.lines, attempt, job.attempt, end, found.n_found, found.is_complete)
    part = logs.read_tail(folder, n_lines, is_growing=is_growing)
    return LogView(part.lines, attempt, job.attempt, part.next_offset)


def read_end(job: Job, attempt: int) -> str:
    """The place after an attempt's newest byte, for a watcher that has checked who asks."""
    return f"{attempt}-{logs.read_end(layout.attempt_path(job.id, attempt))}"


def stream(
    session: Session, *, actor: User, job_id: str, attempt: int | None = None
) -> tuple[str, Iterator[bytes]]:
    """Return a file name and the cleaned lines of an attempt's whole log, of the newest unless told.

    Raises:
        NotFound: it isn't the actor's.
        InvalidInput: there is no such attempt.
    """
    job = get_job(session, actor=actor, job_id=job_id, action=Action.SEE)
    attempt = check_attempt(job, attempt)
    return f"{job.id}-attempt-{attempt}.log", write_log(layout.attempt_path(job.id, attempt))


def check_attempt(job: Job, attempt: int | None) -> int:
    """Return the attempt that is meant.

    Raises:
        InvalidInput: there is no such attempt.
    """
    if attempt is None:
        return job.attempt
    if not 1 <= attempt <= job.attempt:
        message = f"This job has attempts 1 to {job.attempt}." if job.attempt > 1 else "It has one attempt."
        raise InvalidInput(message, fields={"attempt": message})
    return attempt


def _read_from(job: Job, place: tuple[int, int], levels: tuple[str, ...]) -> LogView:
    attempt, offset = place
    folder = layout.attempt_path(job.id, attempt)
    part = logs.read_after(folder, offset, is_growing=_is_growing(job, attempt))
    is_read = part.next_offset == offset
    if is_read and attempt < job.attempt:
        return _read_from(job, (attempt + 1, 0), levels)
    return LogView(_of(part.lines, levels), attempt, job.attempt, part.next_offset)


def _is_growing(job: Job, attempt: int) -> bool:
    return attempt == job.attempt and job.status not in TERMINAL_STATUSES


def _parse_cursor(cursor: str, job: Job) -> tuple[int, int]:
    attempt, _, offset = cursor.partition("-")
    if not (attempt.isdecimal() and offset.isdecimal() and len(cursor) < 40):
        message = "This is no place in a log. Give back what an answer had as its cursor."
        raise InvalidInput(message, fields={"cursor": message})
    return check_attempt(job, int(attempt)), int(offset)


def _levels_from(level: str | None) -> tuple[str, ...]:
    if level is None:
        return logs.LEVELS
    if level not in logs.LEVELS:
        message = f"Choose one of: {', '.join(logs.LEVELS)}."
        raise InvalidInput(message, fields={"level": message})
    return logs.LEVELS[logs.LEVELS.index(level) :]


def _of(lines: list[LogLine], levels: tuple[str, ...]) -> list[LogLine]:
    return [line for line in lines if line.level in levels]
