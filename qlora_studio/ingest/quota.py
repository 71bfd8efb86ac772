"""How much one account keeps, and how much more it may."""

from sqlmodel import Session, col, func, select

from qlora_studio.contracts.enums import DatasetStatus, ModelStatus
from qlora_studio.core.settings import Settings
from qlora_studio.db.models import BaseAudioModel, Dataset
from qlora_studio.ingest import staging


def held_bytes(session: Session, owner_id: str, *, besides: str = "") -> int:
    """Bytes that an account has sent: recordings of its datasets, weights, and what waits to be taken in.

    Originals that two datasets share count for both. `besides` is a dataset to leave out.
    """
    mine = (col(Dataset.owner_id) == owner_id, col(Dataset.id) != besides)
    total = session.exec(select(func.sum(col(Dataset.size_bytes))).where(*mine)).one()
    waiting = select(Dataset.id).where(*mine, col(Dataset.status) != DatasetStatus.READY)
    in_datasets = int(total or 0) + sum(staging.count(dataset_id)[1] for dataset_id in session.exec(waiting))
    return in_datasets + _uploaded_bytes(session, owner_id)


def _uploaded_bytes(session: Session, owner_id: str) -> int:
    """Bytes of models that were uploaded. Those that come from elsewhere are the server's own business."""
    is_upload = col(BaseAudioModel.source)["kind"].as_string() == "upload"
    mine = (col(BaseAudioModel.owner_id) == owner_id, is_upload)
    total = session.exec(select(func.sum(col(BaseAudioModel.size_bytes))).where(*mine)).one()
    waiting = select(BaseAudioModel.id).where(*mine, col(BaseAudioModel.status) != ModelStatus.READY)
    return int(total or 0) + sum(staging.count(model_id)[1] for model_id in session.exec(waiting))


def room_bytes(session: Session, owner_id: str, settings: Settings, *, besides: str = "") -> int:
    """Bytes that may be added to a dataset, never negative."""
    left = settings.max_bytes_per_user - held_bytes(session, owner_id, besides=besides)
    return max(0, min(settings.max_upload_bytes, left))
