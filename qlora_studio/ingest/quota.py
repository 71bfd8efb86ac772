"""How much one account keeps, and how much more it may."""

from sqlmodel import Session, col, func, select

from qlora_studio.contracts.enums import DatasetStatus
from qlora_studio.core.settings import Settings
from qlora_studio.db.models import Dataset
from qlora_studio.ingest import staging


def held_bytes(session: Session, owner_id: str, *, besides: str = "") -> int:
    """Bytes of an account's recordings: those of its datasets, and what waits to be taken in.

    Originals that two datasets share count for both. `besides` is a dataset to leave out.
    """
    mine = (col(Dataset.owner_id) == owner_id, col(Dataset.id) != besides)
    total = session.exec(select(func.sum(col(Dataset.size_bytes))).where(*mine)).one()
    waiting = select(Dataset.id).where(*mine, col(Dataset.status) != DatasetStatus.READY)
    return int(total or 0) + sum(staging.count(dataset_id)[1] for dataset_id in session.exec(waiting))


def room_bytes(session: Session, owner_id: str, settings: Settings, *, besides: str = "") -> int:
    """Bytes that may be added to a dataset, never negative."""
    left = settings.max_bytes_per_user - held_bytes(session, owner_id, besides=besides)
    return max(0, min(settings.max_upload_bytes, left))
