"""A job as server-sent events, read from the run folder and the job's row.

An event's id is `<attempt>-<number>-<log offset>`: all that is needed to go on after it.
"""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from qlora_studio.contracts.enums import TERMINAL_STATUSES
from qlora_studio.contracts.events import EvalEvent, Event, HeartbeatEvent
from qlora_studio.db import engine as db
from qlora_studio.db.models import Job, User
from qlora_studio.jobs import logs
from qlora_studio.jobs.events import EventReader
from qlora_studio.jobs.ingest import name_eval_values
from qlora_studio.jobs.metrics import SYSTEM_KEYS
from qlora_studio.services import access
from qlora_studio.services.access import Action
from qlora_studio.services.job_schemas import is_stalled, percent_of
from qlora_studio.storage import layout

POLL_S = 0.1
STATUS_EVERY_S = 0.5
KEEP_ALIVE_S = 15.0


async def stream_events(
    user_id: str, job_id: str, last_event_id: str, is_signed_in: Callable[[], bool]
) -> AsyncIterator[str]:
    """Yield the job's events from after `last_event_id` until it has ended or is gone.

    Args:
        is_signed_in: whether who opened the stream would still be let in; asked twice a second.
    """
    watch = _Watch(user_id, job_id, last_event_id, is_signed_in)
    quiet_since = time.monotonic()
    while not watch.is_over:
        messages = await asyncio.to_thread(watch.poll)
        for message in messages:
            yield message
        now = time.monotonic()
        if messages:
            quiet_since = now
        elif now - quiet_since > KEEP_ALIVE_S:
            quiet_since = now
            yield ": still here\n\n"
        if not messages:
            await asyncio.sleep(POLL_S)


class _Watch:
    def __init__(
        self, user_id: str, job_id: str, last_event_id: str, is_signed_in: Callable[[], bool]
    ) -> None:
        attempt, seq, offset = _parse_id(last_event_id)
        self.is_over = False
        self._user_id, self._job_id, self._is_signed_in = user_id, job_id, is_signed_in
        self._attempt, self._log_offset = attempt, offset
        self._reader = self._open(attempt, seq)
        self._shown: dict[str, Any] = {}
        self._job: Job | None = None
        self._next_status = 0.0

    def _open(self, attempt: int, seq: int = 0) -> EventReader:
        return EventReader(layout.attempt_path(self._job_id, attempt) / "events.jsonl", last_seq=seq)

    def poll(self) -> list[str]:
        """What is new; runs in a thread."""
        messages: list[str] = []
        if time.monotonic() >= self._next_status:
            self._next_status = time.monotonic() + STATUS_EVERY_S
            self._job = self._read_job()
            if self._job is None:
                self.is_over = True
                return messages
        job = self._job
        assert job is not None
        is_old = self._attempt < job.attempt
        has_ended = is_old or job.status in TERMINAL_STATUSES  # so nothing is written to it any more
        place = self._reader.offset, self._log_offset
        messages += self._events()
        messages += self._log_lines(is_growing=not has_ended)
        is_read = has_ended and place == (self._reader.offset, self._log_offset)
        if is_read and is_old:
            self._attempt, self._log_offset = self._attempt + 1, 0
            self._reader = self._open(self._attempt)
            return self.poll()
        messages += self._status(job)
        self.is_over = is_read
        return messages

    def _read_job(self) -> Job | None:
        if not self._is_signed_in():
            return None
        with db.read() as session:
            user = session.get(User, self._user_id)
            if user is None or user.disabled_at is not None:
                return None
            return access.find(session, Job, self._job_id, actor=user, action=Action.SEE)

    def _status(self, job: Job) -> Iterator[str]:
        shown = {
            "status": job.status.value,
            "attempt": job.attempt,
            "is_stalled": is_stalled(job),
            "phase": job.phase,
            "reason": job.reason.value if job.reason else None,
            "message": job.message,
            "percent": percent_of(job),
        }
        if shown != self._shown:
            self._shown = shown
            yield self._message("status", shown)

    def _events(self) -> Iterator[str]:
        if self._reader.has_more():
            for event in self._reader.read():
                kind, data = _public(event)
                yield self._message(kind, data, seq=event.seq)

    def _log_lines(self, *, is_growing: bool) -> Iterator[str]:
        path = layout.attempt_path(self._job_id, self._attempt)
        part = logs.read_after(path, self._log_offset, is_growing=is_growing)
        self._log_offset = part.next_offset
        if part.lines:
            yield self._message("log", {"lines": [line.text for line in part.lines]})

    def _message(self, kind: str, data: dict[str, Any], seq: int | None = None) -> str:
        number = self._reader.last_seq if seq is None else seq
        text = json.dumps(_finite(data), allow_nan=False)
        return f"id: {self._attempt}-{number}-{self._log_offset}\nevent: {kind}\ndata: {text}\n\n"


def _public(event: Event) -> tuple[str, dict[str, Any]]:
    """The name and data of a worker's event as clients see it: every kind of number is a metric."""
    if isinstance(event, EvalEvent):
        data = {"step": event.step, "ts": event.ts, "values": name_eval_values(event.values)}
        return "metric", data | {"base": event.base, "is_best": event.is_best}
    if isinstance(event, HeartbeatEvent):
        values = {key: getattr(event, key) for key in sorted(SYSTEM_KEYS)}
        return "metric", {"step": event.step, "ts": event.ts, "values": values}
    return event.type, event.model_dump(mode="json", exclude={"v", "seq", "type"})


def _finite(data: Any) -> Any:
    """The data with what JSON has no word for (infinity, not a number) as null."""
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    return None if isinstance(data, float) and not math.isfinite(data) else data


def _parse_id(text: str) -> tuple[int, int, int]:
    try:
        attempt, seq, offset = (int(part) for part in text.split("-"))
    except ValueError:
        return 1, 0, 0
    return max(1, attempt), max(0, seq), max(0, offset)
