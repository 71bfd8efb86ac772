"""Runs told to an MLflow server (`QLORA_STUDIO_MLFLOW_URL`) by a thread of its own, which nothing waits for.

It reads the events that workers write, like the server does, and notes in `runs/<job>/mlflow.json` how far it
has told them. An absence of the server therefore loses nothing: what was not told is told when it is back,
also after a restart of ours. A job is one run of the experiment, whatever its attempts. Told are jobs that
began since the address was first set.
"""

import fcntl
import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from sqlalchemy import or_
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import ACTIVE_STATUSES, TERMINAL_STATUSES, JobStatus
from qlora_studio.contracts.events import EvalEvent, Event
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import StudioError
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db
from qlora_studio.db.models import BaseAudioModel, Dataset, Job, User
from qlora_studio.jobs.events import EventReader
from qlora_studio.jobs.tensorboard import values_by_tag
from qlora_studio.services.access import Action
from qlora_studio.services.jobs import get_job
from qlora_studio.services.mlflow_client import MlflowClient, MlflowError, Point
from qlora_studio.storage import atomic, layout

LOOK_EVERY_S = 2.0
LONGEST_WAIT_S = 60.0
_TAG = "qlora_studio.job_id"
_ENDS = {JobStatus.SUCCEEDED: "FINISHED", JobStatus.STOPPED: "KILLED"}  # all others have FAILED
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Told:
    """How far a job is told. `ended` names the attempt and status that were told as its end."""

    url: str
    experiment_id: str
    run_id: str
    attempt: int = 1
    offset: int = 0
    seq: int = 0
    ended: str = ""


class Teller:
    """Tells what is new of all jobs. One at a time on a data folder."""

    def __init__(self, client: MlflowClient, *, url: str, experiment: str) -> None:
        self._client = client
        self._url = url
        self._experiment = experiment
        self._since = _since(url)
        self._seen_until: datetime | None = None
        self._pending: set[str] = set()

    def tell(self) -> None:
        """Tell everything that there is to tell now.

        Raises:
            MlflowError: the server does not take it; what is left is told at a later call.
        """
        for job_id in self._due():
            with db.read() as session:
                job = session.get(Job, job_id)
                names = _names(session, job) if job else {}
            if job is None:
                self._pending.discard(job_id)
                continue
            try:
                told = self._tell(job, names)
            except MlflowError as error:
                if not error.is_final:
                    raise
                _log.warning("MLflow: job %s is told no further: %s", job_id, error)
                told = replace(_read(job_id) or _Told(self._url, "", ""), ended=_end_of(job))
                _write(job_id, told)
            if told.ended == _end_of(job) and job.status in TERMINAL_STATUSES:
                self._pending.discard(job_id)

    def _due(self) -> list[str]:
        """Jobs that run, and those that have ended and are not told to their end."""
        now = utc_now()
        began = col(Job.started_at) >= self._since
        recent = began if self._seen_until is None else col(Job.finished_at) >= self._seen_until
        query = select(Job.id).where(began, or_(col(Job.status).in_(ACTIVE_STATUSES), recent))
        with db.read() as session:
            self._pending |= set(session.exec(query))
        self._seen_until = now - timedelta(minutes=2)
        return sorted(self._pending)

    def _tell(self, job: Job, names: dict[str, str]) -> _Told:
        told = _read(job.id)
        if told is None or told.url != self._url:
            told = self._begin(job, names)
        if told.ended == _end_of(job):
            return told
        if told.ended:  # it was resumed
            self._client.set_status(told.run_id, "RUNNING")
            told = replace(told, ended="")
            _write(job.id, told)
        is_over = job.status in TERMINAL_STATUSES  # looked at before reading: nothing comes after
        told = self._tell_points(job, told)
        if is_over:
            at = job.finished_at or utc_now()
            self._client.set_status(told.run_id, _ENDS.get(job.status, "FAILED"), end_s=at.timestamp())
            told = replace(told, ended=_end_of(job))
            _write(job.id, told)
        return told

    def _begin(self, job: Job, names: dict[str, str]) -> _Told:
        experiment_id = self._client.find_experiment(self._experiment)
        run_id = self._client.find_run(experiment_id, _TAG, job.id)  # made just before a crash
        if not run_id:
            start = (job.started_at or job.created_at).timestamp()
            tags = {_TAG: job.id, **names}
            run_id = self._client.create_run(experiment_id, job.name, start_s=start, tags=tags)
        self._client.log_params(run_id, dict(_flat(job.spec)))
        told = _Told(self._url, experiment_id, run_id)
        _write(job.id, told)
        return told

    def _tell_points(self, job: Job, told: _Told) -> _Told:
        while True:
            path = layout.attempt_path(job.id, told.attempt) / "events.jsonl"
            reader = EventReader(path, offset=told.offset, last_seq=told.seq)
            events = reader.read()
            if reader.offset > told.offset:
                self._client.log_points(told.run_id, [p for event in events for p in _points(event)])
                told = replace(told, offset=reader.offset, seq=reader.last_seq)
                _write(job.id, told)
            elif told.attempt < job.attempt:
                told = replace(told, attempt=told.attempt + 1, offset=0, seq=0)
            else:
                return told


def find_address(session: Session, *, actor: User, job_id: str) -> str:
    """Return where a job's run is shown, or nothing when it is not told (yet).

    Raises:
        NotFound: the job isn't the actor's.
    """
    get_job(session, actor=actor, job_id=job_id, action=Action.SEE)
    told, url = _read(job_id), get_settings().mlflow_url.rstrip("/")
    if not url or told is None or told.url != url or not told.run_id:
        return ""
    parts = urlsplit(url)
    shown = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))  # without a password
    return f"{shown}/#/experiments/{told.experiment_id}/runs/{told.run_id}"


def _end_of(job: Job) -> str:
    return f"{job.attempt}:{job.status.value}"


def _names(session: Session, job: Job) -> dict[str, str]:
    model, dataset = session.get(BaseAudioModel, job.model_id), session.get(Dataset, job.dataset_id)
    return {
        "mlflow.source.name": "QLoRA Studio",
        "model": model.name if model else "",
        "dataset": f"{dataset.name}, version {job.dataset_version}" if dataset else "",
    }


def _points(event: Event) -> list[Point]:
    values = values_by_tag(event)
    if isinstance(event, EvalEvent) and event.base:
        values = {f"base/{key}": value for key, value in event.values.items()}
    step = int(getattr(event, "step", 0))
    return [Point(key, step, event.ts, value) for key, value in values.items()]


def _flat(spec: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Parameters by dotted names; those that are not set are left out."""
    for key, value in spec.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key}", str(value)


# -- what is kept --------------------------------------------------------------------------------------


def _path(job_id: str) -> Path:
    return layout.run_path(job_id) / "mlflow.json"


def _read(job_id: str) -> _Told | None:
    try:
        return _Told(**json.loads(_path(job_id).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _write(job_id: str, told: _Told) -> None:
    if layout.run_path(job_id).is_dir():  # not after the job was deleted
        atomic.write_text(_path(job_id), json.dumps(asdict(told)))


def _since(url: str) -> datetime:
    """When this address was first set: older jobs are not told."""
    path = layout.data_path() / "mlflow.json"
    try:
        kept = json.loads(path.read_bytes())
        if kept["url"] == url:
            return datetime.fromisoformat(kept["since"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    now = utc_now()
    atomic.write_text(path, json.dumps({"url": url, "since": now.isoformat()}))
    return now


# -- the thread ----------------------------------------------------------------------------------------


class _Background:
    def __init__(self) -> None:
        self.stop = threading.Event()
        self.thread: threading.Thread | None = None


_background = _Background()


def start() -> None:
    """Begin to tell, if an address is set. Calling it twice changes nothing."""
    if not get_settings().mlflow_url or (_background.thread is not None and _background.thread.is_alive()):
        return
    _background.stop = threading.Event()
    _background.thread = threading.Thread(target=_run, args=(_background.stop,), name="mlflow", daemon=True)
    _background.thread.start()


def stop(timeout_s: float = 2.0) -> None:
    """End the thread after a last look. What it has not told is told after the next start."""
    _background.stop.set()
    if _background.thread is not None:
        _background.thread.join(timeout_s)
        _background.thread = None


def _run(stop_: threading.Event) -> None:
    layout.data_path().mkdir(parents=True, exist_ok=True)
    with (layout.data_path() / "mlflow.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:  # another process tells
                if stop_.wait(LOOK_EVERY_S):
                    return
        settings = get_settings()
        url = settings.mlflow_url.rstrip("/")
        client = MlflowClient(url, settings.mlflow_token.get_secret_value())
        try:
            _tell_until(stop_, Teller(client, url=url, experiment=settings.mlflow_experiment))
        finally:
            client.close()


def _tell_until(stop_: threading.Event, teller: Teller) -> None:
    wait_s = 0.0
    while True:
        is_over = stop_.wait(wait_s)
        try:
            teller.tell()
            wait_s = LOOK_EVERY_S
        except (MlflowError, StudioError, OSError) as error:
            if wait_s <= LOOK_EVERY_S:
                _log.warning("MLflow: %s; told later", error)
            wait_s = min(LONGEST_WAIT_S, max(LOOK_EVERY_S, wait_s) * 2)
        except Exception:
            _log.exception("MLflow: trying again in a minute")
            wait_s = LONGEST_WAIT_S
        if is_over:
            return
