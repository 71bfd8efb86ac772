"""What the quality checks found, kept beside the clips so that lists can filter by it.

Findings belong to one content and one set of limits; `Dataset.report_key` says which. They are computed from
a reading session, however long that takes, and written only if the key is still right.
"""

import hashlib
import json
import logging
import threading

from sqlalchemy import func, insert, update
from sqlmodel import Session, col, delete, select

from qlora_studio.contracts.enums import ClipStatus, DatasetStatus
from qlora_studio.core.errors import StorageFull
from qlora_studio.core.known import Known
from qlora_studio.db import engine
from qlora_studio.db.models import Clip, ClipFinding, Dataset, Exclusion
from qlora_studio.ingest import quality
from qlora_studio.ingest.quality import CheckedClip, Checks

_RULES = 1  # raise when the checks themselves change, so that kept findings are computed again
_TRIES = 3
_COLUMNS = [getattr(Clip, name) for name in CheckedClip._fields]
_computing = threading.Lock()  # one report at a time in a process: opening many tabs costs one core
_last_groups: dict[bytes, list[list[str]]] = {}
_similar = Known[list[list[str]]](50)
_log = logging.getLogger(__name__)


def limits_of(dataset: Dataset) -> Checks:
    """The limits that were set for a dataset, the others as they are by default."""
    return Checks.model_validate({k: v for k, v in dataset.checks.items() if k in Checks.model_fields})


def key_of(dataset: Dataset) -> str:
    """Names what findings would be of: the content, the limits and the rules."""
    limits = limits_of(dataset).model_dump(mode="json")
    line = json.dumps([_RULES, dataset.task, dataset.content_hash, limits], sort_keys=True)
    return hashlib.sha256(line.encode()).hexdigest()


def bring_up_to_date(dataset_id: str) -> bool:
    """Compute the findings of a dataset that is ready, if the content or a limit has changed since.

    True if they are right then. A disk that is full or a database that is busy leaves the former findings.
    """
    for _ in range(_TRIES):
        with _computing:
            with engine.read() as session:
                dataset = session.get(Dataset, dataset_id)
                if dataset is None or dataset.status is not DatasetStatus.READY:
                    return False
                key = key_of(dataset)
                if dataset.report_key == key:
                    return True
                found = _find(session, dataset)
            try:
                if _write(dataset_id, key, found):
                    return True
            except (StorageFull, engine.DatabaseBusy) as error:
                _log.warning("report of %s: %s", dataset_id, error.message)
                return False
    return False


def similar_sounds(session: Session, dataset_id: str) -> dict[str, str]:
    """Names of groups by SHA-256, of a dataset's recordings that sound the same in different bytes."""
    groups = quality.similar_groups(read_clips(session, dataset_id), _find_similar)
    return {sha256: str(group) for sha256, group in groups.items()}


def read_clips(session: Session, dataset_id: str) -> list[CheckedClip]:
    """What the checks look at, in the order of the clips."""
    query = select(*_COLUMNS).where(col(Clip.dataset_id) == dataset_id).order_by(col(Clip.position))
    return [CheckedClip(*row) for row in session.exec(query)]


def adopt_silent(session: Session, dataset: Dataset) -> None:
    """Make what taking in left out as silent one exclusion, to be undone like any other."""
    is_silent = (col(Clip.dataset_id) == dataset.id, col(Clip.status) == ClipStatus.EXCLUDED)
    n_clips = session.exec(select(func.count()).select_from(Clip).where(*is_silent)).one()
    if n_clips == 0:
        return
    exclusion = Exclusion(dataset_id=dataset.id, check="silent", n_clips=n_clips)
    session.add(exclusion)
    session.flush()
    for clip in session.exec(select(Clip).where(*is_silent)):
        clip.exclusion_id = exclusion.id


def keep_silent(session: Session, dataset: Dataset) -> None:
    """Let in what taking in left out as silent; the report still names it."""
    is_silent = (col(Clip.dataset_id) == dataset.id, col(Clip.status) == ClipStatus.EXCLUDED)
    session.connection().execute(update(Clip).where(*is_silent).values(status=ClipStatus.OK, reason=None))


def _find(session: Session, dataset: Dataset) -> list[quality.Finding]:
    clips = read_clips(session, dataset.id)
    limits = limits_of(dataset)
    return list(quality.find_all(clips, task=dataset.task, limits=limits, find_similar=_find_similar))


def _write(dataset_id: str, key: str, found: list[quality.Finding]) -> bool:
    with engine.write() as session:
        dataset = session.get(Dataset, dataset_id)
        if dataset is None or dataset.status is not DatasetStatus.READY or key_of(dataset) != key:
            return False
        session.exec(delete(ClipFinding).where(col(ClipFinding.dataset_id) == dataset_id))
        rows = [finding._asdict() | {"dataset_id": dataset_id} for finding in found]
        if rows:
            session.connection().execute(insert(ClipFinding), rows)
        dataset.report_key = key
        session.add(dataset)
    return True


def _find_similar(items: quality.Fingerprints) -> list[list[str]]:
    """Compare sounds, once for each set of recordings: an edit of words or splits changes no sound."""
    from qlora_studio.audio.fingerprint import find_groups  # only where sounds are compared

    known = sorted(items)
    key = hashlib.sha256("".join(sha256 for sha256, _ in known).encode()).hexdigest()
    return _similar.get(key, lambda: find_groups(known))
