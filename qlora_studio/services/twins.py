"""The same text and seeds made otherwise, to be heard one beside the other."""

from dataclasses import dataclass

from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import GenerationStatus
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db.models import Generation, User
from qlora_studio.services import generations, models, offers
from qlora_studio.services.access import Action
from qlora_studio.services.generation_lists import OF_NO_TEST
from qlora_studio.services.generation_schemas import GenerationCreate

_SAME = ("model_id", "seed", "duration_s", "guidance", "temperature")


@dataclass(frozen=True)
class Makers:
    """What else could make a generation's text: adapters of its model, by id and name, the default first."""

    generation: Generation
    adapters: list[tuple[str, str]]
    active_id: str
    active_strength: float


def list_makers(session: Session, *, actor: User, generation_id: str) -> Makers:
    """Return what one of the actor's generations can be compared with, besides the base model alone.

    Raises:
        NotFound: it isn't the actor's, or its model is gone.
        Forbidden: its model isn't shared for use any more.
    """
    made = generations.get_own(session, actor=actor, generation_id=generation_id)
    models.get_model(session, actor=actor, model_id=made.model_id, action=Action.TRY)
    offer = offers.list_adapters(session, actor=actor, model_ids=[made.model_id])[made.model_id]
    return Makers(made, offer.adapters, offer.active_id, offer.active_strength)


def find_or_start(
    session: Session, *, actor: User, generation_id: str, adapter_id: str | None, strength: float = 1.0
) -> tuple[Generation, bool]:
    """Return the same text and seeds made by an adapter, or the base model alone, and whether it is new.

    Raises:
        InvalidInput: it would be the same sound.
        StudioError: see `generations.start`.
    """
    made = generations.get_own(session, actor=actor, generation_id=generation_id)
    strength = strength if adapter_id else 1.0
    if (made.adapter_id or None) == adapter_id and (not adapter_id or made.strength == strength):
        raise InvalidInput("That is what made these takes. Choose another one to compare with.")
    there = select(Generation).where(
        Generation.owner_id == actor.id,
        Generation.prompt_key == made.prompt_key,
        Generation.n_takes >= made.n_takes,
        Generation.status != GenerationStatus.FAILED,
        OF_NO_TEST,
        *(getattr(Generation, name) == getattr(made, name) for name in _SAME),
    )
    if adapter_id:
        there = there.where(Generation.adapter_id == adapter_id, Generation.strength == strength)
    else:
        there = there.where(col(Generation.adapter_id).is_(None))
    found = session.exec(there.order_by(col(Generation.id).desc()).limit(1)).first()
    if found is not None:
        return found, False
    fields = set(GenerationCreate.model_fields) - {"adapter_id", "strength"}
    same = {name: getattr(made, name) for name in fields}
    form = GenerationCreate(**same, adapter_id=adapter_id, strength=strength)
    return generations.start(session, actor=actor, form=form), True
