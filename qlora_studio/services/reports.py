"""The quality report: what each check found, its limits, and how lengths, classes and pace are spread."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from sqlalchemy import case, func
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import ClipStatus, DatasetStatus, Task
from qlora_studio.core.errors import Conflict, InvalidInput
from qlora_studio.core.known import Known
from qlora_studio.db import engine
from qlora_studio.db.models import Clip, ClipFinding, Dataset, Exclusion, User
from qlora_studio.ingest import findings, quality
from qlora_studio.ingest.quality import Check, Checks
from qlora_studio.services import access, audit, exclusions
from qlora_studio.services.access import Action
from qlora_studio.services.datasets import get_dataset
from qlora_studio.services.job_checks import fields_of

FIRST_CLIPS = 20
MAX_BINS = 50
_FAR = 99.5  # percentile; what lies beyond is counted in the last bin


class LimitPublic(BaseModel):
    """A limit that can be set, and between what."""

    key: str
    title: str
    unit: str
    value: float
    default: float
    minimum: float
    maximum: float


class CheckPublic(BaseModel):
    """What one check found. `n_to_leave_out` is what one click would leave out; `n_left_out` what it did."""

    key: str
    title: str
    meaning: str
    action: Literal["exclude", "split", "none"]
    limits: list[LimitPublic]
    n_clips: int
    n_groups: int
    n_to_leave_out: int
    n_left_out: int
    clip_ids: list[str]


class Histogram(BaseModel):
    """Counts between neighbouring `edges`; with `is_open` the last one has those that lie farther off too."""

    edges: list[float]
    counts: list[int]
    is_open: bool = False


class LabelCount(BaseModel):
    label: str
    n_clips: int
    duration_s: float


class PaceLimits(BaseModel):
    """Characters per second: the usual, and where odd begins."""

    median: float
    low: float
    high: float


class Spread(BaseModel):
    """How lengths and characters per second are spread, and the largest classes, of the clips in use."""

    durations: Histogram
    pace: Histogram
    pace_limits: PaceLimits | None
    labels: list[LabelCount]
    n_labels: int


class Report(Spread):
    """The quality report of one version. `is_current` is false while it is computed again."""

    dataset_id: str
    version: int
    content_hash: str
    task: Task
    is_current: bool
    n_clips: int
    n_excluded: int
    n_rejected: int
    n_flagged: int
    duration_s: float
    checks: list[CheckPublic]


_spreads = Known[Spread](100)  # by content and limits


def bring_up_to_date(*, actor: User, dataset_id: str) -> None:
    """Compute what the checks find, if content or limits have changed. Opens sessions of its own.

    Raises:
        NotFound: the dataset isn't the actor's.
    """
    with engine.read() as session:
        get_dataset(session, actor=actor, dataset_id=dataset_id, action=Action.SEE)
    findings.bring_up_to_date(dataset_id)


def get_report(session: Session, *, actor: User, dataset_id: str) -> Report:
    """Return the report as it was last computed; `bring_up_to_date` before makes it that of now.

    Raises:
        NotFound: the dataset isn't the actor's.
        Conflict: it isn't ready.
    """
    dataset = get_dataset(session, actor=actor, dataset_id=dataset_id, action=Action.SEE)
    _require_ready(dataset)
    content = (dataset.id, dataset.task, dataset.content_hash, findings.key_of(dataset))
    spread = _spreads.get(content, lambda: _spread(session, dataset))
    return Report(
        dataset_id=dataset.id,
        version=dataset.version,
        content_hash=dataset.content_hash,
        task=dataset.task,
        is_current=dataset.report_key == findings.key_of(dataset),
        n_clips=dataset.n_clips,
        n_excluded=dataset.n_excluded,
        n_rejected=dataset.n_rejected,
        n_flagged=_count_flagged(session, dataset_id),
        duration_s=dataset.duration_s,
        checks=_checks(session, dataset),
        **dict(spread),
    )


def set_limits(
    session: Session, *, actor: User, dataset_id: str, limits: Mapping[str, float | None]
) -> Dataset:
    """Set some limits of the report; None sets one back to its default. The content stays as it is.

    Raises:
        NotFound: the dataset isn't the actor's.
        InvalidInput: there is no such limit, or it is out of bounds.
    """
    access.require_role(actor, of="dataset")
    dataset = get_dataset(session, actor=actor, dataset_id=dataset_id)
    wanted = {**findings.limits_of(dataset).model_dump(exclude_unset=True), **limits}
    try:
        checked = Checks.model_validate({k: v for k, v in wanted.items() if v is not None})
    except ValidationError as error:
        raise InvalidInput("Some limits are wrong.", fields=fields_of(error)) from error
    if unknown := [key for key in limits if key not in Checks.model_fields]:
        raise InvalidInput("Some limits are wrong.", fields={unknown[0][:40]: "There is no such limit."})
    dataset.checks = checked.model_dump(exclude_unset=True)
    session.add(dataset)
    audit.record(
        session,
        actor=actor,
        action="dataset.limits",
        object_type="dataset",
        object_id=dataset.id,
        object_name=dataset.name,
        details=dict(dataset.checks),
    )
    return dataset


def list_findings(session: Session, *, clip_ids: Sequence[str]) -> dict[str, list[ClipFinding]]:
    """What the checks say of each of these clips (a page of them). The caller checks who asks."""
    found: dict[str, list[ClipFinding]] = {}
    query = select(ClipFinding).where(col(ClipFinding.clip_id).in_(clip_ids))
    for finding in session.exec(query.order_by(col(ClipFinding.check))):
        found.setdefault(finding.clip_id, []).append(finding)
    return found


def list_labels(session: Session, *, dataset_id: str) -> tuple[list[LabelCount], int]:
    """Return the largest classes of the clips in use, and how many there are. The caller checks who asks."""
    where = (
        col(Clip.dataset_id) == dataset_id,
        col(Clip.status) == ClipStatus.OK,
        col(Clip.label).is_not(None),
    )
    query = select(Clip.label, func.count(), func.sum(Clip.duration_s)).where(*where).group_by(Clip.label)
    rows = session.exec(query.order_by(func.count().desc(), col(Clip.label)).limit(MAX_BINS))
    found = [LabelCount(label=label, n_clips=n, duration_s=float(s or 0)) for label, n, s in rows]
    if len(found) < MAX_BINS:
        return found, len(found)
    return found, session.exec(select(func.count(func.distinct(col(Clip.label)))).where(*where)).one()


def histogram(values: NDArray[np.float64]) -> Histogram:
    """Count values in bins of equal width. A few that lie very far off are counted in the last."""
    if len(values) == 0:
        return Histogram(edges=[], counts=[])
    low, high = float(values.min()), float(values.max())
    far = low + 2 * (float(np.percentile(values, _FAR)) - low)
    is_open = low < far < high
    n_bins = int(np.clip(np.ceil(2 * len(values) ** (1 / 3)), 5, MAX_BINS))  # Rice's rule
    shown = np.minimum(values, far) if is_open else values
    counts, edges = np.histogram(shown, bins=n_bins)
    return Histogram(edges=[round(float(e), 4) for e in edges], counts=counts.tolist(), is_open=is_open)


def _spread(session: Session, dataset: Dataset) -> Spread:
    durations, paces, all_paces = _values(session, dataset.id)
    if dataset.task not in quality.BY_KEY["odd_pace"].tasks:
        paces = all_paces = np.zeros(0)
    limits = quality.pace_from(all_paces, findings.limits_of(dataset))
    labels, n_labels = list_labels(session, dataset_id=dataset.id)
    return Spread(
        durations=histogram(durations),
        pace=histogram(paces),
        pace_limits=PaceLimits(median=limits.median, low=limits.low, high=limits.high) if limits else None,
        labels=labels,
        n_labels=n_labels,
    )


def _checks(session: Session, dataset: Dataset) -> list[CheckPublic]:
    mine = col(ClipFinding.dataset_id) == dataset.id
    query = select(ClipFinding.check, func.count(), func.count(func.distinct(col(ClipFinding.group))))
    counts = {c: (n, groups) for c, n, groups in session.exec(query.where(mine).group_by(ClipFinding.check))}
    out = (col(Exclusion.dataset_id) == dataset.id, col(Clip.status) == ClipStatus.EXCLUDED)
    left_out = dict(
        session.exec(
            select(Exclusion.check, func.count())
            .join(Clip, col(Clip.exclusion_id) == col(Exclusion.id))
            .where(*out)
            .group_by(Exclusion.check)
        ).all()
    )
    able = exclusions.count_excludable(session, dataset_id=dataset.id)
    limits = findings.limits_of(dataset)
    shown = [check for check in quality.CHECKS if dataset.task in check.tasks]
    return [
        CheckPublic(
            key=check.key,
            title=check.title,
            meaning=check.meaning,
            action=check.action,
            limits=[_limit(limits, key) for key in check.limits],
            n_clips=counts.get(check.key, (0, 0))[0],
            n_groups=counts.get(check.key, (0, 0))[1],
            n_to_leave_out=able.get(check.key, 0),
            n_left_out=left_out.get(check.key, 0),
            clip_ids=_first_clips(session, dataset.id, check) if check.key in counts else [],
        )
        for check in shown
    ]


def _limit(limits: Checks, key: str) -> LimitPublic:
    schema = Checks.model_json_schema()["properties"][key]
    return LimitPublic(
        key=key,
        title=schema["title"],
        unit=schema["unit"],
        value=getattr(limits, key),
        default=schema["default"],
        minimum=schema["minimum"],
        maximum=schema["maximum"],
    )


def _first_clips(session: Session, dataset_id: str, check: Check) -> list[str]:
    query = (
        select(ClipFinding.clip_id)
        .join(Clip, col(Clip.id) == col(ClipFinding.clip_id))
        .where(col(ClipFinding.dataset_id) == dataset_id, col(ClipFinding.check) == check.key)
        .order_by(col(ClipFinding.group), col(Clip.position))
    )
    return list(session.exec(query.limit(FIRST_CLIPS)))


def _count_flagged(session: Session, dataset_id: str) -> int:
    in_use = (col(ClipFinding.dataset_id) == dataset_id, col(Clip.status) == ClipStatus.OK)
    query = select(func.count(func.distinct(col(ClipFinding.clip_id)))).join(
        Clip, col(Clip.id) == col(ClipFinding.clip_id)
    )
    return session.exec(query.where(*in_use)).one()


def _values(session: Session, dataset_id: str) -> tuple[NDArray[np.float64], ...]:
    """Seconds of clips in use, characters per second of those with words, and of those left out as well."""
    n_characters = func.length(func.trim(func.coalesce(Clip.text, "")))
    is_used = case((col(Clip.status) == ClipStatus.OK, 1), else_=0)
    where = (col(Clip.dataset_id) == dataset_id, col(Clip.status) != ClipStatus.REJECTED)
    query = select(Clip.duration_s, n_characters, is_used).where(*where)
    rows = session.exec(query.order_by(col(Clip.position))).all()  # as they lie on the disk
    seconds, characters, used = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    spoken = (seconds > 0) & (characters > 0)
    pace = np.divide(characters, seconds, out=np.zeros_like(seconds), where=spoken)
    return seconds[used == 1], pace[spoken & (used == 1)], pace[spoken]


def _require_ready(dataset: Dataset) -> None:
    if dataset.status is not DatasetStatus.READY:
        raise Conflict("The dataset isn't ready yet.")
