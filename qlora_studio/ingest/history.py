"""What a dataset's clips were in a former version, from the changes made since."""

from dataclasses import dataclass, replace
from typing import Any

from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import ClipStatus, Split
from qlora_studio.core.errors import NotFound
from qlora_studio.db.models import Clip, ClipChange, Dataset, DatasetVersion

Content = dict[str, str | None]
_TYPES: dict[str, Any] = {"split": Split, "status": ClipStatus}


@dataclass(frozen=True, slots=True)
class PastClip:
    """A clip as it was in one version."""

    id: str
    filename: str
    sha256: str
    size_bytes: int
    duration_s: float
    sample_rate: int
    text: str | None
    label: str | None
    speaker: str | None
    split: Split
    status: ClipStatus


_COLUMNS = [getattr(Clip, name) for name in PastClip.__slots__]


def clips_at(session: Session, dataset: Dataset, number: int | None = None) -> list[PastClip]:
    """The clips that version `number` trains on, in order; None is the present one.

    Raises:
        NotFound: there is no such version.
    """
    since = contents_since(session, dataset, dataset.version if number is None else number)
    query = select(*_COLUMNS).where(col(Clip.dataset_id) == dataset.id)
    if not since:
        query = query.where(col(Clip.status) == ClipStatus.OK)
    rows = session.exec(query.order_by(col(Clip.position), col(Clip.id)))
    clips = (PastClip(*row) for row in rows)
    then = (replace(clip, **typed(since[clip.id])) if clip.id in since else clip for clip in clips)
    return [clip for clip in then if clip.status is ClipStatus.OK]


def contents_since(session: Session, dataset: Dataset, number: int) -> dict[str, Content]:
    """By clip, what version `number` had in the fields that were changed since; the others are as now.

    Raises:
        NotFound: there is no such version.
    """
    if number == dataset.version:
        return {}
    if session.get(DatasetVersion, (dataset.id, number)) is None:
        raise NotFound(f"There is no version {number} of this dataset.")
    query = select(ClipChange.clip_id, ClipChange.before).where(
        col(ClipChange.dataset_id) == dataset.id, col(ClipChange.version) > number
    )
    contents: dict[str, Content] = {}
    for clip_id, before in session.exec(query.order_by(col(ClipChange.version).desc())):
        contents.setdefault(clip_id, {}).update(before)
    return contents


def typed(fields: Content) -> dict[str, Any]:
    """Kept values as the database takes them."""
    return {name: _TYPES.get(name, str)(v) if v is not None else None for name, v in fields.items()}
