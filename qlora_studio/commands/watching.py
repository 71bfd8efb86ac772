"""Seeing jobs through to their end from the command line: what is shown meanwhile, and what Ctrl-C does."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from qlora_studio.commands.console import err, say
from qlora_studio.contracts.enums import StopMode
from qlora_studio.contracts.events import (
    EvalEvent,
    Event,
    MetricEvent,
    PhaseEvent,
    ProgressEvent,
    WarningEvent,
)
from qlora_studio.contracts.metrics import METRICS
from qlora_studio.core.errors import Conflict, NotFound
from qlora_studio.db import engine as db
from qlora_studio.db.models import Job, User
from qlora_studio.jobs import notices, supervisor
from qlora_studio.services import deliveries, jobs, mlflow

TELL_WITHIN_S = 20.0
SHOWN_METRICS = tuple(
    "wer cer accuracy macro_f1 der missed_speech false_alarm confusion "
    "reward_accuracy reward_margin eval_loss mel_distance clap".split()
)


def see_through(actor: User, job_id: str, *, quiet: bool) -> Job:
    """Wait until a job has ended, showing how it goes. Ctrl-C stops it and keeps the adapter, again ends it.

    Raises:
        NotFound: somebody has deleted it meanwhile.
    """

    def stop(mode: StopMode) -> None:
        with db.write() as session:
            jobs.stop(session, actor=actor, job_id=job_id, mode=mode)

    ended = see_all_through({job_id: ""}, stop=stop, quiet=quiet)
    if not ended:
        raise NotFound(f"{job_id} was deleted before it began.")
    return ended[0]


def see_all_through(
    names: Mapping[str, str], *, stop: Callable[[StopMode], None], quiet: bool
) -> Sequence[Job]:
    """Wait until all of these jobs have ended, as many at once as there are slots, showing how they go.

    What their ends tell is sent before this returns, as far as that is quick; a server sends the rest.

    Args:
        names: what each job is called in what is shown, by id.
        stop: asks all of them to end; called by Ctrl-C (or SIGTERM) with `SAVE`, by the next with `KILL`.
        quiet: show nothing.

    Returns:
        The jobs in this order, without those that were deleted meanwhile.
    """
    with db.read() as session:
        pages = frozenset[str]().union(*(notices.pages_of(session, job_id) for job_id in names))
    sender = deliveries.Sender(pages=pages)
    sender.start()
    mlflow.start()
    try:
        with _interruptions(stop), _Display(names, quiet=quiet) as display:
            return supervisor.run_until_done(list(names), on_event=display.show, on_end=display.end)
    finally:
        sender.finish(TELL_WITHIN_S)
        mlflow.stop(TELL_WITHIN_S)


@contextmanager
def _interruptions(stop: Callable[[StopMode], None]) -> Iterator[None]:
    """Turn the first Ctrl-C (or SIGTERM) into stop-and-keep, the next into an immediate end."""
    modes = iter([StopMode.SAVE])

    def ask() -> None:
        mode = next(modes, StopMode.KILL)
        say("Stopping, and keeping what was learnt …" if mode is StopMode.SAVE else "Ending it at once …")
        with suppress(Conflict):  # it ended by itself meanwhile
            stop(mode)

    def on_signal(_number: int, _frame: object) -> None:
        # In a thread: the signal may have come in the middle of a transaction of this one.
        threading.Thread(target=ask).start()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Display:
    """Phase, bar, loss and held-out metric of each job, redrawn in place on a terminal, else plain lines."""

    def __init__(self, names: Mapping[str, str], *, quiet: bool) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[numbers]}"))
        self._progress = Progress(
            *columns, TimeElapsedColumn(), console=err, disable=quiet or not err.is_terminal
        )
        self._is_plain = not quiet and not err.is_terminal
        self._rows = {job_id: _Row(f"{name}: " if name else "") for job_id, name in names.items()}

    def __enter__(self) -> "_Display":
        self._progress.start()
        for row in self._rows.values():
            row.task = self._progress.add_task(
                f"{row.prefix}Waiting in the queue", total=None, start=False, numbers=""
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, job_id: str, event: Event) -> None:
        """Take one event of a job's worker in."""
        row = self._rows[job_id]
        self._progress.start_task(row.task)
        if isinstance(event, PhaseEvent):
            self._progress.update(row.task, description=row.prefix + event.label)
            self._say(row, event.label)
        elif isinstance(event, ProgressEvent):
            self._progress.update(row.task, completed=event.step, total=event.total_steps)
        elif isinstance(event, MetricEvent):
            self._note(row, event.values, ("loss", "samples_per_s"))
        elif isinstance(event, EvalEvent):
            prefix = "base " if event.base else ""
            values = event.values | {"eval_loss": event.values.get("loss")}
            self._note(row, values, SHOWN_METRICS, prefix=prefix)
            self._say(row, f"step {event.step}: " + ", ".join(f"{k} {v}" for k, v in row.numbers.items()))
        elif isinstance(event, WarningEvent):
            say(f"{row.prefix}warning: {event.message}")

    def end(self, job: Job) -> None:
        """Show how one of several jobs has ended; of one alone the caller tells more."""
        row = self._rows[job.id]
        self._progress.stop_task(row.task)
        if row.prefix:
            self._progress.update(row.task, description=f"{row.prefix}{job.status.value}")
            self._say(row, job.status.value + (f": {job.message}" if job.message else ""))

    def _note(
        self, row: "_Row", values: dict[str, float | None], names: tuple[str, ...], prefix: str = ""
    ) -> None:
        for name in names:
            value = values.get(name)
            if value is not None:
                metric = METRICS.get(name)
                row.numbers[prefix + name] = metric.text(value) if metric else f"{value:.3g}"
        text = "  ".join(f"{name} {value}" for name, value in row.numbers.items())
        self._progress.update(row.task, numbers=text)

    def _say(self, row: "_Row", text: str) -> None:
        if self._is_plain:
            say(row.prefix + text)


class _Row:
    """What is shown of one job."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.task = TaskID(0)
        self.numbers: dict[str, str] = {}
