"""The dialog that takes a dataset out: which files, of which version, how large, and how to train on them."""

import asyncio
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

import reflex as rx

from qlora_studio.core.errors import InvalidInput
from qlora_studio.db import engine
from qlora_studio.db.models.user import User
from qlora_studio.services import exports
from qlora_studio.services.exports import ExportFormat
from qlora_studio.state import formats
from qlora_studio.state.auth import authorized
from qlora_studio.state.dialogs import DialogState


@dataclass(frozen=True)
class ExportView:
    """What would be downloaded."""

    version: str = ""
    size: str = ""
    clips: str = ""
    href: str = ""
    yaml_name: str = ""
    yaml: str = ""
    command: str = ""
    python: str = ""


class ExportState(DialogState, rx.State):
    """The dialog."""

    format: str = ExportFormat.AUDIOFOLDER.value
    export: ExportView = ExportView()
    field_errors: dict[str, str] = {}

    @rx.event
    @authorized()
    async def open(self, actor: User):
        """Open the dialog, with the present version."""
        await self._show(actor, None)
        self.dialog = "export"

    @rx.event
    @authorized()
    async def choose(self, actor: User, format: Literal["audiofolder", "jsonl", "csv"]):
        """Choose the format."""
        self.format = format
        await self._show(actor, int(self.export.version) if self.export.version else None)

    @rx.event
    @authorized()
    async def set_version(self, actor: User, number: str):
        """Choose the version by its number; without one it is the present."""
        self.field_errors = {}
        text = number.strip()
        if text and not (text.isdecimal() and text.isascii() and 0 < len(text) < 10):
            raise InvalidInput("No number.", fields={"version": "Give the number of a version."})
        await self._show(actor, int(text) if text else None)

    async def _show(self, actor: User, version: int | None) -> None:
        self.field_errors = {}
        self.export = await asyncio.to_thread(
            _load, actor, self.dataset_id, ExportFormat(self.format), version
        )


def _load(actor: User, dataset_id: str, format: ExportFormat, version: int | None) -> ExportView:
    with engine.read() as session:
        estimate = exports.estimate(
            session, actor=actor, dataset_id=dataset_id, format=format, version=version
        )
        recipe = exports.recipe(session, actor=actor, dataset_id=dataset_id, version=version)
    query = urlencode({"format": format.value, "version": estimate.version})
    return ExportView(
        version=str(estimate.version),
        size=formats.size(estimate.size_bytes),
        clips=formats.count(estimate.n_clips, "clip"),
        href=f"/api/v1/datasets/{dataset_id}/export?{query}",
        yaml_name=recipe.name,
        yaml=recipe.yaml,
        command=recipe.command,
        python=recipe.python,
    )
