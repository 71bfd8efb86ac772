"""The form that makes a dataset."""

import asyncio
import re

import reflex as rx
from pydantic import ValidationError
from typing_extensions import TypedDict

from qlora_studio.contracts.enums import Role
from qlora_studio.core.errors import InvalidInput
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine
from qlora_studio.db.models.user import User
from qlora_studio.services import datasets
from qlora_studio.services.datasets import DatasetCreate
from qlora_studio.state.auth import authorized

_SENTENCES = {
    "name": "Give it a name of 1 to 120 characters.",
    "description": "Shorten it to 2,000 characters.",
    "task": "Choose what the recordings are for.",
    "source": "Choose where the recordings come from.",
}


class DatasetFields(TypedDict, total=False):
    """What the form sends; None for a field that isn't shown. `draft` names the files of the uploader."""

    name: str
    description: str
    task: str
    path: str | None
    draft: str | None


class DatasetFormState(rx.State):
    """Where the files come from is in the address (`?source=folder`), so that a link can name it."""

    source: str = "upload"
    folder_roots: list[str] = []
    field_errors: dict[str, str] = {}
    is_sending: bool = False

    @rx.event
    @authorized(Role.TRAINER)
    async def load(self):
        """Start with an empty form."""
        self.folder_roots = [str(root) for root in get_settings().dataset_root_paths]
        wanted = self.router.url.query_parameters.get("source", "upload")
        self.source = wanted if wanted in ("upload", "folder") else "upload"
        self.field_errors, self.is_sending = {}, False

    @rx.event
    @authorized(Role.TRAINER)
    async def create(self, actor: User, form: DatasetFields):
        """Make the dataset; its page then sends the gathered files."""
        self.field_errors, self.is_sending = {}, True
        yield
        try:
            dataset_id = await asyncio.to_thread(_create, actor, form, self.source)
        except InvalidInput as error:
            self.field_errors = error.fields
            first = next(iter(error.fields), "name")
            yield rx.call_script(f"document.getElementById('{_ids(first)}')?.focus()")
            return
        finally:
            self.is_sending = False
        draft = re.sub(r"[^0-9A-Za-z-]", "", form.get("draft") or "")[:64]
        query = f"?draft={draft}" if self.source == "upload" else ""
        yield rx.redirect(f"/datasets/{dataset_id}{query}")


def _ids(field: str) -> str:
    return "path" if field == "source.path" else field if field in _SENTENCES else "name"


def _create(actor: User, form: DatasetFields, source: str) -> str:
    given = (
        {"kind": "folder", "path": (form.get("path") or "").strip()}
        if source == "folder"
        else {"kind": "upload"}
    )
    try:
        wanted = DatasetCreate.model_validate(
            {
                "name": form.get("name", ""),
                "description": form.get("description", ""),
                "task": form.get("task", ""),
                "source": given,
            }
        )
    except ValidationError as error:
        names = {str(e["loc"][0]) for e in error.errors()}
        fields = {name: text for name, text in _SENTENCES.items() if name in names}
        raise InvalidInput("Check the marked fields.", fields=fields) from error
    with engine.write() as session:
        return datasets.create(session, actor=actor, form=wanted).id
