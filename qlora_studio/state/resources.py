"""What datasets and models share: they take a while to be ready, and jobs and adapters are made with them.

A list's state mixes in `ResourcesState` and brings the functions that talk to its service:

    class DatasetsState(ResourcesState, rx.State):
        _path: ClassVar[str] = "/datasets"
        _under_way: ClassVar[tuple[str, ...]] = (DatasetStatus.PROCESSING,)
        rows: list[DatasetRow] = []

        _page = staticmethod(_page)              # (actor, wanted) -> (rows, total)
        _users_of = staticmethod(users_of)       # (actor, id) -> (name, what was made with it)
        _delete = staticmethod(delete_dataset)   # (actor, id)

The page of one mixes in `EditState`. It brings `_users_of` and `_delete` too, and besides

    _update(actor, id, name, description)
    _shown(self), the thing as the page has it, with `id` and `name`
    _fill(self, actor), which reads the page anew
"""

import asyncio
from typing import ClassVar

import reflex as rx
from typing_extensions import TypedDict

from qlora_studio.contracts.enums import Role
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db.models.user import User
from qlora_studio.state.auth import authorized
from qlora_studio.state.dialogs import DeletingState, DialogState
from qlora_studio.state.sharing import share
from qlora_studio.state.tables import TableState
from qlora_studio.state.watching import Watch

LOOK_EVERY_S = 0.7


class ResourcesState(DeletingState, TableState, mixin=True):
    """The list, kept fresh, and the dialog that deletes what nothing was made with."""

    _under_way: ClassVar[tuple[str, ...]] = ()  # statuses that change by themselves
    _watch_id: int = 0
    _n_fills: int = 0  # so that a watch sees that the rows were renewed while it read

    deleting_users: list[str] = []
    is_sending: bool = False

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Show the page of the list that the address names, then watch it."""
        self._read_address()
        self.deleting_id = ""
        try:
            await self._fill(actor)
            self.load_error = ""
        except InvalidInput as error:
            self.load_error = error.message
        self.is_loading = False
        return type(self).watch

    async def _fill(self, actor: User) -> None:
        self.rows, self.total = await asyncio.to_thread(self._page, actor, self._wanted())
        self._n_fills += 1

    @rx.event(background=True)
    @authorized()
    async def watch(self, actor: User):
        """Keep the rows fresh while something on the page is under way."""
        watch = Watch(self)
        await watch.take_over()
        while await watch.goes_on(every_s=LOOK_EVERY_S):
            n_fills, wanted = self._n_fills, self._wanted()
            try:
                rows, total = await asyncio.to_thread(self._page, actor, wanted)
            except InvalidInput:
                return
            async with self:
                if not watch.is_newest:
                    return
                is_current = n_fills == self._n_fills
                if is_current and rows != self.rows:
                    self.rows, self.total = rows, total
            if is_current and not any(row.status in self._under_way for row in rows):
                return

    @rx.event
    @authorized(Role.TRAINER)
    async def ask_delete(self, actor: User, row_id: str):
        """Ask before the row's thing is deleted, naming what was made with it."""
        self.deleting_name, self.deleting_users = await asyncio.to_thread(self._users_of, actor, row_id)
        self.deleting_id = row_id

    @rx.event
    @authorized(Role.TRAINER)
    async def delete(self, actor: User):
        """Delete what the dialog names."""
        self.is_sending = True
        yield
        try:
            await asyncio.to_thread(self._delete, actor, self.deleting_id)
            yield rx.toast.success(f"{self.deleting_name} is deleted")
        finally:
            self.is_sending, self.deleting_id = False, ""
        await self._fill(actor)


class EditFields(TypedDict, total=False):
    """The form that renames a thing."""

    name: str
    description: str


class EditState(DialogState, mixin=True):
    """The page of one: the dialogs that edit and delete it."""

    _kind: ClassVar[str] = ""  # as `services.sharing` calls it
    _list_path: ClassVar[str] = "/"  # where to go when it is deleted
    _dialogs: ClassVar[tuple[str, ...]] = ("edit", "delete")

    users: list[str] = []
    field_errors: dict[str, str] = {}
    typed_name: str = ""
    is_sending: bool = False
    is_missing: bool = False

    @rx.event
    @authorized()
    async def open_dialog(self, actor: User, name: str):
        """Open one of the page's dialogs."""
        if name == "delete":
            _, self.users = await asyncio.to_thread(self._users_of, actor, self._shown().id)
        self.field_errors, self.typed_name = {}, ""
        self.dialog = name if name in self._dialogs else ""

    @rx.event
    @authorized()
    async def type_name(self, text: str):
        """What has been typed to confirm."""
        self.typed_name = text[:200]

    @rx.event
    @authorized(Role.TRAINER)
    async def share(self, actor: User, wanted: str):
        """Let others look at the thing or use it, or neither any more."""
        await asyncio.to_thread(share, actor, self._kind, self._shown().id, wanted)
        await self._fill(actor)

    @rx.event
    @authorized(Role.TRAINER)
    async def save(self, actor: User, form: EditFields):
        """Change name and description."""
        name = form.get("name", "").strip()
        if not 1 <= len(name) <= 120:
            self.field_errors = {"name": "Give it a name of 1 to 120 characters."}
            return
        description = form.get("description", "")[:2000]
        await asyncio.to_thread(self._update, actor, self._shown().id, name, description)
        self.dialog = ""
        await self._fill(actor)

    @rx.event
    @authorized(Role.TRAINER)
    async def delete(self, actor: User):
        """Delete the thing and go back to the list."""
        self.is_sending = True
        yield
        try:
            await asyncio.to_thread(self._delete, actor, self._shown().id)
        finally:
            self.is_sending = False
        yield rx.toast.success(f"{self._shown().name} is deleted")
        yield rx.redirect(self._list_path)
