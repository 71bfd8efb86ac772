"""The dialog that takes in an adapter made elsewhere."""

import asyncio

import reflex as rx

from qlora_studio.contracts.enums import Role
from qlora_studio.db import engine as db
from qlora_studio.db.models.user import User
from qlora_studio.services import offers
from qlora_studio.state.auth import authorized


class AdapterImportState(rx.State):
    """Which base model; name and file go to the server by themselves."""

    is_open: bool = False
    models: list[list[str]] = []  # [id, name]
    model_id: str = ""

    @rx.event
    @authorized(Role.TRAINER)
    async def open_dialog(self, actor: User):
        """Open the dialog with the base models that are ready."""
        self.models = await asyncio.to_thread(_ready_models, actor)
        self.model_id = self.models[0][0] if self.models else ""
        self.is_open = True

    @rx.event
    @authorized()
    async def close(self):
        """Close the dialog."""
        self.is_open = False

    @rx.event
    @authorized()
    async def choose_model(self, model_id: str):
        """Choose the base model that the adapter was trained on."""
        if any(model_id == row[0] for row in self.models):
            self.model_id = model_id

    @rx.event
    @authorized()
    async def open_taken(self, adapter_id: str):
        """Open the adapter that was taken in."""
        self.is_open = False
        yield rx.toast.success("Adapter imported")
        if adapter_id.startswith("ada_") and adapter_id.replace("_", "").isalnum():
            yield rx.redirect(f"/adapters/{adapter_id}")


def _ready_models(actor: User) -> list[list[str]]:
    with db.read() as session:
        return [[offer.model.id, offer.name] for offer in offers.list_offers(session, actor=actor)]
