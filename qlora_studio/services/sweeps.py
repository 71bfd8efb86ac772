"""Sweeps: one job for each combination of a few parameters' values, as one group with one table."""

import itertools
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import yaml
from pydantic import BaseModel
from sqlalchemy import func
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import TERMINAL_STATUSES, JobStatus, StopMode, TrainingType
from qlora_studio.contracts.metrics import METRICS, Metric, first_of
from qlora_studio.contracts.spec import (
    EvaluationSpec,
    OptimizationSpec,
    PreferenceSpec,
    QLoraSpec,
    Strict,
    TrainSpec,
)
from qlora_studio.core.errors import InvalidInput, NotFound
from qlora_studio.db.models import Dataset, Job, JobGroup, User
from qlora_studio.jobs import run_files
from qlora_studio.services import audit, jobs, launches, starts
from qlora_studio.services.job_access import require_trainer
from qlora_studio.services.job_checks import command_of, find_pairs, parse_spec
from qlora_studio.services.job_schemas import JobCheck, JobView, percent_of
from qlora_studio.services.preference_pairs import Pairs

MAX_AXES, MAX_JOBS = 3, 64
Value = bool | int | float | str
Axes = dict[str, list[Value]]
_PARTS = {
    "qlora": QLoraSpec,
    "optimization": OptimizationSpec,
    "evaluation": EvaluationSpec,
    "preference": PreferenceSpec,
}
_EITHER = {"epochs": "max_steps", "max_steps": "epochs"}  # one of them says how long a job is


class SweepCreate(Strict):
    """A job, and the values to try: `axes` maps up to three dotted keys of the spec to lists of values."""

    spec: TrainSpec
    axes: Axes


class SweepRow(BaseModel):
    """One job of a sweep: `values` by axis; `best` and `base` are of the sweep's metric."""

    job_id: str
    name: str
    values: dict[str, Value]
    status: JobStatus
    message: str | None
    percent: float
    best: float | None
    base: float | None
    is_best: bool
    adapter_id: str | None


class SweepPublic(BaseModel):
    """A sweep in a list. `statuses` counts its jobs."""

    id: str
    name: str
    axes: Axes
    created_at: datetime
    n_jobs: int
    statuses: dict[JobStatus, int]


class SweepDetail(SweepPublic):
    """A sweep with its comparison table, best first where there is a result. `metric` is what decides."""

    metric: str
    is_higher_better: bool
    best_job_id: str | None
    rows: list[SweepRow]


# -- launching -----------------------------------------------------------------------------------------


def submit(
    session: Session,
    *,
    actor: User,
    spec: TrainSpec,
    axes: Mapping[str, Sequence[Value]],
    launch_key: str = "",
) -> JobGroup:
    """Queue one job for each combination of the axes' values: all of them or none.

    Args:
        launch_key: the same key from the same person gives the same sweep and makes nothing twice.

    Raises:
        Forbidden: the actor may not train.
        InvalidInput: an axis or a combination is wrong; `fields` says which.
        TooLarge: the actor would have more jobs in the queue than one may have.
        StorageFull, Unavailable: the run folders could not be written.
    """
    require_trainer(actor)
    key = f"{actor.id}:{launch_key}"[:200] if launch_key else None
    if key and (existing := session.exec(select(JobGroup).where(JobGroup.launch_key == key)).first()):
        return existing
    specs = expand(spec, axes)
    launches.require_room(session, actor=actor, n_jobs=len(specs))
    name = " ".join(spec.name.split())
    kept = {axis: list(values) for axis, values in axes.items()}
    group = JobGroup(owner_id=actor.id, name=name, axes=kept, launch_key=key)
    session.add(group)
    session.flush()
    first = launches.submit(session, actor=actor, spec=specs[0], group_id=group.id)
    pairs = _pairs(session, first)
    for one in specs[1:]:
        launches.submit(
            session, actor=actor, spec=one, group_id=group.id, same_clips_as=first.id, pairs=pairs
        )
    _audit(session, actor, "sweep.create", group, n_jobs=len(specs))
    return group


def _pairs(session: Session, first: Job) -> Pairs | None:
    """What all jobs of a sweep learn from if it is pairs: found once, as all are checked."""
    if first.training_type is not TrainingType.PREFERENCE:
        return None
    return find_pairs(session, session.get_one(Dataset, first.dataset_id))


def expand(spec: TrainSpec, axes: Mapping[str, Sequence[Value]]) -> list[TrainSpec]:
    """Return the spec of each combination, the last axis changing fastest.

    Raises:
        InvalidInput: too many or too few, an axis that is no parameter, or a value that it can't have.
    """
    _check(spec, axes)
    found: list[TrainSpec] = []
    for combination in itertools.product(*axes.values()):
        values = dict(zip(axes, combination, strict=True))
        data = spec.model_dump(mode="json")
        for axis, value in values.items():
            part, _, key = axis.partition(".")
            data[part][key] = value
            if key in _EITHER and f"{part}.{_EITHER[key]}" not in axes:
                data[part][_EITHER[key]] = None
        data["name"] = _name(spec.name, values)
        try:
            found.append(parse_spec(data))
        except InvalidInput as error:
            raise InvalidInput(
                f"{describe(values)}: {' '.join(error.fields.values())}",
                fields={f"axes.{k}" if k in axes else k: text for k, text in error.fields.items()},
            ) from error
    return found


def add_to_check(check: JobCheck, spec: TrainSpec, axes: Axes) -> None:
    """Make the check of a sweep's first job one of the sweep: how to repeat it, what it forecasts."""
    values = {axis: tried[0] for axis, tried in axes.items()}
    check.command = command_of(spec).replace(" train ", " sweep ", 1)
    check.yaml = run_files.to_yaml(spec) + yaml.safe_dump({"sweep": axes}, sort_keys=False)
    check.warnings.insert(
        0, f"This starts {count_jobs(axes)} jobs. The forecast is of the first: {describe(values)}."
    )


def count_jobs(axes: Mapping[str, Sequence[Value]]) -> int:
    """How many jobs a sweep over these makes."""
    return math.prod(len(values) for values in axes.values())


def describe(values: Mapping[str, Value]) -> str:
    """`rank 8, learning rate 0.001`."""
    return ", ".join(f"{label_of(axis)} {text_of(value)}" for axis, value in values.items())


def label_of(axis: str) -> str:
    """The words for a dotted key."""
    return axis.rpartition(".")[2].replace("_", " ")


def text_of(value: Value) -> str:
    """A value as people write it."""
    return (
        f"{value:g}"
        if isinstance(value, float)
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
    )


def _name(name: str, values: Mapping[str, Value]) -> str:
    what = describe(values)
    return f"{name[: max(20, 118 - len(what))].rstrip()}: {what}"[:120]


def _check(spec: TrainSpec, axes: Mapping[str, Sequence[Value]]) -> None:
    if not 1 <= len(axes) <= MAX_AXES:
        _refuse("axes", f"Try values of one to {MAX_AXES} parameters, not of {len(axes)}.")
    for axis, values in axes.items():
        part, _, key = axis.partition(".")
        if part not in _PARTS or key not in _PARTS[part].model_fields:
            _refuse(f"axes.{axis}", f"“{axis}” is no parameter. Give one such as optimization.learning_rate.")
        if part == "preference" and spec.training_type is not TrainingType.PREFERENCE:
            _refuse(f"axes.{axis}", "Only preference tuning has this parameter.")
        if spec.start_adapter_id and axis in starts.AXES:
            _refuse(
                f"axes.{axis}",
                f"The {label_of(axis)} of a job that starts from an adapter is that adapter's own. "
                "Try another parameter, or start without one.",
            )
        if not values:
            _refuse(f"axes.{axis}", "Give at least one value.")
        if len({text_of(value) for value in values}) < len(values):
            _refuse(f"axes.{axis}", "A value is there twice.")
    n_jobs = count_jobs(axes)
    if not 2 <= n_jobs <= MAX_JOBS:
        _refuse("axes", f"A sweep has 2 to {MAX_JOBS} jobs; these values make {n_jobs}.")
    if {"optimization.epochs", "optimization.max_steps"} <= set(axes):
        _refuse("axes", "Try either epochs or steps, not both.")


def _refuse(field: str, sentence: str) -> None:
    raise InvalidInput(sentence, fields={field: sentence})


# -- looking -------------------------------------------------------------------------------------------


def get_group(session: Session, *, actor: User, group_id: str) -> JobGroup:
    """Return one of the actor's sweeps.

    Raises:
        NotFound: it isn't there, or isn't the actor's.
    """
    group = session.get(JobGroup, group_id)
    if group is None or group.owner_id != actor.id:
        raise NotFound("There is no such sweep.")
    return group


def list_sweeps(
    session: Session, *, actor: User, query: str = "", page: int = 1, page_size: int = 25
) -> tuple[list[SweepPublic], int]:
    """Return one page of the actor's sweeps, newest first, and how many there are in all."""
    where = [col(JobGroup.owner_id) == actor.id]
    if text := query.strip():
        where.append(col(JobGroup.name).icontains(text, autoescape=True))
    total = session.exec(select(func.count()).select_from(JobGroup).where(*where)).one()
    newest = select(JobGroup).where(*where).order_by(col(JobGroup.created_at).desc(), col(JobGroup.id))
    groups = session.exec(newest.offset((page - 1) * page_size).limit(page_size)).all()
    statuses = _statuses(session, [group.id for group in groups])
    return [SweepPublic(**_head(group, statuses[group.id])) for group in groups], total


def list_names(session: Session, *, actor: User, limit: int = 50) -> list[tuple[str, str]]:
    """Return id and name of the actor's newest sweeps."""
    mine = select(JobGroup.id, JobGroup.name).where(JobGroup.owner_id == actor.id)
    return list(session.exec(mine.order_by(col(JobGroup.created_at).desc()).limit(limit)).all())


def get_sweep(session: Session, *, actor: User, group_id: str) -> SweepDetail:
    """Return a sweep with a row for each job, in the order of their values.

    Raises:
        NotFound: it isn't the actor's.
    """
    group = get_group(session, actor=actor, group_id=group_id)
    views = jobs.list_group(session, group_id=group.id)
    metric = _metric([view.job for view in views])
    best_id = _best(metric, views)
    rows = [_row(view, group, metric, best_id) for view in views]
    return SweepDetail(
        **_head(group, _statuses(session, [group.id])[group.id]),
        metric=metric.key,
        is_higher_better=metric.is_higher_better,
        best_job_id=best_id,
        rows=rows,
    )


def _head(group: JobGroup, statuses: dict[JobStatus, int]) -> dict[str, Any]:
    same = {name: getattr(group, name) for name in ("id", "name", "axes", "created_at")}
    return same | {"n_jobs": sum(statuses.values()), "statuses": statuses}


def _statuses(session: Session, group_ids: Sequence[str]) -> dict[str, dict[JobStatus, int]]:
    """Count the jobs of each sweep by status."""
    query = (
        select(Job.group_id, Job.status, func.count())
        .where(col(Job.group_id).in_(group_ids))
        .group_by(col(Job.group_id), col(Job.status))
    )
    found: dict[str, dict[JobStatus, int]] = {group_id: {} for group_id in group_ids}
    for group_id, status, n_jobs in session.exec(query):
        if group_id is not None:
            found[group_id][status] = n_jobs
    return found


def _metric(found: list[Job]) -> Metric:
    """What decides: the metric that the jobs were asked to be judged by, where they have it."""
    wanted = found[0].spec.get("evaluation", {}).get("metric", "wer") if found else "wer"
    name = "eval_loss" if wanted == "loss" else wanted
    measured = [job.best_metrics or job.last_metrics or job.base_metrics for job in found]
    measured = [values for values in measured if values]
    if not measured or any(values.get(name) is not None for values in measured):
        return METRICS[name]
    return first_of(measured[0])


def _value(metric: Metric, job: Job) -> float | None:
    best = job.best_metrics.get(metric.key)
    return best if best is not None else job.last_metrics.get(metric.key)


def _best(metric: Metric, views: list[JobView]) -> str | None:
    """The job with the best result so far; of equal ones the first."""
    measured = [(value, view.job.id) for view in views if (value := _value(metric, view.job)) is not None]
    if not measured:
        return None
    choose = max if metric.is_higher_better else min
    return choose(measured, key=lambda item: item[0])[1]


def _row(view: JobView, group: JobGroup, metric: Metric, best_id: str | None) -> SweepRow:
    job = view.job
    values = {}
    for axis in group.axes:
        part, _, key = axis.partition(".")
        values[axis] = job.spec.get(part, {}).get(key)
    return SweepRow(
        job_id=job.id,
        name=job.name,
        values=values,
        status=job.status,
        message=job.message,
        percent=percent_of(job),
        best=_value(metric, job),
        base=job.base_metrics.get(metric.key),
        is_best=job.id == best_id,
        adapter_id=view.adapter_id,
    )


# -- changing ------------------------------------------------------------------------------------------


def stop(session: Session, *, actor: User, group_id: str, mode: StopMode = StopMode.SAVE) -> int:
    """Stop all jobs of a sweep that have not ended; returns how many those are.

    Raises:
        NotFound: it isn't the actor's.
    """
    require_trainer(actor)
    group = get_group(session, actor=actor, group_id=group_id)
    mine = select(Job.id).where(Job.group_id == group.id, col(Job.status).not_in(TERMINAL_STATUSES))
    ids = session.exec(mine.order_by(col(Job.rank).desc())).all()
    for job_id in ids:
        jobs.stop(session, actor=actor, job_id=job_id, mode=mode)
    _audit(session, actor, "sweep.stop", group, n_jobs=len(ids), mode=mode.value)
    return len(ids)


def _audit(session: Session, actor: User, action: str, group: JobGroup, **details: Any) -> None:
    audit.record(
        session,
        actor=actor,
        action=action,
        object_type="sweep",
        object_id=group.id,
        object_name=group.name,
        details=details,
    )
