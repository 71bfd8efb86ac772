"""The inference process as the web side sees it: started on demand, asked by one thread, ended when idle.

A request is a `Ticket`: it waits its turn, runs, and ends with an answer, a refusal or because it was called
off. A process that crashes or hangs costs the request that did it; the next one starts another.
"""

import contextlib
import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from qlora_studio.contracts.inference import EngineAnswer, EngineRequest
from qlora_studio.core.errors import Conflict, InvalidInput, StudioError, TooManyTries, Unavailable
from qlora_studio.core.ids import new_id
from qlora_studio.core.settings import get_settings
from qlora_studio.ingest.child import Child
from qlora_studio.launchers.local import engine_environment
from qlora_studio.storage import layout

COMMAND = (sys.executable, "-m", "qlora_studio.engine")
MAX_WAITING = 8
MAX_WAITING_EACH = 2  # of one account
_LOOK_EVERY_S = 0.1
_HEED_WITHIN_S = 3.0  # a cancel; then the process is ended
_LIMIT_S = 1800.0
_MAX_ANSWER_BYTES = 8 << 20
_MAX_LOG_BYTES = 4 << 20
_BUSY = "Too many clips are waiting to be heard. Try again in a moment."
_CALLED_OFF = "Cancelled."
_log = logging.getLogger(__name__)


@dataclass
class Ticket:
    """One request: where it stands, and at the end its answer or the error to show.

    Attributes:
        request: the body without its id, which the process's own numbering gives.
        label: what is being done, for people.
        percent: how far that is, 0 to 100.
    """

    owner_id: str
    request: dict[str, Any]
    id: str = field(default_factory=lambda: new_id("try"))
    status: Literal["waiting", "running", "done"] = "waiting"
    label: str = "Waiting"
    percent: int = 0
    answer: EngineAnswer | None = None
    error: StudioError | None = None
    is_cancelled: bool = False
    ended: threading.Event = field(default_factory=threading.Event)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    _told: list[Callable[[], object]] = field(default_factory=list, repr=False)

    def begin(self) -> bool:
        """Say that its turn has come; False if it was called off before."""
        with self._lock:
            if self.ended.is_set():
                return False
            self.status = "running"
            return True

    def cancel(self) -> None:
        """Ask for it to end: at once if it waits, else soon."""
        with self._lock:
            self.is_cancelled = True
            if self.status == "waiting":
                self.end(error=Conflict(_CALLED_OFF))

    def when_ended(self, tell: Callable[[], object]) -> None:
        """Have a function called once it has ended, by whichever thread ends it; now if it has."""
        with self._lock:
            if not self.ended.is_set():
                self._told.append(tell)
                return
        tell()

    def result(self, timeout_s: float | None = None) -> EngineAnswer:
        """Wait for the answer.

        Raises:
            StudioError: why there is none.
            TimeoutError: not yet.
        """
        if not self.ended.wait(timeout_s):
            raise TimeoutError
        if self.error is not None:
            raise self.error
        assert self.answer is not None
        return self.answer

    def end(self, *, answer: EngineAnswer | None = None, error: StudioError | None = None) -> None:
        with self._lock:
            if self.ended.is_set():
                return
            self.answer, self.error, self.status = answer, error, "done"
            self.ended.set()
        for tell in self._told:
            tell()


class EngineHost:
    """One inference process and the queue before it.

    Args:
        command: the process's command line.
        idle_s: end the process when nothing was asked for so long; by default as the settings say.
        must_leave_gpu: whether a training wants the GPU: asked before each request, and every second of
            idleness while the process may hold one. True ends such a process; the next one runs on the CPU.
    """

    def __init__(
        self,
        command: Sequence[str] = COMMAND,
        *,
        idle_s: float | None = None,
        must_leave_gpu: Callable[[], bool] = lambda: False,
    ) -> None:
        self._command, self._idle_s, self._must_leave_gpu = list(command), idle_s, must_leave_gpu
        self._open: list[Ticket] = []  # the one that runs, and those that wait
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._child: Child | None = None
        self._n_asked = 0
        self._may_hold_gpu = False  # once asked to use one, a process has it until it ends
        self._has_machine_gpu = True  # until an answer shows that it has none

    @property
    def is_warm(self) -> bool:
        """Whether a process is there."""
        return self._child is not None and self._child.is_there()

    def submit(self, ticket: Ticket) -> None:
        """Put a request into the queue.

        Raises:
            TooManyTries: too many wait, of this account or of all.
        """
        with self._changed:
            self._forget_ended()
            mine = sum(other.owner_id == ticket.owner_id for other in self._open)
            if len(self._open) >= MAX_WAITING or mine >= MAX_WAITING_EACH:
                raise TooManyTries(_BUSY, retry_after_s=5)
            self._open.append(ticket)
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
                self._thread.start()

    def is_asked_about(self, path: Path) -> bool:
        """Whether a request that waits or runs is about a file of samples."""
        with self._changed:
            self._forget_ended()
            return any(ticket.request.get("samples_path") == str(path) for ticket in self._open)

    def _forget_ended(self) -> None:
        self._open = [ticket for ticket in self._open if not ticket.ended.is_set()]

    def _work(self) -> None:
        idle_since = time.monotonic()
        while True:
            with self._changed:
                self._changed.wait_for(self._has_work, timeout=min(1.0, self._limit_of_idleness()))
                ticket = self._open[0] if self._has_work() else None
            if ticket is not None:
                self._try_to_serve(ticket)
                idle_since = time.monotonic()
            elif self._is_over(time.monotonic() - idle_since):
                with self._changed:
                    if self._has_work():
                        continue
                    self._end_child()
                    self._thread = None
                return

    def _has_work(self) -> bool:
        self._forget_ended()
        return bool(self._open)

    def _limit_of_idleness(self) -> float:
        return get_settings().engine_idle_s if self._idle_s is None else self._idle_s

    def _is_over(self, idle_s: float) -> bool:
        if idle_s >= self._limit_of_idleness():
            return True
        return self._may_hold_gpu and self._has_machine_gpu and self._is_gpu_wanted()

    def _is_gpu_wanted(self) -> bool:
        try:
            return self._must_leave_gpu()
        except Exception as error:  # the database is busy, say: look again in a second
            _log.warning("inference: whether a training wants the GPU can't be told (%s)", error)
            return False

    def _try_to_serve(self, ticket: Ticket) -> None:
        try:
            self._serve(ticket)
        except Exception:
            _log.exception("inference: request %s", ticket.id)
            self._end_child()
            ticket.end(error=Unavailable("The model could not answer. Try again in a moment."))
        with self._changed:
            self._open = [other for other in self._open if other is not ticket]

    def _serve(self, ticket: Ticket) -> None:
        if not ticket.begin():
            return
        if self._is_gpu_wanted():
            ticket.request = {**ticket.request, "device": "cpu"}
            if self._may_hold_gpu and self._has_machine_gpu:
                self._end_child()
        try:
            child = self._ready()
        except OSError:
            ticket.end(error=Unavailable("The program that runs models can't be started. Try again."))
            return
        self._n_asked += 1
        request = EngineRequest.model_validate({**ticket.request, "id": self._n_asked})
        self._may_hold_gpu = self._may_hold_gpu or request.device == "auto"
        try:
            child.ask(request.model_dump(mode="json"))
            self._follow(ticket, child, self._n_asked)
        except OSError:
            how = child.how_it_ended()
            self._end_child()
            _log.warning("inference: the process ended (%s)", how)
            message = f"The program that runs models ended unexpectedly ({how}). Try again."
            ticket.end(error=Conflict(_CALLED_OFF) if ticket.is_cancelled else Unavailable(message))

    def _ready(self) -> Child:
        if self._child is None or not self._child.is_there():
            self._end_child()
            log_path = layout.data_path() / "logs" / "engine.log"
            log_path.parent.mkdir(parents=True, exist_ok=True)
            if log_path.exists() and log_path.stat().st_size > _MAX_LOG_BYTES:
                log_path.unlink()
            self._child = Child(
                self._command,
                max_answer_bytes=_MAX_ANSWER_BYTES,
                environment=engine_environment(),
                log_path=log_path,
                own_session=True,
            )
        return self._child

    def _follow(self, ticket: Ticket, child: Child, number: int) -> None:
        """Take what the process says of a request until it is done with it.

        Raises:
            OSError: it has ended.
        """
        deadline, heed_by = time.monotonic() + _LIMIT_S, float("inf")
        while True:
            now = time.monotonic()
            if ticket.is_cancelled and heed_by == float("inf"):
                child.ask({"cancel": number})
                heed_by = now + _HEED_WITHIN_S
            if now > min(deadline, heed_by):
                self._end_child()
                too_long = "This took more than half an hour. Choose a shorter clip or a smaller model."
                ticket.end(error=Conflict(_CALLED_OFF if ticket.is_cancelled else too_long))
                return
            with contextlib.suppress(TimeoutError):
                if self._take(ticket, json.loads(child.read_line(_LOOK_EVERY_S)), number):
                    return

    def _take(self, ticket: Ticket, said: dict[str, Any], number: int) -> bool:
        """Note one line; whether it was the last about this request."""
        if said.get("id") != number:
            return False
        if "progress" in said:
            ticket.label, ticket.percent = said["progress"]["label"], said["progress"]["percent"]
            return False
        if "answer" in said:
            answer = EngineAnswer.model_validate(said["answer"])
            if ticket.request.get("device", "auto") == "auto":
                self._has_machine_gpu = answer.device == "cuda"
            ticket.end(answer=answer)
        elif "refusal" in said:
            ticket.end(error=InvalidInput(str(said["refusal"])))
        else:
            ticket.end(error=Conflict(_CALLED_OFF))
        return True

    def _end_child(self) -> None:
        if self._child is not None:
            self._child.end()
        self._child, self._may_hold_gpu = None, False
