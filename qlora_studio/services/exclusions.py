"""Leave clips out together, by a check of the quality report or by hand, and take exactly those back."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator
from sqlalchemy import func
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import ClipStatus, DatasetStatus
from qlora_studio.contracts.spec import Strict
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import Conflict, InvalidInput, NotFound
from qlora_studio.db.models import Clip, ClipFinding, Dataset, Exclusion, User
from qlora_studio.ingest import findings, totals
from qlora_studio.ingest.quality import BY_KEY, Check
from qlora_studio.services import access, audit
from qlora_studio.services.access import Action
from qlora_studio.services.datasets import get_dataset

MAX_BY_HAND = 10_000
_NAMED_AT_ONCE = 500

ClipId = Annotated[str, StringConstraints(min_length=1, max_length=32)]


class ExclusionCreate(Strict):
    """What to leave out: what a `check` found, or the clips that are named."""

    check: Annotated[str, StringConstraints(max_length=40)] | None = None
    clip_ids: Annotated[list[ClipId], Field(min_length=1, max_length=MAX_BY_HAND)] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "ExclusionCreate":
        if (self.check is None) == (self.clip_ids is None):
            raise ValueError("Give either a check or clip_ids.")
        return self


@dataclass(frozen=True)
class ExclusionView:
    """An exclusion with how many of its clips are still left out by it."""

    exclusion: Exclusion
    n_left_out: int


def create(session: Session, *, actor: User, dataset_id: str, form: ExclusionCreate) -> ExclusionView:
    """Leave clips out together. Asked again with nothing left to do, the one from before is given back.

    Raises:
        NotFound: the dataset isn't the actor's, or a clip isn't in it.
        InvalidInput: there is no such check, or it finds nothing that can be left out.
        Conflict: no clip would be left in use, there is nothing to leave out, or the report is outdated.
    """
    dataset = _changeable(session, actor, dataset_id)
    check = _check(form.check) if form.check is not None else None
    if check is not None:
        ids, name = _found_by(session, dataset, check), check.title
    else:
        ids, name = _named(session, dataset, form.clip_ids or []), "Left out by hand"
    if not ids:
        return _the_one_before(session, dataset, form)
    if check is not None and dataset.report_key != findings.key_of(dataset):
        raise Conflict("The dataset has changed meanwhile. Look at the report again.")
    if len(ids) >= dataset.n_clips:
        raise Conflict("That would leave no clip to train on. Keep at least one.")
    exclusion = Exclusion(
        dataset_id=dataset.id, check=form.check or "", n_clips=len(ids), created_by=actor.id
    )
    session.add(exclusion)
    session.flush()
    out = {"status": ClipStatus.EXCLUDED, "reason": name, "exclusion_id": exclusion.id}
    summary = f"{name}: {_clips(len(ids))} left out" if check else f"{_clips(len(ids))} left out by hand"
    totals.change(session, dataset, dict.fromkeys(ids, out), summary=summary, actor_id=actor.id)
    _audit(session, actor, "dataset.exclude", dataset, exclusion)
    return ExclusionView(exclusion, len(ids))


def list_exclusions(session: Session, *, actor: User, dataset_id: str) -> list[ExclusionView]:
    """Return what is left out together and can be taken back, newest first.

    Raises:
        NotFound: the dataset isn't the actor's.
    """
    get_dataset(session, actor=actor, dataset_id=dataset_id, action=Action.SEE)
    query = (
        select(Exclusion, func.count())
        .join(Clip, col(Clip.exclusion_id) == col(Exclusion.id))
        .where(col(Exclusion.dataset_id) == dataset_id, col(Clip.status) == ClipStatus.EXCLUDED)
        .group_by(*Exclusion.__table__.columns)  # type: ignore[attr-defined]
        .order_by(col(Exclusion.created_at).desc(), col(Exclusion.id))
    )
    return [ExclusionView(exclusion, n) for exclusion, n in session.exec(query)]


def undo(session: Session, *, actor: User, dataset_id: str, exclusion_id: str) -> int:
    """Take back exactly the clips that an exclusion left out; returns how many.

    Undoing twice takes back none. Clips that were taken back by hand since, or left out otherwise, stay as
    they are.

    Raises:
        NotFound: the dataset isn't the actor's, or has no such exclusion.
        Conflict: the dataset isn't ready.
    """
    dataset = _changeable(session, actor, dataset_id)
    exclusion = session.get(Exclusion, exclusion_id)
    if exclusion is None or exclusion.dataset_id != dataset.id:
        raise NotFound("There is no such exclusion.")
    query = select(Clip.id).where(
        col(Clip.exclusion_id) == exclusion_id, col(Clip.status) == ClipStatus.EXCLUDED
    )
    ids = list(session.exec(query))
    if exclusion.undone_at is None:
        exclusion.undone_at = utc_now()
        session.add(exclusion)
        _audit(session, actor, "dataset.include", dataset, exclusion)
    back = {"status": ClipStatus.OK, "reason": None, "exclusion_id": None}
    title = BY_KEY[exclusion.check].title if exclusion.check in BY_KEY else "By hand"
    summary = f"{title}: {_clips(len(ids))} taken back"
    totals.change(session, dataset, dict.fromkeys(ids, back), summary=summary, actor_id=actor.id)
    return len(ids)


def count_excludable(session: Session, *, dataset_id: str) -> dict[str, int]:
    """For each check with one-click exclusion, how many clips it would leave out now."""
    in_use = (col(ClipFinding.dataset_id) == dataset_id, col(Clip.status) == ClipStatus.OK)
    query = select(ClipFinding.check, func.count(), func.count(func.distinct(col(ClipFinding.group))))
    query = query.join(Clip, col(Clip.id) == col(ClipFinding.clip_id)).where(*in_use)
    counts = {check: (n, n_groups) for check, n, n_groups in session.exec(query.group_by(ClipFinding.check))}
    return {
        key: n - n_groups if BY_KEY[key].keeps_first else n
        for key, (n, n_groups) in counts.items()
        if key in BY_KEY and BY_KEY[key].action == "exclude"
    }


def _found_by(session: Session, dataset: Dataset, check: Check) -> list[str]:
    """Clips in use that the check found; of groups all but the first."""
    query = (
        select(ClipFinding.clip_id, ClipFinding.group)
        .join(Clip, col(Clip.id) == col(ClipFinding.clip_id))
        .where(
            col(ClipFinding.dataset_id) == dataset.id,
            col(ClipFinding.check) == check.key,
            col(Clip.status) == ClipStatus.OK,
        )
        .order_by(col(Clip.position), col(Clip.id))
    )
    rows = list(session.exec(query))
    if not check.keeps_first:
        return [clip_id for clip_id, _ in rows]
    seen: set[str | None] = set()
    return [clip_id for clip_id, group in rows if group in seen or seen.add(group)]


def _named(session: Session, dataset: Dataset, clip_ids: list[str]) -> list[str]:
    """Those of the named clips that are in use."""
    wanted, found = list(dict.fromkeys(clip_ids)), {}
    for start in range(0, len(wanted), _NAMED_AT_ONCE):
        some = col(Clip.id).in_(wanted[start : start + _NAMED_AT_ONCE])
        found |= dict(
            session.exec(select(Clip.id, Clip.status).where(col(Clip.dataset_id) == dataset.id, some)).all()
        )
    if len(found) < len(wanted):
        raise NotFound("One of these clips isn't in this dataset.")
    return [clip_id for clip_id in wanted if found[clip_id] is ClipStatus.OK]


def _the_one_before(session: Session, dataset: Dataset, form: ExclusionCreate) -> ExclusionView:
    """A second click gets what the first one made."""
    query = select(Exclusion).where(col(Exclusion.dataset_id) == dataset.id)
    query = query.where(col(Exclusion.check) == (form.check or ""), col(Exclusion.undone_at).is_(None))
    if form.clip_ids:
        query = query.where(col(Exclusion.id) == session.get_one(Clip, form.clip_ids[0]).exclusion_id)
    found = session.exec(query.order_by(col(Exclusion.created_at).desc()).limit(1)).first()
    if found is None:
        raise Conflict("There is nothing to leave out: none of these clips is in use.")
    mine = (col(Clip.exclusion_id) == found.id, col(Clip.status) == ClipStatus.EXCLUDED)
    n_left_out = session.exec(select(func.count()).select_from(Clip).where(*mine)).one()
    return ExclusionView(found, n_left_out)


def _check(key: str) -> Check:
    check = BY_KEY.get(key)
    if check is None or check.action != "exclude":
        able = ", ".join(c.key for c in BY_KEY.values() if c.action == "exclude")
        message = f"Clips can be left out by one of these checks: {able}."
        raise InvalidInput(message, fields={"check": message})
    return check


def _changeable(session: Session, actor: User, dataset_id: str) -> Dataset:
    access.require_role(actor, of="dataset")
    dataset = get_dataset(session, actor=actor, dataset_id=dataset_id)
    if dataset.status is not DatasetStatus.READY:
        raise Conflict("The dataset isn't ready yet.")
    return dataset


def _clips(n: int) -> str:
    return "1 clip" if n == 1 else f"{n:,} clips"


def _audit(session: Session, actor: User, action: str, dataset: Dataset, exclusion: Exclusion) -> None:
    audit.record(
        session,
        actor=actor,
        action=action,
        object_type="dataset",
        object_id=dataset.id,
        object_name=dataset.name,
        details={"check": exclusion.check, "n_clips": exclusion.n_clips},
    )
