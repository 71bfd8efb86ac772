"""What a dataset's owner is told once it has been taken in, if that took so long that they look elsewhere."""

import time

from sqlmodel import Session

from qlora_studio.contracts.enums import DatasetStatus
from qlora_studio.contracts.notices import NoticeKind
from qlora_studio.db import notices
from qlora_studio.db.models import Dataset

LONG_S = 30.0


def tell(session: Session, dataset: Dataset, *, began: float | None = None) -> None:
    """Tell how it went, in the transaction that makes the dataset ready or puts it in error.

    Args:
        began: when it was begun, by `time.monotonic()`; without it, it is told however short it took.
    """
    if began is not None and time.monotonic() - began < LONG_S:
        return
    is_ready = dataset.status is DatasetStatus.READY
    clips = "clip" if dataset.n_clips == 1 else "clips"
    unused = f", {dataset.n_rejected:,} could not be used" if dataset.n_rejected else ""
    notices.add(
        session,
        user_id=dataset.owner_id,
        kind=NoticeKind.DATASET_READY if is_ready else NoticeKind.DATASET_FAILED,
        title=f"Dataset “{dataset.name}” " + ("is ready" if is_ready else "could not be taken in"),
        body=f"{dataset.n_clips:,} {clips}{unused}." if is_ready else dataset.error or "",
        href=f"/datasets/{dataset.id}",
    )
