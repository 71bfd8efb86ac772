"""`qlora-studio train SPEC.yaml`: the whole job from one file, with no server running.

If a server supervises the same data folder, it runs the job and this only watches.
"""

import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from sqlmodel import col, select

from qlora_studio.commands.console import (
    FAILED,
    LOST,
    STOPPED,
    JsonFlag,
    UserName,
    command,
    end,
    err,
    find_actor,
    print_json,
    print_line,
    say,
)
from qlora_studio.commands.datasets import EXAMPLE, add_dataset
from qlora_studio.commands.models import STARTERS, add_model, is_folder
from qlora_studio.commands.queue import headline
from qlora_studio.contracts.enums import DatasetStatus, JobStatus, ModelStatus, StopMode, Task, TrainingType
from qlora_studio.contracts.events import (
    EvalEvent,
    Event,
    MetricEvent,
    PhaseEvent,
    ProgressEvent,
    WarningEvent,
)
from qlora_studio.contracts.metrics import METRICS
from qlora_studio.contracts.spec import TrainSpec
from qlora_studio.core.errors import Conflict, InvalidInput, NotFound
from qlora_studio.core.ids import is_id
from qlora_studio.db import engine as db
from qlora_studio.db.models import BaseAudioModel, Dataset, Job, User
from qlora_studio.jobs import notices, supervisor
from qlora_studio.services import datasets, deliveries, jobs, mlflow, models, queue, rehearsals
from qlora_studio.services.access import Action
from qlora_studio.services.job_schemas import JobPublic
from qlora_studio.services.rehearsals import RehearsalPublic

_LOOK_EVERY_S = 0.2
MAX_SPEC_BYTES = 256 * 1024
TELL_WITHIN_S = 20.0
_SHOWN = tuple(
    "wer cer accuracy macro_f1 der missed_speech false_alarm confusion "
    "reward_accuracy reward_margin eval_loss mel_distance clap".split()
)
_EXIT_CODES = {JobStatus.SUCCEEDED: 0, JobStatus.STOPPED: STOPPED, JobStatus.LOST: LOST}


@command
def train(
    spec: Annotated[
        Path, typer.Argument(help="The job as YAML (the wizard shows it).", exists=True, dir_okay=False)
    ],
    *,
    fresh: Annotated[bool, typer.Option(help="Take folders in again even if they are known.")] = False,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Only try one step and say what it takes.")
    ] = False,
    after: Annotated[str, typer.Option(help="Start when this job has ended.")] = "",
    if_succeeded: Annotated[
        bool, typer.Option("--if-succeeded", help="With --after: only if that job has succeeded.")
    ] = False,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Train from a YAML file. Ctrl-C stops and keeps the adapter; a second one ends it at once.

    `dataset_id` and `model_id` may be ids, folders, a Hugging Face id, or the words “example”,
    “starter” and “starter-sound”.
    Exit code: 0 succeeded, 1 failed, 2 wrong input, 3 stopped, 4 lost.
    """
    actor = find_actor(user)
    data = read_spec(spec)
    dataset, wanted = str(data.get("dataset_id", "")), wanted_task(data)
    data["dataset_id"] = resolve_dataset(actor, dataset, spec.parent, fresh=fresh, task=wanted)
    task = task_of(actor, data["dataset_id"])
    data["model_id"] = resolve_model(actor, str(data.get("model_id", "")), spec.parent, task, fresh=fresh)
    data |= {"after_job_id": after} if after else {}
    data |= {"after_condition": "succeeded"} if if_succeeded else {}
    parsed = jobs.parse_spec(data)
    if rehearse:
        end(0 if try_one_step(actor, parsed, as_json=as_json) else FAILED)
        return
    with db.write() as session:
        job = jobs.submit(session, actor=actor, spec=parsed)
    say(f"{job.id}: {job.name}")
    say_if_paused(actor)
    job = see_through(actor, job.id, quiet=as_json)
    report(actor, job, as_json=as_json)
    end(_EXIT_CODES.get(job.status, FAILED))


def try_one_step(actor: User, spec: TrainSpec, *, as_json: bool) -> bool:
    """Rehearse a job, waiting for a device; print what came of it, and return whether it works.

    Ctrl-C calls it off.

    Raises:
        InvalidInput: the spec does not fit the data.
    """
    with db.read() as session:
        found = rehearsals.start(session, actor=actor, spec=spec, is_waiting=True)
    shown = ""
    try:
        while found.status != "done":
            if found.label != shown and not as_json:
                shown = found.label
                say(shown)
            time.sleep(_LOOK_EVERY_S)
    finally:
        rehearsals.cancel(found.id, actor=actor)
    assert found.report is not None
    if as_json:
        print_json(RehearsalPublic.of(found))
        return found.report.ok
    print_line(found.report.message)
    if found.report.ok:
        peak = found.report.peak_gpu_bytes or found.report.peak_rss_bytes or 0
        print_line(
            f"  memory {peak / 1e9:.1f} GB (forecast {found.forecast['memory']['total_bytes'] / 1e9:.1f})"
        )
        print_line(f"  one step {found.report.step_s:.2f} s, all steps {rehearsals.steps_s(found):.0f} s")
        print_line(f"  {found.report.n_clips_read} of {found.report.n_clips} clips read")
    return found.report.ok


def read_spec(path: Path) -> dict[str, Any]:
    """Read the YAML of a job. Only plain values are understood, whatever tags the file holds.

    Raises:
        InvalidInput: too large, not YAML, or not a mapping.
    """
    if path.stat().st_size > MAX_SPEC_BYTES:
        raise InvalidInput(f"{path.name} is too large to be a job.")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"{path.name} is not valid YAML.") from error
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise InvalidInput(f"{path.name} should hold the job's keys, such as name, dataset_id and model_id.")
    return data


def wanted_task(data: dict[str, Any]) -> Task | None:
    """What a folder is taken in for, where the job's spec says so."""
    return Task.TEXT_TO_AUDIO if data.get("training_type") == TrainingType.PREFERENCE else None


def resolve_dataset(
    actor: User, given: str, base: Path, *, fresh: bool = False, task: Task | None = None
) -> str:
    """Turn what a spec calls its dataset into an id; a folder is taken in first, for a task if one is given.

    Raises:
        InvalidInput: it can't be found or taken in.
    """
    if is_id(given, "ds"):
        return given
    source = _as_source(given, base, words=[EXAMPLE], field="dataset_id")
    known = None if fresh or source == EXAMPLE else _find_known(Dataset, actor, source, task)
    if known is not None and known.status == DatasetStatus.READY:
        say(f"Using {known.id} (version {known.version}) taken in from there; --fresh takes it in again.")
        return known.id
    dataset = add_dataset(actor, source, task=task or Task.SPEECH_TO_TEXT)
    if dataset.status != DatasetStatus.READY:
        raise InvalidInput(f"The dataset can't be used: {dataset.error or dataset.status.value}")
    return dataset.id


def task_of(actor: User, dataset_id: str) -> Task | None:
    """What a dataset is for; None if there is no such dataset, which is told later."""
    with db.read() as session:
        try:
            return datasets.get_dataset(session, actor=actor, dataset_id=dataset_id, action=Action.SEE).task
        except NotFound:
            return None


def resolve_model(actor: User, given: str, base: Path, task: Task | None, *, fresh: bool = False) -> str:
    """Turn what a spec calls its model into an id; a folder or Hub id is added first, for the dataset's task.

    Raises:
        InvalidInput: it can't be found or trained.
    """
    if is_id(given, "mod"):
        return given
    is_hub_id = given.count("/") == 1 and not is_folder(given) and not (base / given).is_dir()
    source = given if is_hub_id else _as_source(given, base, words=STARTERS, field="model_id")
    known = None if fresh or source in STARTERS else _find_known(BaseAudioModel, actor, source, task)
    if known is not None and known.status == ModelStatus.READY and _is_unchanged(known):
        return known.id
    model = add_model(actor, source, task=None if source in STARTERS else task)
    if model.status != ModelStatus.READY:
        raise InvalidInput(f"The model can't be used: {model.error or model.status.value}")
    return model.id


def _as_source(given: str, base: Path, *, words: Iterable[str], field: str) -> str:
    if given in words:
        return given
    folder = (base / Path(given).expanduser()).resolve() if given else None
    if folder is None or not folder.is_dir():
        listed = " nor ".join(f"“{word}”" for word in words)
        sentence = f"“{given}” is neither an id, nor a folder, nor {listed}."
        raise InvalidInput(sentence, fields={field: sentence})
    return str(folder)


def _find_known(table: Any, actor: User, source: str, task: Task | None = None) -> Any:
    """The newest item of the actor that came from this folder or Hub id (and is for this task)."""
    mine = select(table).where(table.owner_id == actor.id).order_by(col(table.created_at).desc())
    if task is not None:
        mine = mine.where(table.task == task)
    with db.read() as session:
        return next((row for row in session.exec(mine) if source in _places(row.source)), None)


def _places(source: dict[str, Any]) -> tuple[Any, ...]:
    return (source.get("path"), source.get("repo_id"))


def _is_unchanged(model: BaseAudioModel) -> bool:
    try:
        models.check_unchanged(model)
    except Conflict:
        return False
    return True


def say_if_paused(actor: User) -> None:
    """Say that the queue is paused, and why: until it goes on nothing happens."""
    with db.read() as session:
        found = queue.get_queue(session, actor=actor)
    if found.is_paused:
        say(f"{headline(found)} “qlora-studio queue resume” lets it go on.")


def see_through(actor: User, job_id: str, *, quiet: bool) -> Job:
    """Wait until a job has ended, showing how it goes. Ctrl-C stops it and keeps the adapter.

    What its end tells is sent before this returns, as far as that is quick; a server sends the rest.
    """
    with db.read() as session:
        sender = deliveries.Sender(pages=notices.pages_of(session, job_id))
    sender.start()
    mlflow.start()
    try:
        with _interruptions(actor, job_id), _Display(quiet=quiet) as display:
            return supervisor.run_until_done(job_id, on_event=display.show)
    finally:
        sender.finish(TELL_WITHIN_S)
        mlflow.stop(TELL_WITHIN_S)


@contextmanager
def _interruptions(actor: User, job_id: str) -> Iterator[None]:
    """Turn the first Ctrl-C (or SIGTERM) into stop-and-keep, the next into an immediate end."""
    modes = iter([StopMode.SAVE])

    def ask() -> None:
        mode = next(modes, StopMode.KILL)
        say("Stopping, and keeping the adapter …" if mode is StopMode.SAVE else "Ending it at once …")
        try:
            with db.write() as session:
                jobs.stop(session, actor=actor, job_id=job_id, mode=mode)
        except Conflict:
            pass  # it ended by itself meanwhile

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
    """Phase, bar, loss and held-out metric, redrawn in place on a terminal and as plain lines elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[numbers]}"))
        self._progress = Progress(
            *columns, TimeElapsedColumn(), console=err, disable=quiet or not err.is_terminal
        )
        self._task: TaskID | None = None
        self._is_plain = not quiet and not err.is_terminal
        self._numbers: dict[str, str] = {}

    def __enter__(self) -> "_Display":
        self._progress.start()
        self._task = self._progress.add_task("Waiting in the queue", total=None, numbers="")
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, event: Event) -> None:
        """Take one event of the worker in."""
        assert self._task is not None
        if isinstance(event, PhaseEvent):
            self._progress.update(self._task, description=event.label)
            self._say(event.label)
        elif isinstance(event, ProgressEvent):
            self._progress.update(self._task, completed=event.step, total=event.total_steps)
        elif isinstance(event, MetricEvent):
            self._note(event.values, ("loss", "samples_per_s"))
        elif isinstance(event, EvalEvent):
            prefix = "base " if event.base else ""
            values = event.values | {"eval_loss": event.values.get("loss")}
            self._note(values, _SHOWN, prefix=prefix)
            self._say(f"step {event.step}: " + ", ".join(f"{k} {v}" for k, v in self._numbers.items()))
        elif isinstance(event, WarningEvent):
            say(f"warning: {event.message}")

    def _note(self, values: dict[str, float | None], names: tuple[str, ...], prefix: str = "") -> None:
        for name in names:
            value = values.get(name)
            if value is not None:
                metric = METRICS.get(name)
                self._numbers[prefix + name] = metric.text(value) if metric else f"{value:.3g}"
        if self._task is not None:
            text = "  ".join(f"{name} {value}" for name, value in self._numbers.items())
            self._progress.update(self._task, numbers=text)

    def _say(self, text: str) -> None:
        if self._is_plain:
            say(text)


def report(actor: User, job: Job, *, as_json: bool) -> None:
    """Print how a job ended."""
    with db.read() as session:
        view = jobs.get_view(session, actor=actor, job_id=job.id)
    if as_json:
        print_json(JobPublic.of(view))
        return
    print_line(f"{job.id} {job.status.value}" + (f": {job.message}" if job.message else ""))
    before, after = view.job.base_metrics, view.job.best_metrics or view.job.last_metrics
    for name in _SHOWN:
        if before.get(name) is not None and after.get(name) is not None:
            metric = METRICS[name]
            print_line(f"  {metric.short} {metric.text(before[name])} -> {metric.text(after[name])}")
    if view.adapter_id:
        print_line(f"  adapter {view.adapter_id}: qlora-studio adapters download {view.adapter_id}")
