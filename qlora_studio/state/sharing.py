"""What pages show of sharing: whose a thing is, what others may do with it, and what one may oneself."""

from collections.abc import Sequence
from typing import Any

from sqlmodel import Session

from qlora_studio.contracts.enums import Sharing
from qlora_studio.db import engine as db
from qlora_studio.db.models import Adapter, BaseAudioModel, Dataset, Job, User
from qlora_studio.services import access, sharing
from qlora_studio.services.access import Action

Table = type[Dataset] | type[BaseAudioModel] | type[Job] | type[Adapter]


def facts_of(
    session: Session, actor: User, things: Sequence[Dataset | BaseAudioModel | Job | Adapter]
) -> dict[str, dict[str, Any]]:
    """For each thing the fields of its row: `owner` (empty for one's own), `sharing`, what may be done."""
    others = {thing.owner_id for thing in things} - {actor.id}
    names = access.names_of(session, others) if others else {}
    return {
        thing.id: {
            "owner": names.get(thing.owner_id, ""),
            "sharing": thing.sharing.value,
            "may_change": access.may(actor, Action.CHANGE, stands),
            "may_train": access.may(actor, Action.TRAIN, stands),
        }
        for thing in things
        for stands in [access.standing(actor, thing.owner_id, thing.sharing)]
    }


def closed_links(
    session: Session,
    actor: User,
    **things: tuple[type[Dataset] | type[BaseAudioModel] | type[Job] | type[Adapter], str | None],
) -> dict[str, str]:
    """For each link whose thing isn't there for the actor its name and an empty address.

    Whoever shares an adapter need not share the dataset that it was trained on.
    """
    return {
        name: ""
        for name, (table, thing_id) in things.items()
        if thing_id and access.find(session, table, thing_id, actor=actor, action=Action.SEE) is None
    }


def share(actor: User, kind: str, thing_id: str, wanted: str) -> str:
    """Share a thing of the actor's in a transaction of its own; an odd word changes nothing.

    Returns:
        What to know of it, or nothing.
    """
    if wanted not in set(Sharing):
        return ""
    with db.write() as session:
        sharing.share(session, actor=actor, kind=kind, thing_id=thing_id, sharing=Sharing(wanted))
        return sharing.note_on(session, kind=kind, thing_id=thing_id)
