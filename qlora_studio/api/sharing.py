"""Who else may see or use a dataset, a model, a job or an adapter."""

from typing import Literal

from fastapi import APIRouter

from qlora_studio.api.security import CurrentTrainer
from qlora_studio.contracts.enums import Sharing
from qlora_studio.contracts.spec import Strict
from qlora_studio.db import engine as db
from qlora_studio.services import sharing

router = APIRouter(tags=["Sharing"])
_KINDS = {"datasets": "dataset", "models": "model", "jobs": "job", "adapters": "adapter"}


class SharingChange(Strict):
    """`private`, `read` (look and download) or `use` (train with it, too)."""

    sharing: Sharing


class Shared(SharingChange):
    """What others may do now; `note` says what else that takes, if anything."""

    id: str
    note: str = ""


@router.put("/{kind}/{thing_id}/sharing")
def set_sharing(
    kind: Literal["datasets", "models", "jobs", "adapters"],
    thing_id: str,
    body: SharingChange,
    user: CurrentTrainer,
) -> Shared:
    """Share a thing of yours, or no longer. What others have made with it stays theirs."""
    with db.write() as session:
        now = sharing.share(session, actor=user, kind=_KINDS[kind], thing_id=thing_id, sharing=body.sharing)
        note = sharing.note_on(session, kind=_KINDS[kind], thing_id=thing_id)
    return Shared(id=thing_id, sharing=now, note=note)
