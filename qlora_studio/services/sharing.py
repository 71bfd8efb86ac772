"""Letting others see or use one's datasets, models, jobs and adapters, or no longer.

What somebody has made with a thing in the meantime stays theirs: a job keeps its own list of clips.
"""

from sqlmodel import Session

from qlora_studio.contracts.enums import Sharing
from qlora_studio.core.errors import NotFound
from qlora_studio.db.models import Adapter, BaseAudioModel, Dataset, Job, User
from qlora_studio.services import access, audit
from qlora_studio.services.access import Action

KINDS: dict[str, type[Dataset] | type[BaseAudioModel] | type[Job] | type[Adapter]] = {
    "dataset": Dataset,
    "model": BaseAudioModel,
    "job": Job,
    "adapter": Adapter,
}


def share(session: Session, *, actor: User, kind: str, thing_id: str, sharing: Sharing) -> Sharing:
    """Let others look at a thing (`read`), use it too (`use`), or neither any more (`private`).

    Args:
        kind: one of `KINDS`.

    Raises:
        NotFound: it isn't there, or is private to somebody else.
        Forbidden: it is somebody else's, or the actor's role may only look.
    """
    if kind not in KINDS:
        raise NotFound("There is nothing of this kind.")
    thing = access.get(session, KINDS[kind], thing_id, actor=actor, action=Action.CHANGE)
    if thing.sharing is sharing:
        return sharing
    thing.sharing = sharing
    session.add(thing)
    audit.record(
        session,
        actor=actor,
        action=f"{kind}.share",
        object_type=kind,
        object_id=thing.id,
        object_name=thing.name,
        details={"sharing": sharing.value},
    )
    return sharing


def note_on(session: Session, *, kind: str, thing_id: str) -> str:
    """What to tell the owner of a thing that was shared: an adapter is of use with its base model only."""
    adapter = session.get(Adapter, thing_id) if kind == "adapter" else None
    if adapter is None or adapter.sharing is not Sharing.USE:
        return ""
    base = session.get_one(BaseAudioModel, adapter.base_model_id)
    if base.sharing is Sharing.USE:
        return ""
    return f"Others can use it once its base model “{base.name}” is shared for use, too."
