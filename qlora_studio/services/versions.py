"""Versions of a dataset's content: list them, compare two, go back to one.

A version is kept as what it changed (`ClipChange`), so a former content is the present one with the changes
since undone, newest first.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import func
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import ClipStatus, DatasetStatus
from qlora_studio.core.errors import Conflict
from qlora_studio.db.models import Clip, Dataset, DatasetVersion, User
from qlora_studio.ingest import history, totals
from qlora_studio.ingest.history import Content
from qlora_studio.services import access, audit
from qlora_studio.services.access import Action
from qlora_studio.services.datasets import get_dataset

Kind = Literal["added", "removed", "changed"]


@dataclass(frozen=True)
class ClipDifference:
    """How one clip differs between two versions: what each has in the fields that differ.

    A clip is `added` if only the later version trains on it and `removed` if only the earlier one does.
    """

    clip_id: str
    filename: str
    kind: Kind
    before: Content
    after: Content


@dataclass(frozen=True)
class Comparison:
    """What differs between two versions; `items` is one page of it, `counts` and `fields` are of all."""

    counts: dict[Kind, int]
    fields: dict[str, int]
    items: list[ClipDifference]
    total: int


def list_versions(
    session: Session, *, actor: User, dataset_id: str, page: int = 1, page_size: int = 25
) -> tuple[list[DatasetVersion], int]:
    """Return one page of a dataset's versions, newest first, and how many there are.

    Raises:
        NotFound: the dataset isn't the actor's.
    """
    dataset = get_dataset(session, actor=actor, dataset_id=dataset_id, action=Action.SEE)
    where = col(DatasetVersion.dataset_id) == dataset_id
    total = session.exec(select(func.count()).select_from(DatasetVersion).where(where)).one()
    if total == 0 and dataset.content_hash:  # made before versions were kept
        return [_present(dataset)] if page == 1 else [], 1
    query = select(DatasetVersion).where(where).order_by(col(DatasetVersion.number).desc())
    return list(session.exec(query.offset((page - 1) * page_size).limit(page_size))), total


def compare(
    session: Session,
    *,
    actor: User,
    dataset_id: str,
    earlier: int,
    later: int,
    kind: Kind | None = None,
    page: int = 1,
    page_size: int = 25,
) -> Comparison:
    """Return what differs from version `earlier` to version `later`, in the order of the clips.

    Raises:
        NotFound: the dataset isn't the actor's, or there is no such version.
    """
    dataset = get_dataset(session, actor=actor, dataset_id=dataset_id, action=Action.SEE)
    first, second = (history.contents_since(session, dataset, n) for n in (earlier, later))
    touched = set(first) | set(second)
    counts: Counter[Kind] = Counter()
    fields: Counter[str] = Counter()
    found: list[ClipDifference] = []
    for clip_id, filename, now in _present_contents(session, dataset_id, touched):
        before, after = now | first.get(clip_id, {}), now | second.get(clip_id, {})
        differing = [name for name in totals.CONTENT if before[name] != after[name]]
        if not differing:
            continue
        which = _kind(before, after)
        counts[which] += 1
        fields.update(differing)
        if kind in (None, which):
            was, is_now = ({name: side[name] for name in differing} for side in (before, after))
            found.append(ClipDifference(clip_id, filename, which, was, is_now))
    start = (page - 1) * page_size
    return Comparison(dict(counts), dict(fields), found[start : start + page_size], len(found))


def restore(session: Session, *, actor: User, dataset_id: str, number: int) -> Dataset:
    """Make a new version with the content of version `number`. Nothing newer is lost: it can be restored too.

    Raises:
        NotFound: the dataset isn't the actor's, or there is no such version.
        Conflict: the dataset isn't ready.
    """
    access.require_role(actor, of="dataset")
    dataset = get_dataset(session, actor=actor, dataset_id=dataset_id)
    if dataset.status is not DatasetStatus.READY:
        raise Conflict("The dataset isn't ready yet.")
    edits = {
        clip_id: _restored(fields, number)
        for clip_id, fields in history.contents_since(session, dataset, number).items()
    }
    summary = f"Version {number} restored"
    if totals.change(session, dataset, edits, summary=summary, actor_id=actor.id):
        audit.record(
            session,
            actor=actor,
            action="dataset.restore",
            object_type="dataset",
            object_id=dataset.id,
            object_name=dataset.name,
            details={"version": number},
        )
    return dataset


def _present(dataset: Dataset) -> DatasetVersion:
    return DatasetVersion(
        dataset_id=dataset.id,
        number=dataset.version,
        content_hash=dataset.content_hash,
        n_clips=dataset.n_clips,
        duration_s=dataset.duration_s,
        created_at=dataset.updated_at,
    )


def _present_contents(
    session: Session, dataset_id: str, wanted: set[str]
) -> list[tuple[str, str, dict[str, Any]]]:
    """Id, name and content of these clips as they are now, in order."""
    columns = [getattr(Clip, name) for name in totals.CONTENT]
    query = select(Clip.id, Clip.filename, *columns).where(col(Clip.dataset_id) == dataset_id)
    rows = session.exec(query.order_by(col(Clip.position)))
    return [
        (clip_id, filename, dict(zip(totals.CONTENT, map(_text, values), strict=True)))
        for clip_id, filename, *values in rows
        if clip_id in wanted
    ]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _kind(before: Content, after: Content) -> Kind:
    was_used, is_used = (side["status"] == ClipStatus.OK for side in (before, after))
    if was_used == is_used:
        return "changed"
    return "added" if is_used else "removed"


def _restored(fields: Content, number: int) -> dict[str, Any]:
    """Values to write; a clip whose state goes back is out of the exclusion of today."""
    values = history.typed(fields)
    if "status" in values:
        is_out = values["status"] is ClipStatus.EXCLUDED
        values |= {"exclusion_id": None, "reason": f"Left out in version {number}" if is_out else None}
    return values
