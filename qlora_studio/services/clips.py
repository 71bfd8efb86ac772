"""Clips of a dataset: list, hear, correct, leave out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import StringConstraints
from sqlalchemy import func
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import ClipStatus, DatasetStatus, Split
from qlora_studio.contracts.spec import Strict
from qlora_studio.core.errors import Conflict, NotFound
from qlora_studio.core.known import Known
from qlora_studio.db import search
from qlora_studio.db.models import Clip, ClipFinding, Dataset, User
from qlora_studio.ingest import totals
from qlora_studio.services import access, audit
from qlora_studio.services.access import Action
from qlora_studio.services.datasets import get_dataset, order_by
from qlora_studio.storage import layout

_NOT_THERE = "There is no such clip."
_SORTS: dict[str, Any] = {
    "position": col(Clip.position),
    "filename": col(Clip.filename),
    "duration_s": col(Clip.duration_s),
    "text": col(Clip.text),
    "label": col(Clip.label),
    "split": col(Clip.split),
    "status": col(Clip.status),
    "loudness_db": col(Clip.loudness_db),
}
_counts = Known[int](10_000)
_MAGIC = {
    b"RIFF": "audio/wav",
    b"RF64": "audio/wav",
    b"fLaC": "audio/flac",
    b"OggS": "audio/ogg",
    b"FORM": "audio/aiff",
    b".snd": "audio/basic",
    b"caff": "audio/x-caf",
    b"ID3": "audio/mpeg",
    b"\xff": "audio/mpeg",
}

Short = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)]


class ClipUpdate(Strict):
    """What can be corrected; a field that isn't sent stays. An empty text, label or speaker removes it."""

    text: Annotated[str, StringConstraints(strip_whitespace=True, max_length=4096)] | None = None
    label: Short | None = None
    speaker: Short | None = None
    split: Split | None = None
    status: Literal[ClipStatus.OK, ClipStatus.EXCLUDED] | None = None


def list_clips(
    session: Session,
    *,
    actor: User,
    dataset_id: str,
    query: str = "",
    split: Split | None = None,
    status: ClipStatus | None = None,
    label: str | None = None,
    check: str | None = None,
    sort: str = "position",
    page: int = 1,
    page_size: int = 25,
) -> tuple[list[Clip], int]:
    """Return one page of a dataset's clips and how many match; `query` looks in name, text, label, speaker.

    Args:
        check: only clips that this check of the quality report found; `group` then is a sort as well, that
            puts those side by side that belong together.

    Raises:
        NotFound: the dataset isn't the actor's.
        InvalidInput: `sort` isn't a column that can be sorted by.
    """
    dataset = get_dataset(session, actor=actor, dataset_id=dataset_id, action=Action.SEE)
    chosen = {"query": query.strip(), "split": split, "status": status, "label": label, "check": check}
    chosen = {name: value for name, value in chosen.items() if value not in (None, "")}
    where: list[Any] = [col(Clip.dataset_id) == dataset_id]
    if split is not None:
        where += [col(Clip.split) == split, col(Clip.status) != ClipStatus.REJECTED]
    if status is not None:
        where.append(col(Clip.status) == status)
    if label is not None:
        where.append(col(Clip.label) == label)
    sorts, found = _SORTS, select(Clip)
    if check is not None:
        is_finding = (col(ClipFinding.clip_id) == col(Clip.id)) & (col(ClipFinding.check) == check)
        sorts, found = _SORTS | {"group": col(ClipFinding.group)}, found.join(ClipFinding, is_finding)
    hits = search.find_clips(session, dataset_id=dataset_id, words=chosen["query"]) if query.strip() else None
    total = _count(session, dataset, chosen, hits, found.where(*where))
    if hits is not None:
        where.append(hits.condition)
        if hits.are_few:
            sorts = {name: search.unindexed(column) for name, column in sorts.items()}
    tie = col(Clip.position).desc() if sort.startswith("-") else col(Clip.position)
    rows = found.where(*where).order_by(*order_by(sort, sorts, tie=tie))
    return list(session.exec(rows.offset((page - 1) * page_size).limit(page_size))), total


def _count(
    session: Session, dataset: Dataset, chosen: Mapping[str, Any], hits: search.Hits | None, found: Any
) -> int:
    """How many clips match: known, or counted once for each content and choice."""
    is_ready = dataset.status is DatasetStatus.READY
    if hits is not None and hits.n is not None and len(chosen) == 1:
        return hits.n
    if is_ready and set(chosen) <= {"status"}:
        kept = {
            ClipStatus.OK: dataset.n_clips,
            ClipStatus.EXCLUDED: dataset.n_excluded,
            ClipStatus.REJECTED: dataset.n_rejected,
        }
        return kept[chosen["status"]] if chosen else sum(kept.values())
    content = (dataset.id, dataset.content_hash, dataset.report_key, dataset.n_rejected)
    key = (*content, *sorted(chosen.items())) if is_ready else None
    counted = found.where(hits.exact) if hits is not None else found
    return _counts.get(key, lambda: session.exec(counted.with_only_columns(func.count())).one())


def get_clip(session: Session, *, actor: User, clip_id: str) -> Clip:
    """Return a clip of a dataset that the actor may see.

    Raises:
        NotFound: it isn't there, or its dataset is private to somebody else.
    """
    query = select(Clip, Dataset.owner_id, Dataset.sharing)
    query = query.join(Dataset, col(Dataset.id) == col(Clip.dataset_id))
    found = session.exec(query.where(col(Clip.id) == clip_id)).first()
    if found is None or not access.may(actor, Action.SEE, access.standing(actor, found[1], found[2])):
        raise NotFound(_NOT_THERE)
    return found[0]


def get_audio(session: Session, *, actor: User, clip_id: str) -> tuple[Clip, Path, str]:
    """Return a clip, the path of its original and its media type, judged by content.

    Raises:
        NotFound: it isn't the actor's, or could not be used, so that nothing of it was kept.
    """
    clip = get_clip(session, actor=actor, clip_id=clip_id)
    path = layout.blob_path(clip.sha256) if clip.sha256 else None
    if path is None or not path.is_file():
        raise NotFound("There is no recording of this clip.")
    with path.open("rb") as file:
        start = file.read(4)
    known = (kind for magic, kind in _MAGIC.items() if start.startswith(magic))
    return clip, path, next(known, "application/octet-stream")


def update(session: Session, *, actor: User, clip_id: str, form: ClipUpdate) -> Clip:
    """Correct a clip, or leave it out. The dataset gets its next version.

    Raises:
        NotFound: it isn't the actor's.
        Conflict: it could not be used, or the dataset isn't ready.
    """
    access.require_role(actor, of="clip")
    clip = get_clip(session, actor=actor, clip_id=clip_id)
    dataset = get_dataset(session, actor=actor, dataset_id=clip.dataset_id)
    if dataset.status is not DatasetStatus.READY:
        raise Conflict("The dataset isn't ready yet.")
    if clip.status is ClipStatus.REJECTED:
        raise Conflict(f"This clip can't be used. {clip.reason}")
    changes = {key: value or None for key, value in form.model_dump(exclude_none=True).items()}
    if changes.get("status") is ClipStatus.EXCLUDED and clip.status is ClipStatus.OK and dataset.n_clips < 2:
        raise Conflict("It is the last clip in use. Take another one back first.")
    if "status" in changes:
        is_out = changes["status"] is ClipStatus.EXCLUDED
        changes |= {"reason": "Left out by hand" if is_out else None, "exclusion_id": None}
    names = " and ".join(sorted(set(changes) & set(totals.CONTENT)))
    totals.change(
        session,
        dataset,
        {clip.id: changes},
        summary=f"{names.capitalize()} of {clip.filename}",
        actor_id=actor.id,
    )
    audit.record(
        session,
        actor=actor,
        action="clip.update",
        object_type="clip",
        object_id=clip.id,
        object_name=clip.filename,
        details={"fields": sorted(form.model_fields_set)},
    )
    return clip
