"""How much one account keeps, and how much more it may."""

from pathlib import Path

from sqlmodel import Session, col, func, select

from qlora_studio.contracts.enums import DatasetStatus, ModelStatus
from qlora_studio.core.errors import TooLarge
from qlora_studio.core.settings import Settings, get_settings
from qlora_studio.db.models import Adapter, BaseAudioModel, Dataset, User
from qlora_studio.ingest import staging
from qlora_studio.storage import layout

_FULL = "This takes {more:.1f} GB, and you keep {held:.1f} of {limit:.1f} GB. Delete what you no longer need."


def held_bytes(session: Session, owner_id: str, *, besides: str = "") -> int:
    """Bytes that an account keeps: recordings of its datasets, weights that it sent or merged, adapters that
    it sent, and what waits to be taken in.

    Originals that two datasets share count for both. `besides` is a dataset to leave out.
    """
    mine = (col(Dataset.owner_id) == owner_id, col(Dataset.id) != besides)
    total = session.exec(select(func.sum(col(Dataset.size_bytes))).where(*mine)).one()
    waiting = select(Dataset.id).where(*mine, col(Dataset.status) != DatasetStatus.READY)
    in_datasets = int(total or 0) + sum(staging.count(dataset_id)[1] for dataset_id in session.exec(waiting))
    return in_datasets + _model_bytes(session, owner_id) + _adapter_bytes(session, owner_id)


def _model_bytes(session: Session, owner_id: str) -> int:
    """Of models that were uploaded or merged. Those from elsewhere are the server's own business."""
    is_own = col(BaseAudioModel.source)["kind"].as_string().in_(("upload", "merged"))
    mine = (col(BaseAudioModel.owner_id) == owner_id, is_own)
    total = session.exec(select(func.sum(col(BaseAudioModel.size_bytes))).where(*mine)).one()
    waiting = select(BaseAudioModel.id).where(*mine, col(BaseAudioModel.status) != ModelStatus.READY)
    return int(total or 0) + sum(staging.count(model_id)[1] for model_id in session.exec(waiting))


def _adapter_bytes(session: Session, owner_id: str) -> int:
    """Of adapters that were taken in, and of models that adapters were merged into."""
    mine = col(Adapter.owner_id) == owner_id
    is_import = col(Adapter.origin)["kind"].as_string() == "imported"
    total = session.exec(select(func.sum(col(Adapter.size_bytes))).where(mine, is_import)).one()
    folders = list((layout.data_path() / "merged").glob("ada_*/"))
    known = select(Adapter.id).where(mine, col(Adapter.id).in_([folder.name for folder in folders]))
    merged = set(session.exec(known)) if folders else set()
    return int(total or 0) + sum(_folder_bytes(folder) for folder in folders if folder.name in merged)


def _folder_bytes(folder: Path) -> int:
    try:
        return sum(path.stat().st_size for path in folder.iterdir())
    except OSError:  # it is being removed
        return 0


def limit_bytes(session: Session, owner_id: str) -> int:
    """Bytes that an account may keep: as an admin has set for it, else as the settings say for all."""
    own = session.exec(select(User.max_bytes).where(col(User.id) == owner_id)).first()
    return get_settings().max_bytes_per_user if own is None else own


def require_room(session: Session, owner_id: str, n_bytes: int) -> None:
    """Make sure that an account may keep so many bytes more.

    Raises:
        TooLarge: it may not.
    """
    limit, held = limit_bytes(session, owner_id), held_bytes(session, owner_id)
    if held + n_bytes > limit:
        raise TooLarge(_FULL.format(more=n_bytes / 1e9, held=held / 1e9, limit=limit / 1e9))


def room_bytes(session: Session, owner_id: str, settings: Settings, *, besides: str = "") -> int:
    """Bytes that may be added to a dataset, never negative."""
    left = limit_bytes(session, owner_id) - held_bytes(session, owner_id, besides=besides)
    return max(0, min(settings.max_upload_bytes, left))
