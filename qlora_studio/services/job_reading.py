"""What a job has reported: its curves, its log, its sample panel, and what it runs on."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import func
from sqlmodel import Session, col, select

from qlora_studio.core.errors import InvalidInput
from qlora_studio.db.models import Clip, Job, JobSample, User
from qlora_studio.jobs import logs, metrics, stamps
from qlora_studio.jobs.events import parse_line
from qlora_studio.jobs.metrics import MAX_POINTS, Series
from qlora_studio.services.access import Action
from qlora_studio.services.jobs import get_job
from qlora_studio.services.preference_pairs import PAIR_ID, better_of
from qlora_studio.storage import checkpoints, layout

_CSV_ROWS = 10_000


@dataclass(frozen=True)
class Runtime:
    """What the worker said of itself at its start. `versions` by package."""

    device: str = ""
    versions: dict[str, str] = field(default_factory=dict)


def get_metrics(
    session: Session,
    *,
    actor: User,
    job_id: str,
    keys: list[str] | None = None,
    from_step: int | None = None,
    to_step: int | None = None,
    from_time: float | None = None,
    to_time: float | None = None,
    max_points: int = MAX_POINTS,
) -> dict[str, Series]:
    """Return curves of a job, each with at most `max_points` points and every spike; all when `keys` is None.

    Args:
        from_step: the first step, included, as `to_step` is. Machine curves have no steps and come whole.
        from_time: the first time in seconds since the epoch, included, as `to_time` is.

    Raises:
        NotFound: it isn't the actor's.
        InvalidInput: the range is empty.
    """
    get_job(session, actor=actor, job_id=job_id, action=Action.SEE)
    _check_range("step", from_step, to_step)
    _check_range("time", from_time, to_time)
    return read_curves(
        job_id,
        keys,
        from_step=from_step,
        to_step=to_step,
        from_time=from_time,
        to_time=to_time,
        max_points=max_points,
    )


def _check_range(axis: str, first: float | None, last: float | None) -> None:
    if first is not None and last is not None and first > last:
        message = f"from_{axis} is after to_{axis}."
        raise InvalidInput(message, fields={f"from_{axis}": message})


def read_curves(
    job_id: str,
    keys: list[str] | None = None,
    *,
    from_step: int | None = None,
    to_step: int | None = None,
    from_time: float | None = None,
    to_time: float | None = None,
    max_points: int = MAX_POINTS,
) -> dict[str, Series]:
    """The same for a caller that has checked who asks (a watcher, once for many looks)."""
    folder = layout.run_path(job_id) / "metrics"
    wanted = metrics.keys(folder) if keys is None else keys
    points = max(16, min(max_points, MAX_POINTS))
    return metrics.query(
        folder,
        wanted,
        from_step=from_step,
        to_step=to_step,
        from_time=from_time,
        to_time=to_time,
        max_points=points,
    )


def write_metrics_csv(job_id: str) -> Iterator[bytes]:
    """Yield every point of every curve as CSV: key, step, time in seconds since the epoch, value."""
    folder = layout.run_path(job_id) / "metrics"
    yield b"key,step,time,value\r\n"
    for key in metrics.keys(folder):
        records = metrics.read_all(folder, key)
        for start in range(0, len(records), _CSV_ROWS):
            buffer = io.StringIO()
            writer = csv.writer(buffer)
            for row in records[start : start + _CSV_ROWS]:
                writer.writerow([key, int(row["step"]), repr(float(row["time"])), repr(float(row["value"]))])
            yield buffer.getvalue().encode()


def write_log(attempt_path: Path) -> Iterator[bytes]:
    """Yield an attempt's log, each line without escapes and secrets."""
    for line in logs.read_lines(attempt_path):
        yield f"{line}\n".encode()


def list_samples(session: Session, *, actor: User, job_id: str, step: int | None = None) -> list[JobSample]:
    """Return the sample panel at one evaluation (the newest unless told), worst clips first.

    Raises:
        NotFound: it isn't the actor's.
    """
    get_job(session, actor=actor, job_id=job_id, action=Action.SEE)
    if step is None:
        newest = select(func.max(JobSample.step)).where(col(JobSample.job_id) == job_id)
        step = session.exec(newest).one()
    query = select(JobSample).where(col(JobSample.job_id) == job_id, col(JobSample.step) == step)
    worst_first = (col(JobSample.error).desc().nulls_last(), col(JobSample.clip_id))
    return list(session.exec(query.order_by(*worst_first)))


def find_sample_clips(session: Session, *, samples: list[JobSample]) -> dict[str, Clip]:
    """Return the clips of a panel by the id that its samples have; those deleted since are left out.

    Of a pair it is the better clip. The caller checks who asks.
    """
    ids = [sample.clip_id for sample in samples]
    found = {clip.id: clip for clip in session.exec(select(Clip).where(col(Clip.id).in_(ids)))}
    if any(PAIR_ID.fullmatch(clip_id) for clip_id in ids):
        job = session.get_one(Job, samples[0].job_id)
        of_job, is_marked = col(Clip.dataset_id) == job.dataset_id, col(Clip.label).contains("+")
        marked = session.exec(select(Clip.id, Clip.label).where(of_job, is_marked))  # not their waveforms
        better = {pair_id: clip_id for clip_id, label in marked for pair_id in better_of(label or "")}
        wanted = {pair_id: better[pair_id] for pair_id in ids if pair_id in better}
        clips = session.exec(select(Clip).where(col(Clip.id).in_(wanted.values())))
        by_id = {clip.id: clip for clip in clips}
        found |= {pair_id: by_id[clip_id] for pair_id, clip_id in wanted.items()}
    return found


def list_sample_steps(session: Session, *, actor: User, job_id: str) -> list[int]:
    """Return the steps at which the panel was taken, ascending.

    Raises:
        NotFound: it isn't the actor's.
    """
    get_job(session, actor=actor, job_id=job_id, action=Action.SEE)
    query = select(JobSample.step).where(col(JobSample.job_id) == job_id).distinct()
    return sorted(session.exec(query).all())


def read_runtime(job: Job) -> Runtime:
    """Read what the worker said of itself in its first event."""
    path = layout.attempt_path(job.id, job.attempt) / "events.jsonl"
    try:
        with path.open("rb") as file:
            event = parse_line(file.readline(1 << 16))
    except OSError:
        return Runtime()
    return Runtime(event.device, event.versions) if event and event.type == "started" else Runtime()


def find_checkpoint_step(job_id: str) -> int | None:
    """The step of the newest checkpoint that one can go on from."""
    found = checkpoints.find_newest_whole(layout.run_path(job_id) / "checkpoints")
    return found[0] if found else None


def read_stamp(job_id: str) -> int:
    """A number that changes whenever something of the job does; costs one `stat`."""
    return stamps.read(job_id)


def read_turn(job_id: str) -> int:
    """A number that changes, together with the stamp, whenever it is more than progress."""
    return stamps.read_turn(job_id)
