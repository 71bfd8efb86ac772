"""The form that makes a dataset."""

import asyncio
import re
from typing import Any

import reflex as rx
from pydantic import ValidationError
from typing_extensions import TypedDict

from qlora_studio.contracts.enums import Role
from qlora_studio.core.errors import InvalidInput, NotFound
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine
from qlora_studio.db.models.user import User
from qlora_studio.services import dataset_sources, datasets
from qlora_studio.services.datasets import DatasetCreate
from qlora_studio.state.auth import authorized

SOURCES = ("upload", "url", "cloud", "hub", "folder")
_FIELDS_OF = {
    "upload": (),
    "url": ("url",),
    "cloud": ("url", "credential_id", "endpoint_url"),
    "hub": ("repo_id", "revision", "credential_id"),
    "folder": ("path",),
}
_SENTENCES = {
    "name": "Give it a name of 1 to 120 characters.",
    "description": "Shorten it to 2,000 characters.",
    "task": "Choose what the recordings are for.",
    "url": "The address is too long.",
    "endpoint_url": "The address is too long.",
    "repo_id": "That is too long for the id of a dataset.",
    "revision": "That is too long for a branch, a tag or a commit.",
    "credential_id": "Choose one of your keys.",
}
_NEEDED = {
    "url": {"url": "Give the address of a file."},
    "cloud": {"url": "Give a link to the bucket or a folder in it."},
    "hub": {"repo_id": "Give the id of a dataset."},
}


class DatasetFields(TypedDict, total=False):
    """What the form sends; None for a field that isn't shown. `draft` names the files of the uploader."""

    name: str | None
    description: str | None
    task: str | None
    url: str | None
    endpoint_url: str | None
    repo_id: str | None
    revision: str | None
    credential_id: str | None
    path: str | None
    draft: str | None


class DatasetFormState(rx.State):
    """Where the files come from is in the address (`?source=folder`), so that a link can name it."""

    source: str = "upload"
    folder_roots: list[str] = []
    endpoints: list[list[str]] = []
    field_errors: dict[str, str] = {}
    is_loaded: bool = False  # a press before that would be forgotten by `load`
    is_sending: bool = False
    _made: str = ""  # what this form made already, so that a second press makes no second dataset

    @rx.event
    @authorized(Role.TRAINER)
    async def load(self):
        """Start with an empty form."""
        settings = get_settings()
        self.folder_roots = [str(root) for root in settings.dataset_root_paths]
        self.endpoints = [[url, url] for url in settings.s3_endpoint_urls]
        wanted = self.router.url.query_parameters.get("source", "upload")
        self.source = wanted if wanted in SOURCES else "upload"
        self.field_errors, self.is_sending, self._made, self.is_loaded = {}, False, "", True

    @rx.event
    @authorized(Role.TRAINER)
    async def check(self, actor: User, name: str, value: str):
        """Say what is wrong with a field as it is left; an empty one is asked for only on submit."""
        complaint = await asyncio.to_thread(_complaint, actor, self.source, name, value)
        others = {key: text for key, text in self.field_errors.items() if key != name}
        self.field_errors = {**others, name: complaint} if complaint else others

    @rx.event
    @authorized(Role.TRAINER)
    async def create(self, actor: User, form: DatasetFields):
        """Make the dataset; its page then sends the gathered files, or shows how they are fetched."""
        self.field_errors, self.is_sending = {}, True
        yield
        try:
            self._made = self._made or await asyncio.to_thread(_create, actor, form, self.source)
        except InvalidInput as error:
            self.field_errors = {name.removeprefix("source."): text for name, text in error.fields.items()}
            yield rx.call_script(f"document.getElementById('{_first(self.field_errors)}')?.focus()")
            return
        except NotFound as error:  # the key was deleted in another tab
            self.field_errors = {"credential_id": error.message}
            return
        finally:
            self.is_sending = False
        draft = re.sub(r"[^0-9A-Za-z-]", "", form.get("draft") or "")[:64]
        query = f"?draft={draft}" if self.source == "upload" else ""
        yield rx.redirect(f"/datasets/{self._made}{query}")


def _first(errors: dict[str, str]) -> str:
    return next((name for name in DatasetFields.__annotations__ if name in errors), "name")


def _create(actor: User, form: DatasetFields, source: str) -> str:
    needed = _NEEDED.get(source, {})
    missing = {name: text for name, text in needed.items() if not (form.get(name) or "").strip()}
    try:
        wanted = _wanted(form, source)
    except InvalidInput as error:
        raise InvalidInput(error.message, fields={**error.fields, **missing}) from error
    if missing:
        raise InvalidInput("Check the marked fields.", fields=missing)
    with engine.write() as session:
        return datasets.create(session, actor=actor, form=wanted).id


def _wanted(form: DatasetFields, source: str) -> DatasetCreate:
    """What the service is asked for. Files that aren't uploaded wait until their columns were looked at.

    Raises:
        InvalidInput: a field is too long, or isn't one of what it may be.
    """
    values = {name: str(form.get(name) or "").strip() for name in _FIELDS_OF[source]}
    given: dict[str, Any] = {"kind": source, **{name: value for name, value in values.items() if value}}
    if source != "upload":
        given["review"] = True
    try:
        return DatasetCreate.model_validate(
            {
                "name": form.get("name") or "",
                "description": form.get("description") or "",
                "task": form.get("task") or "",
                "source": given,
            }
        )
    except ValidationError as error:
        names = {str(item["loc"][-1]) for item in error.errors()}
        fields = {name: text for name, text in _SENTENCES.items() if name in names}
        raise InvalidInput("Check the marked fields.", fields=fields) from error


def _complaint(actor: User, source: str, name: str, value: str) -> str:
    """What is wrong with one field, the others being right; nothing for an empty one."""
    if not value.strip():
        return ""
    right: dict[str, str] = {"name": "n", "task": "speech-to-text"}
    if source == "hub":
        right["repo_id"] = "owner/name"
    form = DatasetFields(**{**right, name: value})  # type: ignore[typeddict-item]
    try:
        wanted = _wanted(form, source)
        with engine.read() as session:
            dataset_sources.checked(session, actor=actor, source=wanted.source)
    except InvalidInput as error:
        return error.fields.get(name) or error.fields.get(f"source.{name}", "")
    except NotFound as error:
        return error.message if name == "credential_id" else ""
    return ""
