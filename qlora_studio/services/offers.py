"""What somebody can choose to make or to hear sound with: one's own, and what others share for use."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import and_, case, func
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import ModelStatus, Task
from qlora_studio.db.models import Adapter, BaseAudioModel, GenerationTally, User
from qlora_studio.services import access, models
from qlora_studio.services.access import Action, Shelf

MOST_MODELS = 100
MOST_ADAPTERS = 100  # of one model


@dataclass(frozen=True)
class AdapterOffer:
    """A model's adapters, by id and name: the default first, then one's own, each kind newest first.

    Names that there are twice tell the version, those of others whose they are. `active_id` is the actor's
    default, or empty.
    """

    adapters: list[tuple[str, str]] = field(default_factory=list)
    active_id: str = ""
    active_strength: float = 1.0


@dataclass(frozen=True)
class Offer(AdapterOffer):
    """A model that is ready, with its adapters; the names of what others share say whose it is."""

    model: BaseAudioModel = field(kw_only=True)
    name: str = field(kw_only=True)


def list_offers(session: Session, *, actor: User, task: Task | None = None) -> list[Offer]:
    """Return the models (of a task) that answer now: the actor's, then those of others, each newest first."""
    found: list[BaseAudioModel] = []
    for shelf in (Shelf.MINE, Shelf.SHARED):
        wanted = {"status": ModelStatus.READY, "task": task, "shelf": shelf, "action": Action.TRY}
        found += models.list_models(session, actor=actor, page_size=MOST_MODELS, **wanted)[0]
    adapters = list_adapters(session, actor=actor, model_ids=[model.id for model in found])
    owners = access.names_of(session, {model.owner_id for model in found} - {actor.id})
    return [
        Offer(model=m, name=_named(m.name, owners.get(m.owner_id)), **vars(adapters[m.id])) for m in found
    ]


def list_adapters(session: Session, *, actor: User, model_ids: Sequence[str]) -> dict[str, AdapterOffer]:
    """Return the adapters of each of these models that the actor may try; `MOST_ADAPTERS` of very many."""
    is_mine = col(Adapter.owner_id) == actor.id
    is_default = and_(is_mine, col(Adapter.is_active))
    order = (case((is_default, 0), (is_mine, 1), else_=2), col(Adapter.created_at).desc(), col(Adapter.id))
    place = func.row_number().over(partition_by=col(Adapter.base_model_id), order_by=order).label("place")
    usable = access.within(Adapter, actor=actor, shelf=Shelf.ALL, action=Action.TRY)
    where = (usable, col(Adapter.archived_at).is_(None), col(Adapter.base_model_id).in_(model_ids))
    ranked = select(Adapter.id, place).where(*where).subquery()
    rows = select(Adapter).join(ranked, ranked.c.id == Adapter.id).where(ranked.c.place <= MOST_ADAPTERS)
    by_model: dict[str, list[Adapter]] = defaultdict(list)
    for adapter in session.exec(rows.order_by(ranked.c.place)):
        by_model[adapter.base_model_id].append(adapter)
    others = {a.owner_id for some in by_model.values() for a in some} - {actor.id}
    owners = access.names_of(session, others) if others else {}
    offers = {model_id: AdapterOffer() for model_id in model_ids}
    for model_id, some in by_model.items():
        met = Counter(a.name for a in some)
        texts = [a.name if met[a.name] == 1 else f"{a.name}, version {a.version}" for a in some]
        named = [(a.id, _named(text, owners.get(a.owner_id))) for a, text in zip(some, texts, strict=True)]
        if some[0].is_active and some[0].owner_id == actor.id:
            offers[model_id] = AdapterOffer(named, some[0].id, some[0].active_strength)
        else:
            offers[model_id] = AdapterOffer(named)
    return offers


def list_used_models(session: Session, *, actor: User) -> list[tuple[str, str]]:
    """Return the models that have made the actor's takes, by id and name; they may use some no longer."""
    used = select(GenerationTally.model_id).where(GenerationTally.owner_id == actor.id)
    found = select(BaseAudioModel).where(col(BaseAudioModel.id).in_(used))
    makers = session.exec(found.order_by(func.lower(BaseAudioModel.name), col(BaseAudioModel.id))).all()
    owners = access.names_of(session, {model.owner_id for model in makers} - {actor.id})
    return [(model.id, _named(model.name, owners.get(model.owner_id))) for model in makers]


def _named(name: str, owner: str | None) -> str:
    return f"{name} (by {owner})" if owner else name
