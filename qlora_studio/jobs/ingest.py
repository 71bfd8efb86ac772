"""Takes one attempt's events in: points to the metrics store, the rest to the job's row and sample panel.

Points are stored as soon as they are read. The row follows within `FLUSH_S`, in one transaction together with
the byte offset and number of the last event, so that after any crash reading goes on exactly where the row
is; points that come a second time are passed over by the store.
"""

import logging
import time
from typing import Any

from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col

from qlora_studio.contracts.enums import JobStatus
from qlora_studio.contracts.events import (
    ErrorEvent,
    EvalEvent,
    Event,
    FinishedEvent,
    HeartbeatEvent,
    MetricEvent,
    PhaseEvent,
    ProbeEvent,
    ProgressEvent,
    SampleEvent,
    StartedEvent,
)
from qlora_studio.contracts.probe import ProbeReport
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import StudioError
from qlora_studio.db.engine import write
from qlora_studio.db.models import Job, JobSample
from qlora_studio.jobs import actuals, stamps, transitions
from qlora_studio.jobs.events import EventReader
from qlora_studio.jobs.metrics import SYSTEM_KEYS, MetricsWriter, sequence
from qlora_studio.jobs.silence import STALLED_AFTER_S, Silence
from qlora_studio.jobs.tensorboard import EventFile
from qlora_studio.storage import layout

FLUSH_S = 1.0
NEWER = "Run by a newer version of QLoRA Studio: it goes on, but its progress can't be shown here"
_AT_ONCE = (StartedEvent, PhaseEvent, EvalEvent, ProbeEvent, FinishedEvent, ErrorEvent)
_log = logging.getLogger(__name__)


class Ingest:
    """The reading end of one attempt's event stream."""

    def __init__(self, job: Job) -> None:
        attempt_path = layout.attempt_path(job.id, job.attempt)
        self.job_id = job.id
        self.attempt = job.attempt
        self.error: ErrorEvent | None = None
        self.is_finished = False
        self._reader = EventReader(
            attempt_path / "events.jsonl", offset=job.event_offset, last_seq=job.last_seq
        )
        self._metrics = MetricsWriter(layout.run_path(job.id) / "metrics")
        self._tensorboard = EventFile(job.id, job.attempt)
        self._points: dict[str, list[tuple[int, int, float, float]]] = {}
        self._row: dict[str, Any] = {}
        self._last_metrics = dict(job.last_metrics)
        self._actual = dict(job.actual)
        self._samples: list[SampleEvent] = []
        self._has_started = job.status is not JobStatus.STARTING
        self._is_dirty = False
        self._silence = Silence()
        self._is_stalled = job.is_stalled
        self._has_told_newer = False
        self._next_flush = 0.0
        self._is_told = False
        self._untaken: list[Event] = []

    def poll(self) -> None:
        """Take in what is there; costs one `stat` when there is nothing."""
        is_urgent = False
        has_spoken = self._reader.has_more()
        if has_spoken:
            events = self._reader.read()
            for event in events:
                self._apply(event)
            is_urgent = any(isinstance(e, _AT_ONCE) for e in events) or self._note_newer()
            self._is_dirty = True
            self._store_points()
            self._untaken += events
        is_urgent |= self._note_silence(has_spoken=has_spoken)
        if self._is_dirty and (is_urgent or time.monotonic() >= self._next_flush):
            self._fill_tensorboard()
            self.flush(is_urgent=is_urgent)

    def drain(self) -> bool:
        """Take in all that an ended attempt has left; False when it can't be kept now."""
        self._row["is_stalled"] = self._is_stalled = False
        offset = -1
        while self._reader.offset != offset:
            offset = self._reader.offset
            events = self._reader.read()
            for event in events:
                self._apply(event)
            self._store_points()
            self._untaken += events
            self._fill_tensorboard()
        self._tensorboard.finish(offset=offset)
        return self.flush()

    def _fill_tensorboard(self) -> None:
        self._tensorboard.take(self._untaken, offset=self._reader.offset)
        self._untaken = []

    def flush(self, *, is_urgent: bool = True) -> bool:
        """Bring the job's row up to date; False when that can't be done now (it is tried again later).

        Args:
            is_urgent: watchers are to show it at once; otherwise it is progress.
        """
        self._next_flush = time.monotonic() + FLUSH_S
        if not self._store_points():
            return False  # the row must not get ahead of the points, or a crash now would lose them
        try:
            with write() as session:
                self._write_row(session)
        except (StudioError, SQLAlchemyError) as error:
            _log.warning("job %s: its row could not be written: %s", self.job_id, error)
            return False
        self._row = {}
        self._samples = []
        self._is_dirty = False
        if is_urgent:
            stamps.touch(self.job_id)
        elif not self._is_told:  # by its points
            stamps.touch_progress(self.job_id)
        self._is_told = False
        return True

    def _note_newer(self) -> bool:
        """Say so once when a newer version runs the job: it is left alone, and its progress is not read."""
        if not self._reader.is_newer or self._has_told_newer:
            return False
        self._has_told_newer = self._has_started = True
        self._row["phase"] = NEWER
        return True

    def _note_silence(self, *, has_spoken: bool) -> bool:
        """Note in the row when a worker falls silent, and when it is heard again; True when that changed."""
        silent_s = self._silence.look(has_spoken=has_spoken)
        is_stalled = self._has_started and not self.is_finished and silent_s >= STALLED_AFTER_S
        if self._is_stalled and not has_spoken:
            return False  # it was so when we came, or is so still
        if is_stalled == self._is_stalled:
            return False
        self._row["is_stalled"] = self._is_stalled = is_stalled
        self._is_dirty = True
        return True

    # -- events --------------------------------------------------------------------------------------------

    def _apply(self, event: Event) -> None:
        match event:
            case StartedEvent():
                self._row |= {"pid": event.pid}
                self._has_started = True
            case PhaseEvent():
                self._row |= {"phase": event.label}
            case ProgressEvent():
                self._row |= event.model_dump(include={"step", "total_steps", "epoch", "eta_s"})
            case MetricEvent():
                self._take_metrics(event)
            case EvalEvent():
                self._take_eval(event)
            case ProbeEvent():
                report = event.model_dump(mode="json", include=set(ProbeReport.model_fields))
                self._row["report"] = {"probe": report}
            case SampleEvent():
                self._samples.append(event)
            case HeartbeatEvent():
                self._take_heartbeat(event)
            case ErrorEvent():
                self.error = event
            case FinishedEvent():
                self.is_finished = True
            case _:
                pass

    def _take_metrics(self, event: MetricEvent) -> None:
        self._last_metrics |= event.values
        self._row["last_metrics"] = dict(self._last_metrics)
        if "samples_per_s" in event.values:
            self._row["samples_per_s"] = event.values["samples_per_s"]
        for key, value in event.values.items():
            self._add_point(key, event, value)

    def _take_eval(self, event: EvalEvent) -> None:
        values = name_eval_values(event.values)
        if event.base:
            self._row["base_metrics"] = values
            return
        self._last_metrics |= values
        self._row["last_metrics"] = dict(self._last_metrics)
        if event.is_best:
            self._row["best_metrics"] = values | {"step": event.step}
        for key, value in values.items():
            self._add_point(key, event, value)

    def _take_heartbeat(self, event: HeartbeatEvent) -> None:
        self._row["heartbeat_at"] = utc_now()  # our clock: the worker's may be on another machine
        for key in SYSTEM_KEYS:
            value = getattr(event, key)
            if value is not None:
                self._add_point(key, event, value)
        self._actual = actuals.with_peaks(self._actual, event)
        self._row["actual"] = dict(self._actual)
        if event.peak_rss_bytes is not None:
            self._row["peak_rss_bytes"] = self._actual["peak_rss_bytes"]

    def _add_point(
        self, key: str, event: MetricEvent | EvalEvent | HeartbeatEvent, value: float | None
    ) -> None:
        number = float("nan") if value is None else float(value)
        self._points.setdefault(key, []).append(
            (sequence(self.attempt, event.seq), event.step, event.ts, number)
        )

    # -- stores --------------------------------------------------------------------------------------------

    def _store_points(self) -> bool:
        if not self._points:
            return True
        try:
            self._metrics.append(self._points)
        except OSError as error:
            _log.warning("job %s: points could not be stored: %s", self.job_id, error)
            return False
        self._points = {}
        stamps.touch_progress(self.job_id)
        self._is_told = True
        return True

    def _write_row(self, session: Session) -> None:
        for sample in self._samples:
            session.merge(
                JobSample(
                    job_id=self.job_id,
                    details=sample.details,
                    **sample.model_dump(include=set(JobSample.model_fields) - {"details"}),
                )
            )
        values = self._row | {"event_offset": self._reader.offset, "last_seq": self._reader.last_seq}
        session.execute(
            update(Job)
            .where(col(Job.id) == self.job_id, col(Job.attempt) == self.attempt)
            .values(**values)
            .execution_options(synchronize_session=False)
        )
        if self._has_started:
            transitions.move(
                session,
                job_id=self.job_id,
                attempt=self.attempt,
                from_=[JobStatus.STARTING],
                to=JobStatus.RUNNING,
            )


def name_eval_values(values: dict[str, float | None]) -> dict[str, float | None]:
    """Held-out metrics under the names used everywhere: as they come, but `loss` becomes `eval_loss`."""
    return {("eval_loss" if key == "loss" else key): value for key, value in values.items()}
