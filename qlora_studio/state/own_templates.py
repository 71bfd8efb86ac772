"""Texts that somebody keeps under names of one's own, beside the prompt editor."""

import asyncio
from dataclasses import dataclass
from typing import Any

import reflex as rx
from pydantic import ValidationError

from qlora_studio.contracts.enums import Role
from qlora_studio.core.errors import StudioError
from qlora_studio.db import engine as db
from qlora_studio.db.models import User
from qlora_studio.services import prompt_templates
from qlora_studio.services.prompt_template_schemas import (
    PromptTemplateCreate,
    PromptTemplatePublic,
    PromptTemplateUpdate,
)
from qlora_studio.state.auth import authorized

NO_NAME = "Give it a name of up to 60 characters."


@dataclass(frozen=True)
class TemplateRow:
    """A kept text."""

    id: str
    name: str
    prompt: str


class OwnTemplatesState(rx.State, mixin=True):
    """Kept texts and their dialogs: `naming` is `new` for the one that keeps, `all` for the list."""

    _kept: list[PromptTemplatePublic] = []

    own_templates: list[TemplateRow] = []
    naming: str = ""
    template_error: str = ""
    dropping_id: str = ""
    dropping_name: str = ""

    @rx.event
    @authorized(Role.TRAINER)
    async def ask_keep(self):
        """Ask for a name to keep what is written under."""
        if not self.prompt.strip():
            self.refusal = "Describe the sound first."
            return
        self.naming, self.template_error = "new", ""

    @rx.event
    @authorized(Role.TRAINER)
    async def manage_templates(self):
        """Show all kept texts."""
        self.naming, self.template_error = "all", ""

    @rx.event
    @authorized()
    async def close_templates(self):
        """Close the dialog."""
        self.naming = self.dropping_id = ""

    @rx.event
    @authorized(Role.TRAINER)
    async def keep(self, actor: User, form: dict[str, Any]):
        """Keep what is written, with its settings."""
        try:
            wanted = PromptTemplateCreate(name=str(form.get("template-name", "")), **self._settings())
        except ValidationError:
            self.template_error = NO_NAME
            return None
        if not await self._change(actor, prompt_templates.create, form=wanted):
            return None
        self.naming = ""
        return rx.toast.success(f"Kept as “{wanted.name}”")

    @rx.event
    @authorized(Role.TRAINER)
    async def rename_template(self, actor: User, template_id: str, name: str):
        """Give a kept text another name."""
        kept = self._find_kept(template_id)
        if kept is None or kept.name == " ".join(name.split()):
            return
        try:
            wanted = PromptTemplateUpdate(name=name)
        except ValidationError:
            self.template_error = NO_NAME
            return
        await self._change(actor, prompt_templates.update, template_id=template_id, form=wanted)

    @rx.event
    @authorized(Role.TRAINER)
    async def ask_drop(self, template_id: str):
        """Ask before a kept text is deleted."""
        kept = self._find_kept(template_id)
        self.dropping_id, self.dropping_name = (kept.id, kept.name) if kept else ("", "")

    @rx.event
    @authorized()
    async def keep_after_all(self):
        """Delete no kept text."""
        self.dropping_id = ""

    @rx.event
    @authorized(Role.TRAINER)
    async def drop_template(self, actor: User):
        """Delete the kept text that was asked about."""
        template_id, self.dropping_id = self.dropping_id, ""
        await self._change(actor, prompt_templates.remove, template_id=template_id)

    @rx.event
    @authorized()
    async def use_template(self, template_id: str):
        """Write a kept text with its settings; a model or adapter that is gone leaves the present choice."""
        kept = self._find_kept(template_id)
        if kept is None:
            return
        self.naming = ""
        self._use(kept)

    def _find_kept(self, template_id: str) -> PromptTemplatePublic | None:
        return next((kept for kept in self._kept if kept.id == template_id), None)

    def _take_in_templates(self, kept: list[PromptTemplatePublic]) -> None:
        self._kept = kept
        self.own_templates = [TemplateRow(one.id, one.name, one.prompt) for one in kept]

    async def _change(self, actor: User, act: Any, **wanted: Any) -> bool:
        """Change what is kept; False, with the reason shown, where that is refused."""
        self.template_error = ""
        try:
            await asyncio.to_thread(_run, actor, act, wanted)
        except StudioError as error:
            self.template_error = error.message
            return False
        self._take_in_templates(await asyncio.to_thread(read_templates, actor))
        return True


def read_templates(actor: User) -> list[PromptTemplatePublic]:
    """The actor's kept texts, by name."""
    with db.read() as session:
        found = prompt_templates.list_templates(session, actor=actor)
        return [PromptTemplatePublic.of(template) for template in found]


def _run(actor: User, act: Any, wanted: dict[str, Any]) -> None:
    with db.write() as session:
        act(session, actor=actor, **wanted)
