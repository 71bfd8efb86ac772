"""One base model: its card, what it can take, and what was made with it."""

import asyncio
from typing import Any

import reflex as rx
from typing_extensions import TypedDict

from qlora_studio.contracts.enums import Role
from qlora_studio.core.errors import NotFound
from qlora_studio.db import engine as db
from qlora_studio.db.models.user import User
from qlora_studio.services import models
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
from qlora_studio.state.models import LOOK_EVERY_S, UNDER_WAY, delete_model, users_of
from qlora_studio.state.watching import Watch


class EditFields(TypedDict, total=False):
    """The form that renames a model."""

    name: str
    description: str


class ModelState(rx.State):
    """The page `/models/[model_id]`."""

    _watch_id: int = 0

    model: ModelView = ModelView()
    layers: list[LayerRow] = []
    presets: list[PresetRow] = []
    checks: list[str] = []
    dropped: list[str] = []
    jobs: list[UseRow] = []
    adapters: list[UseRow] = []
    users: list[str] = []
    dialog: str = ""  # "edit", "delete" or none
    field_errors: dict[str, str] = {}
    typed_name: str = ""
    is_sending: bool = False
    is_missing: bool = False

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
                    for name, value in loaded.items():
                        setattr(self, name, value)
            if loaded["model"].status not in UNDER_WAY:
                return

    @rx.event
    @authorized()
    async def open_dialog(self, actor: User, name: str):
        """Open one of the page's dialogs."""
        if name == "delete":
            _, self.users = await asyncio.to_thread(users_of, actor, self.model_id)
        self.field_errors, self.typed_name = {}, ""
        self.dialog = name if name in ("edit", "delete") else ""

    @rx.event
    @authorized()
    async def close_dialog(self):
        """Close whichever dialog is open."""
        self.dialog = ""

    @rx.event
    @authorized()
    async def type_name(self, text: str):
        """What has been typed to confirm."""
        self.typed_name = text[:200]

    @rx.event
    @authorized(Role.TRAINER)
    async def save(self, actor: User, form: EditFields):
        """Change name and description."""
        name = form.get("name", "").strip()
        if not 1 <= len(name) <= 120:
            self.field_errors = {"name": "Give it a name of 1 to 120 characters."}
            return
        changes = ModelUpdate(name=name, description=form.get("description", "")[:2000])
        await asyncio.to_thread(_update, actor, self.model_id, changes)
        self.dialog = ""
        await self._fill(actor)

    @rx.event
    @authorized(Role.TRAINER)
    async def try_again(self, actor: User):
        """Download or check once more what ended in an error."""
        await asyncio.to_thread(_recheck, actor, self.model_id)
        await self._fill(actor)
        return ModelState.watch

    @rx.event
    @authorized(Role.TRAINER)
    async def delete(self, actor: User):
        """Delete the model and go back to the list."""
        self.is_sending = True
        yield
        try:
            await asyncio.to_thread(delete_model, actor, self.model_id)
        finally:
            self.is_sending = False
        yield rx.toast.success(f"{self.model.name} is deleted")
        yield rx.redirect("/models")


def _load(actor: User, model_id: str) -> dict[str, Any]:
    with db.read() as session:
        model = models.get_model(session, actor=actor, model_id=model_id)
        usage = models.get_usage(session, actor=actor, model_id=model_id)
    return {
        "model": model_view(model),
        "layers": layer_rows(model),
        "presets": preset_rows(model),
        "checks": list(model.details.get("checks", [])),
        "dropped": list(model.details.get("dropped", []))[:20],
        "jobs": [job_row(job) for job in usage.jobs[:8]],
        "adapters": [adapter_row(adapter) for adapter in usage.adapters[:8]],
    }


def _update(actor: User, model_id: str, changes: ModelUpdate) -> None:
    with db.write() as session:
        models.update_model(session, actor=actor, model_id=model_id, data=changes)


def _recheck(actor: User, model_id: str) -> None:
    with db.write() as session:
        models.recheck(session, actor=actor, model_id=model_id)
