"""The list of base models."""

import asyncio
from typing import Any, ClassVar

import reflex as rx

from qlora_studio.contracts.enums import ModelStatus, Role, Task
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db import engine as db
from qlora_studio.db.models.user import User
from qlora_studio.services import models
from qlora_studio.state.auth import authorized
from qlora_studio.state.model_rows import ModelRow, model_row
from qlora_studio.state.tables import TableState
from qlora_studio.state.watching import Watch

LOOK_EVERY_S = 0.7
UNDER_WAY = (ModelStatus.DOWNLOADING.value, ModelStatus.CHECKING.value)


class ModelsState(TableState, rx.State):
    """The list, its search and filters, and the dialog that deletes."""

    _path: ClassVar[str] = "/models"
    _watch_id: int = 0

    rows: list[ModelRow] = []
    deleting_id: str = ""
    deleting_name: str = ""
    deleting_users: list[str] = []
    is_sending: bool = False

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Show the page of the list that the address names."""
        self._read_address()
        self.deleting_id = ""
        try:
            self.rows, self.total = await asyncio.to_thread(_page, actor, self._wanted())
            self.load_error = ""
        except InvalidInput as error:
            self.load_error = error.message
        self.is_loading = False

    def _wanted(self) -> dict[str, Any]:
        paging = {"page": self.page, "page_size": self.page_size}
        return {**self.filters, "query": self.query, "sort": self.sort or "-created_at"} | paging

    @rx.event(background=True)
    @authorized()
    async def watch(self, actor: User):
        """Keep the rows fresh while something downloads or is checked."""
        watch = Watch(self)
        await watch.take_over()
        while await watch.goes_on(every_s=LOOK_EVERY_S):
            try:
                rows, total = await asyncio.to_thread(_page, actor, self._wanted())
            except InvalidInput:
                return
            if rows != self.rows:
                async with self:
                    self.rows, self.total = rows, total
            if not any(row.status in UNDER_WAY for row in rows):
                return

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

    @rx.event
    @authorized(Role.TRAINER)
    async def ask_delete(self, actor: User, model_id: str):
        """Open the dialog that deletes, naming what depends on the model."""
        self.deleting_name, self.deleting_users = await asyncio.to_thread(users_of, actor, model_id)
        self.deleting_id = model_id

    @rx.event
    @authorized()
    async def cancel_delete(self):
        """Close the dialog."""
        self.deleting_id = ""

    @rx.event
    @authorized(Role.TRAINER)
    async def delete(self, actor: User):
        """Delete what the dialog names."""
        self.is_sending = True
        yield
        try:
            await asyncio.to_thread(delete_model, actor, self.deleting_id)
            yield rx.toast.success(f"{self.deleting_name} is deleted")
        finally:
            self.is_sending, self.deleting_id = False, ""
        self.rows, self.total = await asyncio.to_thread(_page, actor, self._wanted())


def _page(actor: User, wanted: dict[str, Any]) -> tuple[list[ModelRow], int]:
    status, task = wanted.pop("status", None), wanted.pop("task", None)
    with db.read() as session:
        found, total = models.list_models(
            session,
            actor=actor,
            status=ModelStatus(status) if status in set(ModelStatus) else None,
            task=Task(task) if task in set(Task) else None,
            **wanted,
        )
        active = models.count_active_jobs(session, model_ids=[model.id for model in found])
    return [model_row(model, active.get(model.id, 0)) for model in found], total


def _add_starter(actor: User) -> str:
    with db.write() as session:
        return models.add_starter(session, actor=actor).id


def users_of(actor: User, model_id: str) -> tuple[str, list[str]]:
    """A model's name and what depends on it."""
    with db.read() as session:
        model = models.get_model(session, actor=actor, model_id=model_id)
        return model.name, models.get_usage(session, actor=actor, model_id=model_id).names()


def delete_model(actor: User, model_id: str) -> None:
    """Delete a model in a transaction of its own."""
    with db.write() as session:
        models.delete_model(session, actor=actor, model_id=model_id)
