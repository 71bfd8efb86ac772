"""One base model: its card, what it can take, and what was made with it."""

import asyncio
from dataclasses import replace
from typing import Any, ClassVar

import reflex as rx

from qlora_studio.contracts.enums import Role
from qlora_studio.core.errors import NotFound
from qlora_studio.db import engine as db
from qlora_studio.db.models.user import User
from qlora_studio.services import models
from qlora_studio.services.access import Action
from qlora_studio.services.model_schemas import ModelUpdate
from qlora_studio.state.auth import authorized
from qlora_studio.state.model_rows import (
    LayerRow,
    ModelView,
    PresetRow,
    UseRow,
    adapter_row,
    job_row,
    layer_rows,
    model_view,
    preset_rows,
)
from qlora_studio.state.models import UNDER_WAY, delete_model, users_of
from qlora_studio.state.resources import LOOK_EVERY_S, EditState
from qlora_studio.state.sharing import facts_of
from qlora_studio.state.watching import Watch


def _update(actor: User, model_id: str, name: str, description: str) -> None:
    changes = ModelUpdate(name=name, description=description)
    with db.write() as session:
        models.update_model(session, actor=actor, model_id=model_id, data=changes)


class ModelState(EditState, rx.State):
    """The page `/models/[model_id]`."""

    _list_path: ClassVar[str] = "/models"
    _kind: ClassVar[str] = "model"
    _watch_id: int = 0

    model: ModelView = ModelView()
    layers: list[LayerRow] = []
    presets: list[PresetRow] = []
    checks: list[str] = []
    dropped: list[str] = []
    jobs: list[UseRow] = []
    adapters: list[UseRow] = []

    _users_of = staticmethod(users_of)
    _update = staticmethod(_update)
    _delete = staticmethod(delete_model)

    def _shown(self) -> ModelView:
        return self.model

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Build the page from the database, whatever it showed before."""
        if self.model.id != self.model_id:
            self.reset()
        self.dialog, self.is_missing = "", False
        try:
            await self._fill(actor)
        except NotFound:
            self.is_missing = True

    async def _fill(self, actor: User) -> None:
        for name, value in (await asyncio.to_thread(_load, actor, self.model_id)).items():
            setattr(self, name, value)

    @rx.event(background=True)
    @authorized()
    async def watch(self, actor: User):
        """Show how a download goes, until it is done."""
        watch, model_id = Watch(self), self.model_id
        await watch.take_over()
        while await watch.goes_on(every_s=LOOK_EVERY_S):
            try:
                loaded = await asyncio.to_thread(_load, actor, model_id)
            except NotFound:
                return
            if loaded["model"] != self.model:
                async with self:
                    if not watch.is_newest:
                        return
                    for name, value in loaded.items():
                        setattr(self, name, value)
            if loaded["model"].status not in UNDER_WAY:
                return

    @rx.event
    @authorized(Role.TRAINER)
    async def try_again(self, actor: User):
        """Download or check once more what ended in an error."""
        await asyncio.to_thread(_recheck, actor, self.model_id)
        await self._fill(actor)
        return ModelState.watch


def _load(actor: User, model_id: str) -> dict[str, Any]:
    with db.read() as session:
        model = models.get_model(session, actor=actor, model_id=model_id, action=Action.SEE)
        facts = facts_of(session, actor, [model])[model.id]
        usage = models.get_usage(session, actor=actor, model_id=model_id)
    return {
        "model": replace(model_view(model), **facts),
        "layers": layer_rows(model),
        "presets": preset_rows(model),
        "checks": list(model.details.get("checks", [])),
        "dropped": list(model.details.get("dropped", []))[:20],
        "jobs": [job_row(job) for job in usage.jobs[:8]],
        "adapters": [adapter_row(adapter) for adapter in usage.adapters[:8]],
    }


def _recheck(actor: User, model_id: str) -> None:
    with db.write() as session:
        models.recheck(session, actor=actor, model_id=model_id)
