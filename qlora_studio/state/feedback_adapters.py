"""The tab of the adapters that make sounds: browsed, and one of each base model made its default."""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import reflex as rx

from qlora_studio.contracts.enums import Role, Task
from qlora_studio.db import engine as db
from qlora_studio.db.models import User
from qlora_studio.services import adapters, models
from qlora_studio.services.access import Action, Shelf
from qlora_studio.state.adapter_rows import AdapterRow, adapter_row
from qlora_studio.state.auth import authorized
from qlora_studio.state.sharing import facts_of

_MOST_MODELS = 50
_MOST_EACH = 25
_USABLE: dict[str, Any] = {"shelf": Shelf.ALL, "action": Action.TRY}  # what others share for use, too


@dataclass(frozen=True)
class SoundModel:
    """A base model with its adapters, the newest first; `owner` is who shares it, or empty."""

    id: str
    name: str
    owner: str
    has_default: bool
    adapters: list[AdapterRow]


class FeedbackAdaptersState(rx.State):
    """The tab `/feedback?tab=adapters`."""

    is_loading: bool = True
    may_train: bool = False
    models: list[SoundModel] = []

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Show the adapters of every model that makes sounds."""
        self.may_train = actor.role in (Role.ADMIN, Role.TRAINER)
        self.models = await asyncio.to_thread(_read, actor)
        self.is_loading = False

    @rx.event
    @authorized(Role.TRAINER)
    async def activate(self, actor: User, adapter_id: str):
        """Make an adapter its model's default; one in doubt is refused here, its own page can insist."""
        await asyncio.to_thread(_activate, actor, adapter_id[:32])
        yield FeedbackAdaptersState.load

    @rx.event
    @authorized(Role.TRAINER)
    async def deactivate(self, actor: User, adapter_id: str):
        """Leave the model without a default."""
        await asyncio.to_thread(_deactivate, actor, adapter_id[:32])
        yield FeedbackAdaptersState.load


def _read(actor: User) -> list[SoundModel]:
    with db.read() as session:
        found, _ = models.list_models(
            session, actor=actor, task=Task.TEXT_TO_AUDIO, page_size=_MOST_MODELS, **_USABLE
        )
        shown = []
        for model in found:
            views, _ = adapters.list_adapters(
                session, actor=actor, model_id=model.id, page_size=_MOST_EACH, **_USABLE
            )
            facts = facts_of(session, actor, [model, *(view.adapter for view in views)])
            rows = [replace(adapter_row(view), **facts[view.adapter.id]) for view in views]
            has_default = adapters.active_for(session, actor=actor, model_id=model.id) is not None
            shown.append(SoundModel(model.id, model.name, facts[model.id]["owner"], has_default, rows))
    return shown


def _activate(actor: User, adapter_id: str) -> None:
    with db.write() as session:
        adapters.activate(session, actor=actor, adapter_id=adapter_id)


def _deactivate(actor: User, adapter_id: str) -> None:
    with db.write() as session:
        adapters.deactivate(session, actor=actor, adapter_id=adapter_id)
