"""`qlora-studio train SPEC.yaml`: the whole job from one file, with no server running.

If a server supervises the same data folder, it runs the job and this only watches.
"""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from sqlmodel import col, select

from qlora_studio.commands.console import (
    FAILED,
    LOST,
    STOPPED,
    JsonFlag,
    UserName,
    command,
    end,
    find_actor,
    print_json,
    print_line,
    say,
)
from qlora_studio.commands.datasets import EXAMPLE, add_dataset
from qlora_studio.commands.models import STARTERS, add_model, is_folder
from qlora_studio.commands.queue import headline
from qlora_studio.commands.watching import SHOWN_METRICS, see_through
from qlora_studio.contracts.enums import DatasetStatus, JobStatus, ModelStatus, Task, TrainingType
from qlora_studio.contracts.metrics import METRICS
from qlora_studio.contracts.spec import TrainSpec
from qlora_studio.core.errors import Conflict, InvalidInput, NotFound
from qlora_studio.core.ids import is_id
from qlora_studio.db import engine as db
from qlora_studio.db.models import BaseAudioModel, Dataset, Job, User
from qlora_studio.services import datasets, jobs, models, queue, rehearsals
from qlora_studio.services.access import Action
from qlora_studio.services.job_schemas import JobPublic
from qlora_studio.services.rehearsals import RehearsalPublic

_LOOK_EVERY_S = 0.2
MAX_SPEC_BYTES = 256 * 1024
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


def report(actor: User, job: Job, *, as_json: bool) -> None:
    """Print how a job ended."""
    with db.read() as session:
        view = jobs.get_view(session, actor=actor, job_id=job.id)
    if as_json:
        print_json(JobPublic.of(view))
        return
    print_line(f"{job.id} {job.status.value}" + (f": {job.message}" if job.message else ""))
    before, after = view.job.base_metrics, view.job.best_metrics or view.job.last_metrics
    for name in SHOWN_METRICS:
        if before.get(name) is not None and after.get(name) is not None:
            metric = METRICS[name]
            print_line(f"  {metric.short} {metric.text(before[name])} -> {metric.text(after[name])}")
    if view.adapter_id:
        print_line(f"  adapter {view.adapter_id}: qlora-studio adapters download {view.adapter_id}")
