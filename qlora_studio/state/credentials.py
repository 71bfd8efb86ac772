"""A person's keys to cloud storage and the Hub: which one is chosen, and the dialogs that add and delete one.

What a key holds passes through `add` once, on its way to the service. No state ever has it.
"""

import asyncio
from dataclasses import dataclass

import reflex as rx
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from qlora_studio.contracts.enums import Role
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db import engine
from qlora_studio.db.models.user import User
from qlora_studio.services import credentials
from qlora_studio.services.credentials import CredentialCreate
from qlora_studio.state.auth import authorized
from qlora_studio.state.dialogs import DialogState

KIND_LABELS = {"s3": "Amazon S3", "gs": "Google Cloud", "hub": "Hugging Face"}
_KINDS_OF = {"cloud": ("s3", "gs"), "hub": ("hub",)}
_SENTENCES = {
    "key_name": "Give it a name of 1 to 120 characters, to know it by.",
    "access_key": "Give the access key's id.",
    "secret_key": "Give the secret key.",
    "session_token": "That is too long for a session token.",
    "region": "A region looks like eu-central-1.",
    "service_account": "Paste the JSON key file of a service account.",
    "token": "A token is one word of letters, digits and “_”, beginning with hf_.",
}
_FIELDS = {  # of the form -> of the service
    "key_name": "name",
    "access_key": "key",
    "secret_key": "secret",
    "session_token": "session_token",
    "region": "region",
    "service_account": "service_account",
    "token": "token",
}
_ADAPTER: TypeAdapter[credentials.S3Key | credentials.GoogleKey | credentials.HubToken] = TypeAdapter(
    CredentialCreate
)


class KeyFields(TypedDict, total=False):
    """What the form of a new key sends; a field that another kind has is missing or None."""

    key_name: str | None
    access_key: str | None
    secret_key: str | None
    session_token: str | None
    region: str | None
    service_account: str | None
    token: str | None


@dataclass(frozen=True)
class KeyRow:
    """A key by its name; `kind` is `s3`, `gs` or `hub`."""

    id: str
    name: str
    kind: str


class CredentialsState(DialogState, rx.State):
    """Which key is chosen in the form of a new dataset, and its two dialogs, `add` and `delete`."""

    keys: list[KeyRow] = []
    source: str = ""  # of the form: only keys that fit it are offered
    chosen: str = ""
    kind: str = "s3"  # of the key that is being added
    field_errors: dict[str, str] = {}

    @rx.var
    def options(self) -> list[list[str]]:
        """Value and label of each key that fits the source; the first is none at all."""
        kinds = _KINDS_OF.get(self.source, ())
        fitting = [key for key in self.keys if key.kind in kinds]
        return [["", "None: anybody may read it"]] + [
            [key.id, f"{key.name} ({KIND_LABELS[key.kind]})"] for key in fitting
        ]

    @rx.var
    def chosen_name(self) -> str:
        """The name of the key that is chosen, or nothing."""
        return next((key.name for key in self.keys if key.id == self.chosen), "")

    @rx.event
    @authorized(Role.TRAINER)
    async def load(self, actor: User):
        """Offer the person's keys that fit the source in the address."""
        wanted = self.router.url.query_parameters.get("source", "")
        if wanted != self.source:
            self.chosen = ""
        self.source, self.dialog, self.field_errors = wanted, "", {}
        self.keys = await asyncio.to_thread(_keys, actor)

    @rx.event
    @authorized(Role.TRAINER)
    async def choose(self, key_id: str):
        """Use this key, or none."""
        self.chosen = key_id if any(key.id == key_id for key in self.keys) else ""

    @rx.event
    @authorized(Role.TRAINER)
    async def ask_add(self):
        """Open the dialog for a new key of the kind that the source takes."""
        self.kind = _KINDS_OF.get(self.source, ("s3",))[0]
        self.field_errors, self.dialog = {}, "add"

    @rx.event
    @authorized(Role.TRAINER)
    async def set_kind(self, kind: str):
        """What the new key is for."""
        self.kind = kind if kind in _KINDS_OF.get(self.source, ()) else self.kind
        self.field_errors = {}

    @rx.event
    @authorized(Role.TRAINER)
    async def add(self, actor: User, form: KeyFields):
        """Keep a new key and choose it. A second press finds the dialog closed."""
        if self.dialog != "add":
            return
        self.field_errors = {}
        self.chosen = await asyncio.to_thread(_add, actor, self.kind, form)
        self.keys = await asyncio.to_thread(_keys, actor)
        self.dialog = ""

    @rx.event
    @authorized(Role.TRAINER)
    async def ask_delete(self):
        """Ask before the chosen key is deleted."""
        self.dialog = "delete" if self.chosen_name else ""

    @rx.event
    @authorized(Role.TRAINER)
    async def delete(self, actor: User):
        """Delete the chosen key; datasets that were fetched with it stay."""
        if self.dialog != "delete":
            return None
        name, self.dialog = self.chosen_name, ""
        await asyncio.to_thread(_delete, actor, self.chosen)
        self.chosen = ""
        self.keys = await asyncio.to_thread(_keys, actor)
        return rx.toast.success(f"The key {name} is deleted")


def _keys(actor: User) -> list[KeyRow]:
    with engine.read() as session:
        found = credentials.list_credentials(session, actor=actor)
    return [KeyRow(id=c.id, name=c.name, kind=c.kind) for c in found]


def _add(actor: User, kind: str, form: KeyFields) -> str:
    given = {_FIELDS[name]: str(value).strip() for name, value in form.items() if name in _FIELDS and value}
    try:
        wanted = _ADAPTER.validate_python({"kind": kind, **given})
    except ValidationError as error:
        names = {str(part) for item in error.errors(include_input=False) for part in item["loc"]}
        fields = {field: text for field, text in _SENTENCES.items() if _FIELDS[field] in names}
        raise InvalidInput("Check the marked fields.", fields=fields) from None  # its text holds the secret
    with engine.write() as session:
        return credentials.create(session, actor=actor, form=wanted).id


def _delete(actor: User, key_id: str) -> None:
    with engine.write() as session:
        credentials.delete(session, actor=actor, credential_id=key_id)
