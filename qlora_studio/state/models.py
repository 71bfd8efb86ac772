"""The list of base models."""

import asyncio
from dataclasses import replace
from typing import Any, ClassVar

import reflex as rx

from qlora_studio.contracts.enums import ModelStatus, Role, Task
from qlora_studio.db import engine as db
from qlora_studio.db.models.user import User
from qlora_studio.services import models
from qlora_studio.state.auth import authorized
from qlora_studio.state.model_rows import ModelRow, model_row
from qlora_studio.state.resources import ResourcesState
from qlora_studio.state.sharing import facts_of
from qlora_studio.state.tables import parsed

UNDER_WAY = (ModelStatus.DOWNLOADING.value, ModelStatus.CHECKING.value)


def _page(actor: User, wanted: dict[str, Any]) -> tuple[list[ModelRow], int]:
    wanted = parsed(wanted, status=ModelStatus, task=Task)
    with db.read() as session:
        found, total = models.list_models(session, actor=actor, **wanted)
        active = models.count_active_jobs(session, model_ids=[model.id for model in found])
        facts = facts_of(session, actor, found)
    return [replace(model_row(model, active.get(model.id, 0)), **facts[model.id]) for model in found], total


def users_of(actor: User, model_id: str) -> tuple[str, list[str]]:
    """A model's name and what depends on it."""
    with db.read() as session:
        model = models.get_model(session, actor=actor, model_id=model_id)
        return model.name, models.get_usage(session, actor=actor, model_id=model_id).names()


def delete_model(actor: User, model_id: str) -> None:
    """Delete a model in a transaction of its own."""
    with db.write() as session:
        models.delete_model(session, actor=actor, model_id=model_id)


class ModelsState(ResourcesState, rx.State):
    """The list, its search and filters, and the dialog that deletes."""

    _path: ClassVar[str] = "/models"
    _has_shelf: ClassVar[bool] = True
    _under_way: ClassVar[tuple[str, ...]] = UNDER_WAY
    rows: list[ModelRow] = []

    _page = staticmethod(_page)
    _users_of = staticmethod(users_of)
    _delete = staticmethod(delete_model)

    @rx.event
    @authorized(Role.TRAINER)
    async def add_starter(self, actor: User):
        """Add the model that comes with the studio and show it."""
        self.is_sending = True
        yield
        try:
            model_id = await asyncio.to_thread(_add_starter, actor)
            yield rx.redirect(f"/models/{model_id}")
        finally:
            self.is_sending = False


def _add_starter(actor: User) -> str:
    with db.write() as session:
        return models.add_starter(session, actor=actor).id
