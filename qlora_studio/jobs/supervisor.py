"""The one process (or thread) that starts jobs, takes in what they report and writes down how they ended.

Crash-only: there is no state worth saving at the end, and every start begins with adopting what is there.
One supervisor at a time works on a data folder, by a file lock; others wait for it. It runs as a thread of
the web app (`start()`, `stop()`), inside the command line's `train` (`run_until_done`), or by itself:
`python -m qlora_studio.jobs.supervisor`.
"""

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import (
    ACTIVE_STATUSES,
    TERMINAL_STATUSES,
    ExitReason,
    JobStatus,
)
from qlora_studio.contracts.events import Event
from qlora_studio.core import devices
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import StudioError
from qlora_studio.core.logging import set_up_logging
from qlora_studio.core.settings import get_settings
from qlora_studio.db.commits import after_commit
from qlora_studio.db.engine import DatabaseBusy, read, waiting_at_most, write
from qlora_studio.db.models import BaseAudioModel, Dataset, Job
from qlora_studio.jobs import (
    cards,
    endings,
    leftovers,
    liveness,
    notices,
    outcome,
    queue,
    rehearsal_slot,
    run_files,
    stamps,
    transitions,
)
from qlora_studio.jobs.events import EventReader
from qlora_studio.jobs.ingest import Ingest
from qlora_studio.jobs.liveness import Liveness
from qlora_studio.jobs.lock import Lock
from qlora_studio.launchers.base import Launcher
from qlora_studio.launchers.local import LocalLauncher
from qlora_studio.storage import atomic, layout

BUSY_TICK_S = 0.04
IDLE_TICK_S = 0.25
REVIEW_S = 0.4
PATIENCE_S = 0.2  # with a database that another process holds: meanwhile nobody's curve would move
_log = logging.getLogger(__name__)
_wake = threading.Event()


class Supervisor:
    """Looks after every job of one data folder. Hold the `Lock` while calling `tick`."""

    def __init__(self, launcher: Launcher | None = None, *, only: Collection[str] | None = None) -> None:
        """Prepare; nothing is started before the first `tick`.

        Args:
            launcher: the backend; by default this machine.
            only: jobs' ids: no other job is started (all that run are looked after).
        """
        self._launcher = launcher or LocalLauncher()
        self._only = only
        self._ingests: dict[tuple[str, int], Ingest] = {}
        self._next_review = 0.0
        self._is_first = True

    def tick(self, *, review: bool = False) -> float:
        """Do what is due and return the seconds until the next call."""
        for (job_id, _), ingest in self._ingests.items():
            with _contained(job_id):
                ingest.poll()
        finished = any(i.is_finished for i in self._ingests.values())
        if review or finished or time.monotonic() >= self._next_review:
            self._review()
            self._next_review = time.monotonic() + REVIEW_S
        return BUSY_TICK_S if self._ingests else IDLE_TICK_S

    def _review(self) -> None:
        with read() as session:
            active = _jobs_in(session, ACTIVE_STATUSES)
            is_waiting = queue.has_any(session)
        running = {(job.id, job.attempt) for job in active}
        self._ingests = {key: i for key, i in self._ingests.items() if key in running}
        for job in active:
            with _contained(job.id):
                self._look_after(job)
        if self._is_first:  # by now this process has the lock
            queue.hold_after_restart(but=self._only or ())
            self._is_first = False
        if is_waiting:
            self._start_queued()

    # -- running jobs --------------------------------------------------------------------------------------

    def _look_after(self, job: Job) -> None:
        """Adopt, keep or end one active job."""
        attempt_path = layout.attempt_path(job.id, job.attempt)
        state = liveness.look(attempt_path)
        if state is Liveness.UNKNOWN:
            return
        ingest = self._ingests.get((job.id, job.attempt)) or self._adopt(job)
        if state is Liveness.ALIVE:
            self._note_stop(job, attempt_path)
        elif not liveness.was_claimed(attempt_path) and self._can_start(job):
            self._launch(job)
        else:
            self._end(job, attempt_path, ingest)

    def _adopt(self, job: Job) -> Ingest:
        ingest = Ingest(job)
        self._ingests[job.id, job.attempt] = ingest
        ingest.poll()
        return ingest

    @staticmethod
    def _can_start(job: Job) -> bool:
        """A start that a crash interrupted goes on, unless the machine was restarted since."""
        return job.status is not JobStatus.RUNNING and job.boot_id == liveness.boot_id()

    @staticmethod
    def _note_stop(job: Job, attempt_path: Path) -> None:
        """A stop that was written down but not yet shown (a crash in between) is shown now."""
        if job.status is JobStatus.STOPPING or outcome.read_stop(attempt_path) is None:
            return
        with write() as session:
            transitions.move(
                session, job_id=job.id, attempt=job.attempt, from_=[job.status], to=JobStatus.STOPPING
            )
        stamps.touch(job.id)

    def _end(self, job: Job, attempt_path: Path, ingest: Ingest) -> None:
        if not ingest.drain():
            return
        is_rebooted = bool(job.boot_id) and job.boot_id != liveness.boot_id()
        leftovers.clear(layout.run_path(job.id), attempt_path)
        records = outcome.read_records(
            attempt_path,
            error=ingest.error,
            is_rebooted=is_rebooted,
            is_restored=job.boot_id == liveness.RESTORED,
        )
        endings.record(job.id, job.attempt, records)
        self._ingests.pop((job.id, job.attempt), None)

    # -- the queue -----------------------------------------------------------------------------------------

    def _start_queued(self) -> None:
        """Start queued jobs, in the queue's order, while there are free slots."""
        while (job := self._claim_next()) is not None:
            self._adopt(job)
            self._launch(job)

    def _claim_next(self) -> Job | None:
        """Take one job out of the queue, or None when nothing may start. Never more than there are slots."""
        with read() as session:
            line = queue.read_line(session)
            if not line.refused and self._find_next(session, line) is None:
                return None  # the usual answer, and it takes no write lock
        with write() as session:
            line = queue.read_line(session)
            self._stop_refused(session, line)
            found = self._find_next(session, line)
            if found is None:
                return None
            job = session.get_one(Job, found.id)
            started = {"started_at": job.started_at or utc_now(), "boot_id": liveness.boot_id()}
            transitions.move(
                session,
                job_id=job.id,
                attempt=job.attempt,
                from_=[JobStatus.QUEUED],
                to=JobStatus.STARTING,
                phase="Starting",
                **started,
            )
            session.expire(job)
            session.refresh(job)
        rehearsal_slot.end_jobs_turn()
        stamps.touch(job.id)
        return job

    def _find_next(self, session: Session, line: queue.Line) -> queue.Entry | None:
        state = queue.read_state(session)
        if state.is_paused and (self._only is None or state.changed_by is not None):
            return None  # what a person starts by name, on this machine, only a person's pause holds back
        ready = [entry for entry in line.ready if self._only is None or entry.id in self._only]
        n_slots, n_busy = devices.count_slots(), line.n_busy + rehearsal_slot.n_held()
        if not ready or n_busy >= n_slots:
            return None
        n_open = cards.count_open(_jobs_in(session, ACTIVE_STATUSES))
        return queue.pick(ready, n_slots=n_slots, n_busy=n_busy, n_open=n_open)

    @staticmethod
    def _stop_refused(session: Session, line: queue.Line) -> None:
        """End the jobs that were to start only if another one succeeded, which it did not."""
        for job_id, message in line.refused.items():
            job = session.get_one(Job, job_id)
            is_ended = transitions.move(
                session,
                job_id=job_id,
                attempt=job.attempt,
                from_=[JobStatus.QUEUED],
                to=JobStatus.STOPPED,
                message=message,
                finished_at=utc_now(),
            )
            if is_ended:
                notices.tell(session, job_id)
            after_commit(session, partial(stamps.touch, job_id))

    def _launch(self, job: Job) -> None:
        """Write the attempt's spec and start it; what goes wrong is the job's failure and nobody else's."""
        try:
            with read() as session:
                model = session.get(BaseAudioModel, job.model_id)
                dataset = session.get(Dataset, job.dataset_id)
                chosen = cards.choose(job, _jobs_in(session, ACTIVE_STATUSES))
            assert model is not None, "a job's model can't be deleted"
            assert dataset is not None, "a job's dataset can't be deleted"
            self._launcher.launch(run_files.write_attempt(job, model=model, dataset=dataset, cards=chosen))
            _log.info("job %s: attempt %d started", job.id, job.attempt)
        except DatabaseBusy:
            raise  # nothing was started; it is tried again
        except OSError as error:
            _log.warning("job %s: could not be started: %s", job.id, error)
            is_full = atomic.is_full(error)
            remedy = "Make space and resume." if is_full else "Ask whoever runs the server, then resume."
            message = f"The job's files could not be written ({error.strerror or error}). {remedy}"
            reason = ExitReason.DISK_FULL if is_full else ExitReason.INTERNAL
            endings.record_failure(job.id, job.attempt, reason, message)
        except Exception as error:
            if _runs_all_the_same(job):
                _log.warning("job %s: runs, though its start seemed to fail: %s", job.id, error)
                return
            _log.exception("job %s: could not be started", job.id)
            message = error.message if isinstance(error, StudioError) else "The job could not be started."
            endings.record_failure(job.id, job.attempt, ExitReason.INTERNAL, message)


def _runs_all_the_same(job: Job) -> bool:
    """Whether a start that failed has left a process: the starter may be killed just after its work."""
    attempt_path = layout.attempt_path(job.id, job.attempt)
    return liveness.look(attempt_path) in (Liveness.ALIVE, Liveness.UNKNOWN) or liveness.was_claimed(
        attempt_path
    )


@contextmanager
def _contained(job_id: str) -> Iterator[None]:
    """Keep what goes wrong with one job from the others; it is tried again at the next look."""
    try:
        yield
    except DatabaseBusy:
        _log.warning("job %s: the database is busy; trying again", job_id)
    except Exception:
        _log.exception("job %s: could not be looked after", job_id)


def _jobs_in(session: Session, statuses: Sequence[JobStatus]) -> list[Job]:
    return list(session.exec(select(Job).where(col(Job.status).in_(list(statuses))).order_by(col(Job.id))))


def wake() -> None:
    """Have this process's supervisor look at the queue at once."""
    _wake.set()


def expect() -> None:
    """If this process supervises: have what takes long ready, for somebody is about to launch a job."""
    if _background.thread is not None and _background.thread.is_alive():
        LocalLauncher().expect()


def run(stop: threading.Event, launcher: Launcher | None = None) -> None:
    """Supervise until `stop` is set; waits for the lock first, and outlives every error."""
    lock = Lock()
    supervisor = Supervisor(launcher)
    delay = 0.0
    try:
        while not stop.is_set():
            is_woken = _wake.wait(delay)
            _wake.clear()
            if stop.is_set() or not lock.acquire():
                delay = 1.0
                continue
            try:
                with waiting_at_most(PATIENCE_S):
                    delay = supervisor.tick(review=is_woken)
            except DatabaseBusy:
                delay = BUSY_TICK_S
            except Exception:
                _log.exception("supervisor: trying again in a second")
                delay = 1.0
    finally:
        lock.release()


class _Background:
    def __init__(self) -> None:
        self.stop = threading.Event()
        self.thread: threading.Thread | None = None


_background = _Background()


def start(launcher: Launcher | None = None) -> None:
    """Supervise in a thread of this process. Calling it twice changes nothing."""
    if _background.thread is not None and _background.thread.is_alive():
        return
    _background.stop = threading.Event()
    _background.thread = threading.Thread(
        target=run, args=(_background.stop, launcher), name="supervisor", daemon=True
    )
    _background.thread.start()


def stop(timeout_s: float = 5.0) -> None:
    """End the thread. Jobs go on: the next supervisor adopts them."""
    _background.stop.set()
    _wake.set()
    if _background.thread is not None:
        _background.thread.join(timeout_s)
        _background.thread = None


def run_until_done(
    job_ids: Sequence[str],
    *,
    on_event: Callable[[str, Event], None] | None = None,
    on_end: Callable[[Job], None] | None = None,
    launcher: Launcher | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Job]:
    """See jobs through in this process, without a server; where one supervises already, only watch.

    What they wait for is started as well, or they would never begin.

    Args:
        job_ids: the jobs, queued or running. As many run at once as there are slots.
        on_event: called with a job's id and each event of its worker, in order.
        on_end: called with each job once it has ended.
        launcher: the backend; by default this machine.
        should_stop: asked a few times a second; True leaves early and the jobs go on.

    Returns:
        The jobs' rows as they were last, without those that somebody has deleted meanwhile.
    """
    lock = Lock()
    with read() as session:
        supervisor = Supervisor(launcher, only=queue.with_those_before(session, job_ids))
    readers: dict[tuple[str, int], EventReader] = {}
    waiting = set(job_ids)
    try:
        while True:
            delay = supervisor.tick(review=True) if lock.acquire() else IDLE_TICK_S
            with read() as session:
                found = list(session.exec(select(Job).where(col(Job.id).in_(job_ids))))
            for job in (job for job in found if job.id in waiting):
                path = layout.attempt_path(job.id, job.attempt) / "events.jsonl"
                reader = readers.setdefault((job.id, job.attempt), EventReader(path))
                while on_event is not None and reader.has_more() and (events := reader.read()):
                    for event in events:
                        on_event(job.id, event)
                if job.status in TERMINAL_STATUSES:
                    waiting.remove(job.id)
                    if on_end is not None:
                        on_end(job)
            if not waiting & {job.id for job in found} or should_stop():
                return sorted(found, key=lambda job: job_ids.index(job.id))
            time.sleep(max(delay, 0.1))
    finally:
        lock.release()


def main() -> int:
    """Supervise the data folder of the environment until SIGTERM or Ctrl-C."""
    set_up_logging(get_settings().log_level)
    ending = threading.Event()

    def end(_number: int, _frame: object) -> None:
        ending.set()
        _wake.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    run(ending)
    return 0


if __name__ == "__main__":
    sys.exit(main())
