"""Trying one step of a job before it is launched, in a process of its own.

A rehearsal is the job cut short (`qlora_studio.training.rehearsal`): what fails there would have failed in
the job, with the same sentence, and what it took is measured. Nothing of it is kept but its report, in this
process's memory for an hour. One is under way at a time, and none begins while jobs have all devices; one
that waits gets the next free slot, before any queued job. After each, a job that is ready has its turn first.
"""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil
from pydantic import BaseModel, ValidationError
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import ACTIVE_STATUSES, ExitReason
from qlora_studio.contracts.rehearsal import RehearsalReport
from qlora_studio.contracts.spec import TrainSpec
from qlora_studio.core import devices
from qlora_studio.core.errors import Conflict, InvalidInput, NotFound, StorageFull, Unavailable
from qlora_studio.core.ids import new_id
from qlora_studio.db.engine import read
from qlora_studio.db.models import BaseAudioModel, Dataset, Job, User
from qlora_studio.jobs import cards, queue, rehearsal_slot, run_files
from qlora_studio.launchers.local import worker_environment
from qlora_studio.services import job_checks, launches, models
from qlora_studio.services.access import Action
from qlora_studio.services.job_access import require_trainer
from qlora_studio.storage import atomic, layout, orphans

LIMIT_S = 900.0
KEPT_S = 3600.0
COMMAND = (sys.executable, "-m", "qlora_studio.training", "rehearse")
BUSY = "Jobs have all devices. Wait until one has ended, or try again later."
_LOOK_EVERY_S = 0.2
_LOOK_FOR_SLOT_EVERY_S = 1.0
_SHARE_OF_MEMORY = 0.95  # of what is free when it begins
_MAX_TAIL_BYTES = 1 << 16
_MAX_OUTPUT_BYTES = 8 << 20  # of what the process prints; more is started anew
_OUT_OF_MEMORY = (
    "memory allocation",
    "cannot allocate memory",
)  # OpenBLAS and jemalloc, which end the process
_CANCELLED = "Cancelled."
_log = logging.getLogger(__name__)


@dataclass
class Rehearsal:
    """One try: where it stands, and at its end what came of it.

    Attributes:
        label: what is being done, for people.
        forecast: of the job, to stand beside the report.
        steps: of the whole job, each of `batches` batches.
    """

    owner_id: str
    forecast: dict[str, Any]
    steps: int
    batches: int
    id: str = field(default_factory=lambda: new_id("try"))
    status: Literal["waiting", "running", "done"] = "waiting"
    label: str = "Waiting"
    report: RehearsalReport | None = None
    is_cancelled: bool = False
    ended_at: float = 0.0

    @property
    def folder(self) -> Path:
        return layout.rehearsal_path(self.id)

    def show_it_lives(self) -> None:
        """Keep the folder fresh: another process on the data folder sweeps what nobody touches."""
        with suppress(OSError):
            os.utime(self.folder)

    def end(self, report: RehearsalReport) -> None:
        self.report, self.ended_at = report, time.monotonic()
        self.status, self.label = "done", "Done"


class RehearsalPublic(BaseModel):
    """A rehearsal as the REST API answers it. `steps_s` is what the job's steps would take at this pace."""

    id: str
    status: Literal["waiting", "running", "done"]
    label: str
    report: RehearsalReport | None
    steps_s: float | None
    forecast: dict[str, Any]

    @classmethod
    def of(cls, rehearsal: Rehearsal) -> "RehearsalPublic":
        """Return the public form of a rehearsal."""
        return cls(
            id=rehearsal.id,
            status=rehearsal.status,
            label=rehearsal.label,
            report=rehearsal.report,
            steps_s=steps_s(rehearsal),
            forecast=rehearsal.forecast,
        )


def steps_s(rehearsal: Rehearsal) -> float | None:
    """Seconds that all steps of the job take at the pace of the one that was tried."""
    took = rehearsal.report.step_s if rehearsal.report else None
    return None if took is None else round(took * rehearsal.steps * rehearsal.batches, 1)


class _Stage:
    """The rehearsals of this process. One thread each, one turn for all of them."""

    def __init__(self) -> None:
        self._known: dict[str, Rehearsal] = {}
        self._lock = threading.Lock()
        self._turn = threading.Lock()

    def add(self, rehearsal: Rehearsal) -> None:
        with self._lock:
            now = time.monotonic()
            self._known = {
                key: other
                for key, other in self._known.items()
                if other.status != "done" or now - other.ended_at < KEPT_S
            }
            for other in self._known.values():
                if other.owner_id == rehearsal.owner_id and other.status != "done":
                    raise Conflict(
                        f"A step of yours is being tried already ({other.id}). Wait for it, or cancel it."
                    )
            self._known[rehearsal.id] = rehearsal

    def remove(self, rehearsal: Rehearsal) -> None:
        with self._lock:
            self._known.pop(rehearsal.id, None)

    def find(self, rehearsal_id: str) -> Rehearsal | None:
        with self._lock:
            return self._known.get(rehearsal_id)

    def is_known(self, rehearsal_id: str) -> bool:
        found = self.find(rehearsal_id)
        return found is not None and found.status != "done"

    def play(self, rehearsal: Rehearsal) -> None:
        try:
            while rehearsal.status != "done":
                rehearsal_slot.keep()
                rehearsal.show_it_lives()
                if rehearsal.is_cancelled:
                    rehearsal.end(_cancelled())
                elif self._turn.acquire(timeout=_LOOK_EVERY_S):
                    self._play_if_there_is_room(rehearsal)
        except Exception:
            _log.exception("rehearsal %s", rehearsal.id)
            message = "The step could not be tried. Try again; the server's log has the details."
            rehearsal.end(RehearsalReport(ok=False, reason=ExitReason.INTERNAL, message=message))
        finally:
            with self._lock:
                if all(other.status == "done" for other in self._known.values()):
                    rehearsal_slot.release()
            shutil.rmtree(rehearsal.folder, ignore_errors=True)

    def _play_if_there_is_room(self, rehearsal: Rehearsal) -> None:
        """Use the turn, or give it back: nobody has it while they wait."""
        try:
            if has_room_now := not _is_a_jobs_turn() and _is_room_now():
                _play(rehearsal)
        finally:
            self._turn.release()
        if not has_room_now:
            rehearsal.label = "Waiting until a running job has ended"
            time.sleep(_LOOK_FOR_SLOT_EVERY_S)


_stage = _Stage()


def start(session: Session, *, actor: User, spec: TrainSpec, is_waiting: bool = False) -> Rehearsal:
    """Begin to try one step of a job; nothing is queued or stored.

    Args:
        is_waiting: wait where jobs have all of the devices, instead of refusing.

    Raises:
        Forbidden: the actor may not train.
        InvalidInput: the spec does not fit the data; `fields` says where.
        Conflict: all devices are busy, the actor tries one already, or the model's files have changed.
        StorageFull, Unavailable: the list of clips could not be written.
    """
    require_trainer(actor)
    check = job_checks.validate(session, actor=actor, spec=spec)
    if not check.ok:
        raise InvalidInput(" ".join(check.errors.values()), fields=check.errors)
    model = models.get_model(session, actor=actor, model_id=spec.model_id, action=Action.TRAIN)
    models.check_unchanged(model)
    if not is_waiting and not has_room(session):
        raise Conflict(BUSY)
    optimization = spec.optimization
    rehearsal = Rehearsal(
        owner_id=actor.id,
        forecast=check.forecast,
        steps=int(check.forecast["time"]["total_steps"]),
        batches=optimization.gradient_accumulation,
    )
    _stage.add(rehearsal)
    try:
        sweep_leftovers()
        _write(session, rehearsal, spec, model)
    except OSError as error:
        _stage.remove(rehearsal)
        shutil.rmtree(rehearsal.folder, ignore_errors=True)
        if not atomic.is_full(error):
            raise Unavailable(launches.unwritten(error)) from error
        raise StorageFull("The disk is full. Free some space and try again.") from error
    name = f"rehearsal-{rehearsal.id}"
    threading.Thread(target=_stage.play, args=(rehearsal,), name=name, daemon=True).start()
    return rehearsal


def get(rehearsal_id: str, *, actor: User) -> Rehearsal:
    """Return one of the actor's rehearsals.

    Raises:
        NotFound: it isn't the actor's, or was an hour ago.
    """
    found = _stage.find(rehearsal_id)
    if found is None or found.owner_id != actor.id:
        raise NotFound("There is no such rehearsal.")
    return found


def cancel(rehearsal_id: str, *, actor: User) -> None:
    """End a rehearsal, soon; one that has ended stays as it is.

    Raises:
        NotFound: it isn't the actor's.
    """
    get(rehearsal_id, actor=actor).is_cancelled = True


def sweep_leftovers() -> None:
    """Remove what rehearsals of processes that were killed have left: folders untouched for an hour."""
    orphans.sweep(layout.data_path() / "rehearsals", _stage.is_known)


def has_room(session: Session) -> bool:
    """Whether a device is free of jobs. Where jobs are not started at all, it is while none runs."""
    busy = session.exec(select(Job).where(col(Job.status).in_(list(ACTIVE_STATUSES))))
    return sum(map(cards.n_devices, busy)) < max(1, devices.count_slots())


def _write(session: Session, rehearsal: Rehearsal, spec: TrainSpec, model: BaseAudioModel) -> None:
    dataset = session.get_one(Dataset, spec.dataset_id)
    rehearsal.folder.mkdir(parents=True)
    spec = launches.with_augmentation(session, spec)
    if (adapter := launches.find_start(session, spec)) is not None:
        run_files.copy_start(Path(adapter.path), rehearsal.folder)
    clips = launches.list_clips(session, spec=spec, dataset=dataset)
    run_files.write_clips(rehearsal.folder / "clips.jsonl", clips)
    described = run_files.describe(
        rehearsal.id, train=spec, model=model, dataset=dataset, run_path=rehearsal.folder, attempt=1
    )
    (rehearsal.folder / "spec.json").write_text(described.model_dump_json())


def _play(rehearsal: Rehearsal) -> None:
    """Run the process until it ends, or has to."""
    card = _choose_card()
    rehearsal_slot.keep(card)
    rehearsal.status, rehearsal.label = "running", "Starting"
    n_bytes = int(psutil.virtual_memory().available * _SHARE_OF_MEMORY)
    command = [*COMMAND, str(rehearsal.folder / "spec.json"), "--memory", str(n_bytes)]
    with (rehearsal.folder / "report.json").open("ab") as out, (rehearsal.folder / "log").open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=log,
            env=worker_environment() | ({"CUDA_VISIBLE_DEVICES": card} if card else {}),
            start_new_session=True,
        )
        try:
            ended_by = _follow(rehearsal, process)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            rehearsal_slot.give_jobs_a_turn()
    rehearsal.end(ended_by or _read_report(rehearsal.folder, process.returncode))


def _is_a_jobs_turn() -> bool:
    """Whether a step was tried last and a job is ready: a line of steps must not keep all jobs waiting."""
    if not rehearsal_slot.is_jobs_turn():
        return False
    with read() as session:
        is_one_ready = not queue.read_state(session).is_paused and bool(queue.read_line(session).ready)
    if not is_one_ready:
        rehearsal_slot.end_jobs_turn()
    return is_one_ready


def _is_room_now() -> bool:
    with read() as session:
        return has_room(session)


def _choose_card() -> str:
    """The CUDA device that the fewest jobs are on; empty where there are none."""
    with read() as session:
        active = session.exec(select(Job).where(col(Job.status).in_(list(ACTIVE_STATUSES))))
        return cards.choose_any(active)


def _follow(rehearsal: Rehearsal, process: subprocess.Popen[bytes]) -> RehearsalReport | None:
    """Show what is being done until the process ends; returns why it was not let to."""
    deadline = time.monotonic() + LIMIT_S
    events = rehearsal.folder / "attempt-1" / "rehearsal" / "events.jsonl"
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK_EVERY_S)
            return None
        rehearsal_slot.keep()
        rehearsal_slot.end_jobs_turn()  # another process's step may have ended: this one still has its slot
        rehearsal.show_it_lives()
        for name in ("report.json", "log"):
            _bound(rehearsal.folder / name)
        if rehearsal.is_cancelled:
            return _cancelled()
        if time.monotonic() > deadline:
            message = (
                f"One step took more than {LIMIT_S / 60:.0f} minutes and was ended. "
                "Choose a smaller model, a smaller batch, or shorter clips."
            )
            return RehearsalReport(ok=False, reason=ExitReason.HUNG, message=message)
        rehearsal.label = _last_phase(events) or rehearsal.label


def _bound(output: Path) -> None:
    """Start a file anew that has grown too large. The process appends to it, and goes on at its new end."""
    with suppress(OSError):
        if output.stat().st_size > _MAX_OUTPUT_BYTES:
            os.truncate(output, 0)


def _last_phase(events: Path) -> str:
    with suppress(OSError, ValueError, KeyError, TypeError):
        for line in reversed(_read_tail(events).splitlines()):
            if b'"type":"phase"' in line:
                return str(json.loads(line)["label"])
    return ""


def _read_tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _MAX_TAIL_BYTES))
        return file.read(_MAX_TAIL_BYTES)


def _read_report(folder: Path, returncode: int) -> RehearsalReport:
    with suppress(OSError, ValidationError):
        return RehearsalReport.model_validate_json(_read_tail(folder / "report.json"))
    tail = _read_tail(folder / "log").decode(errors="replace")
    _log.warning("a rehearsal ended with status %d and no report:\n%s", returncode, tail[-2000:])
    if returncode < 0 or any(words in tail.lower() for words in _OUT_OF_MEMORY):
        how = f"by signal {-returncode}, most often" if returncode < 0 else "by a library,"
        message = (
            f"The step was ended {how} because the machine ran out of memory. "
            "Halve the batch size and try again."
        )
        return RehearsalReport(ok=False, reason=ExitReason.OOM_HOST, message=message)
    message = f"The training program ended with status {returncode}. The server's log has the details."
    return RehearsalReport(ok=False, reason=ExitReason.INTERNAL, message=message)


def _cancelled() -> RehearsalReport:
    return RehearsalReport(ok=False, reason=ExitReason.USER_STOP, message=_CANCELLED)
