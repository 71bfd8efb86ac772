"""The card “Hugging Face Hub” on an adapter's page: its dialog, and pushes that are under way or have ended.

A token passes through `push` once, on its way to the service. No state ever has it.
"""

import asyncio
from dataclasses import dataclass

import reflex as rx
from pydantic import SecretStr, ValidationError
from sqlmodel import Session
from typing_extensions import TypedDict

from qlora_studio.contracts.enums import Role
from qlora_studio.core.errors import InvalidInput, NotFound
from qlora_studio.db import engine as db
from qlora_studio.db.models.hub_push import HubPush
from qlora_studio.db.models.user import User
from qlora_studio.services import adapters, credentials, merging, pushes
from qlora_studio.services.credentials import HubToken
from qlora_studio.services.pushes import PushCreate
from qlora_studio.state import formats
from qlora_studio.state.auth import authorized
from qlora_studio.state.dialogs import DialogState
from qlora_studio.state.watching import Watch

LOOK_EVERY_S = 0.5
NEW_TOKEN = "new"
_TOKEN_SENTENCE = "A token is one word of letters, digits and “_”, beginning with hf_."


class PushFields(TypedDict, total=False):
    """What the dialog's form sends."""

    repo_id: str | None
    credential_id: str | None
    token: str | None
    weights: str | None
    is_public: str | bool | None


@dataclass(frozen=True)
class PushRow:
    """A push in words."""

    id: str
    repo_id: str
    status: str
    is_active: bool
    percent: float
    progress: str
    url: str
    error: str
    when: str


@dataclass(frozen=True)
class _Offer:
    """What the dialog starts with."""

    repo_id: str
    keys: list[list[str]]
    has_merged: bool


class PushingState(DialogState, rx.State):
    """Pushes of one adapter."""

    pushes: list[PushRow] = []
    keys: list[list[str]] = []
    chosen: str = NEW_TOKEN
    suggested: str = ""
    has_merged: bool = False
    is_sending: bool = False
    field_errors: dict[str, str] = {}
    _watch_id: int = 0

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Show this adapter's pushes."""
        self.dialog, self.field_errors = "", {}
        self.pushes = await asyncio.to_thread(_rows, actor, self._shown_id())

    @rx.event(background=True)
    @authorized()
    async def watch(self, actor: User):
        """Follow pushes that are under way until none is."""
        watch, adapter_id = Watch(self), self._shown_id()
        await watch.take_over()
        while await watch.goes_on(every_s=LOOK_EVERY_S):
            found = await asyncio.to_thread(_rows, actor, adapter_id)
            if found != self.pushes:
                async with self:
                    if watch.is_newest:
                        self.pushes = found
            if not any(row.is_active for row in found):
                return

    @rx.event
    @authorized(Role.TRAINER)
    async def open_dialog(self, actor: User):
        """Ask where to, and with which token."""
        try:
            offer = await asyncio.to_thread(_offer, actor, self._shown_id())
        except NotFound:
            return
        self.keys, self.suggested, self.has_merged = offer.keys, offer.repo_id, offer.has_merged
        self.chosen = offer.keys[0][0]
        self.field_errors, self.dialog = {}, "push"

    @rx.event
    @authorized(Role.TRAINER)
    async def choose(self, credential_id: str):
        """Use this key, or a new token."""
        self.chosen = credential_id if any(key[0] == credential_id for key in self.keys) else NEW_TOKEN

    @rx.event
    @authorized(Role.TRAINER)
    async def push(self, actor: User, form: PushFields):
        """Begin the push. A second press finds the dialog closed."""
        if self.dialog != "push" or self.is_sending:
            return
        self.field_errors, self.is_sending = {}, True
        yield
        try:
            await asyncio.to_thread(_push, actor, self._shown_id(), form)
            self.dialog = ""
            self.pushes = await asyncio.to_thread(_rows, actor, self._shown_id())
        finally:
            self.is_sending = False
        yield PushingState.watch

    @rx.event
    @authorized(Role.TRAINER)
    async def remove(self, actor: User, push_id: str):
        """Cancel a push, or take one that has ended off the list."""
        await asyncio.to_thread(_remove, actor, push_id)
        self.pushes = await asyncio.to_thread(_rows, actor, self._shown_id())

    def _shown_id(self) -> str:
        return str(getattr(self, "adapter_id", "") or "")


def push_row(push: HubPush) -> PushRow:
    """Return a push as the page shows it."""
    is_active = push.status in pushes.ACTIVE
    done, total = push.done_bytes, push.total_bytes
    words = f"{formats.size(done)} of {formats.size(total)}"
    return PushRow(
        id=push.id,
        repo_id=push.repo_id,
        status=push.status,
        is_active=is_active,
        percent=min(100.0, 100 * done / total) if total else 0.0,
        progress=words if is_active else "",
        url=push.url,
        error=push.error,
        when=formats.when(push.finished_at or push.created_at).relative,
    )


def _rows(actor: User, adapter_id: str) -> list[PushRow]:
    with db.read() as session:
        found, _ = pushes.list_pushes(session, actor=actor, adapter_id=adapter_id, page_size=10)
    return [push_row(push) for push in found]


def _offer(actor: User, adapter_id: str) -> _Offer:
    with db.read() as session:
        view = adapters.get_view(session, actor=actor, adapter_id=adapter_id)
        keys = credentials.list_credentials(session, actor=actor, kind="hub")
        report = merging.get_status(session, actor=actor, adapter_id=adapter_id).report
        earlier, _ = pushes.list_pushes(session, actor=actor, adapter_id=adapter_id, page_size=1)
    name = adapters.file_name(view.adapter.name.lower()).replace("--", "-")
    offered = [[key.id, key.name] for key in keys] + [[NEW_TOKEN, "A new token"]]
    return _Offer(earlier[0].repo_id if earlier else name, offered, report is not None)


def _push(actor: User, adapter_id: str, form: PushFields) -> None:
    with db.write() as session:
        credential_id = str(form.get("credential_id") or NEW_TOKEN)
        if credential_id == NEW_TOKEN:
            credential_id = _keep_token(session, actor, str(form.get("token") or ""))
        try:
            wanted = PushCreate(
                repo_id=str(form.get("repo_id") or "").strip()[:300],
                credential_id=credential_id,
                is_private=form.get("is_public") not in (True, "on", "true"),
                weights="merged" if form.get("weights") == "merged" else "adapter",
            )
        except ValidationError:
            sentence = "Give the repository a name, such as “anna/prompts-lora”."
            raise InvalidInput(sentence, fields={"repo_id": sentence}) from None
        pushes.start(session, actor=actor, adapter_id=adapter_id, form=wanted)


def _keep_token(session: Session, actor: User, token: str) -> str:
    try:
        form = HubToken(kind="hub", name="Hub, for pushing", token=SecretStr(token.strip()))
    except ValidationError:
        raise InvalidInput(_TOKEN_SENTENCE, fields={"token": _TOKEN_SENTENCE}) from None  # its text has it
    return credentials.create(session, actor=actor, form=form).id


def _remove(actor: User, push_id: str) -> None:
    with db.write() as session:
        pushes.cancel(session, actor=actor, push_id=push_id)
