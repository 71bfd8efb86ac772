"""Counts, version and content hash of a dataset, from its clips."""

import hashlib
import json

from sqlalchemy import case, func
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import ClipStatus
from qlora_studio.core.clock import utc_now
from qlora_studio.db.models import Clip, Dataset


def refresh(session: Session, dataset: Dataset) -> None:
    """Count again and, if the content has changed, make the next version. The caller commits."""
    session.flush()
    is_ok = col(Clip.status) == ClipStatus.OK
    counts = session.exec(
        select(
            func.sum(case((is_ok, 1), else_=0)),
            func.sum(case((col(Clip.status) == ClipStatus.EXCLUDED, 1), else_=0)),
            func.sum(case((col(Clip.status) == ClipStatus.REJECTED, 1), else_=0)),
            func.sum(case((is_ok, col(Clip.duration_s)), else_=0.0)),
            func.sum(col(Clip.size_bytes)),
        ).where(col(Clip.dataset_id) == dataset.id)
    ).one()
    dataset.n_clips, dataset.n_excluded, dataset.n_rejected = (int(n or 0) for n in counts[:3])
    dataset.duration_s, dataset.size_bytes = float(counts[3] or 0.0), int(counts[4] or 0)
    content_hash = _content_hash(session, dataset.id)
    if content_hash != dataset.content_hash:
        dataset.content_hash = content_hash
        dataset.version += 1
    dataset.updated_at = utc_now()
    session.add(dataset)


def _content_hash(session: Session, dataset_id: str) -> str:
    """SHA-256 over the sorted clips: hash of the bytes, text, label, speaker, split, status."""
    rows = session.exec(
        select(Clip.sha256, Clip.text, Clip.label, Clip.speaker, Clip.split, Clip.status)
        .where(col(Clip.dataset_id) == dataset_id)
        .where(col(Clip.status) != ClipStatus.REJECTED)
    )
    digest = hashlib.sha256()
    for line in sorted(json.dumps([str(v) if v is not None else None for v in row]) for row in rows):
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()
