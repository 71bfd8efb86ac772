"""The form that registers a base model."""

import asyncio
from typing import Any
from urllib.parse import quote

import reflex as rx
from pydantic import ValidationError
from typing_extensions import TypedDict

from qlora_studio.contracts.enums import Role
from qlora_studio.core.errors import InvalidInput, StudioError
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db
from qlora_studio.db.models.user import User
from qlora_studio.services import models
from qlora_studio.services.model_schemas import ModelCreate
from qlora_studio.state.auth import authorized

_STARTERS = {"starter": "speech", "starter-sound": "sound"}
_KINDS = (*_STARTERS, "hub", "path", "upload")
_SENTENCES = {
    "name": "Shorten the name to 120 characters.",
    "description": "Shorten it to 2,000 characters.",
    "repo_id": "Give the model's id, such as openai/whisper-tiny.",
    "task": "Choose what it is for.",
    "revision": "A revision is a branch, a tag or a commit.",
    "path": "Give the folder's full path, beginning with “/”.",
}


class ModelFields(TypedDict, total=False):
    """What the form sends. A field that another source has is None."""

    name: str | None
    description: str | None
    task: str | None
    repo_id: str | None
    revision: str | None
    path: str | None
    draft: str | None


class ModelFormState(rx.State):
    """Where the model comes from is in the address (`?source=path`), so that a link can name it."""

    source: str = "hub"
    roots: list[str] = []
    field_errors: dict[str, str] = {}
    refusal: str = ""
    is_sending: bool = False

    @rx.var
    def is_starter(self) -> bool:
        """Whether there is nothing to fill in."""
        return self.source in _STARTERS

    @rx.event
    @authorized(Role.TRAINER)
    async def load(self):
        """Start with an empty form."""
        self.roots = [str(root) for root in get_settings().model_root_paths]
        wanted = self.router.url.query_parameters.get("source", "hub")
        self.source = wanted if wanted in _KINDS else "hub"
        self.field_errors, self.refusal, self.is_sending = {}, "", False

    @rx.event
    @authorized(Role.TRAINER)
    async def create(self, actor: User, form: ModelFields):
        """Register the model and show its page, or say why it can't be trained."""
        self.field_errors, self.refusal, self.is_sending = {}, "", True
        yield
        try:
            model_id = await asyncio.to_thread(_create, actor, self.source, form)
        except InvalidInput as error:
            self.field_errors = {name.removeprefix("source."): text for name, text in error.fields.items()}
            self.refusal = "" if error.fields else error.message
            first = next(iter(self.field_errors), "")
            yield rx.call_script(f"document.getElementById('{_control(first)}')?.focus()")
            return
        except StudioError as error:
            self.refusal = error.message
            return
        finally:
            self.is_sending = False
        draft = quote((form.get("draft") or "")[:80]) if self.source == "upload" else ""
        yield rx.redirect(f"/models/{model_id}" + (f"?draft={draft}" if draft else ""))


def _control(field: str) -> str:
    return field if field in _SENTENCES else "refusal"


def _create(actor: User, kind: str, form: ModelFields) -> str:
    source: dict[str, Any] = {"kind": kind}
    if kind in _STARTERS:
        source = {"kind": "starter", "name": _STARTERS[kind]}
    elif kind == "hub":
        source |= {
            "repo_id": (form.get("repo_id") or "").strip(),
            "revision": (form.get("revision") or "").strip() or "main",
        }
    elif kind == "path":
        source["path"] = (form.get("path") or "").strip()
    try:
        data = ModelCreate.model_validate(
            {
                "name": (form.get("name") or ""),
                "description": (form.get("description") or ""),
                "task": form.get("task") or None,
                "source": source,
            }
        )
    except ValidationError as error:
        names = {str(part) for item in error.errors() for part in item["loc"]}
        fields = {name: text for name, text in _SENTENCES.items() if name in names}
        raise InvalidInput("Check the marked fields.", fields=fields) from error
    with db.write() as session:
        return models.register(session, actor=actor, data=data).id
