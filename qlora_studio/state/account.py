"""One's own account: profile, where one is signed in, and tokens for scripts.

Passwords don't pass through here: `assets/auth.js` sends them to the REST API.
"""

import asyncio
from dataclasses import dataclass

import reflex as rx
from pydantic import ValidationError
from typing_extensions import TypedDict

from qlora_studio.contracts.enums import TokenScope
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import InvalidInput
from qlora_studio.core.session_cookie import token_from_cookie
from qlora_studio.db import engine as db
from qlora_studio.db.models import ApiToken, User
from qlora_studio.services import accounts, profile, tokens
from qlora_studio.services.profile import Place
from qlora_studio.services.tokens import TokenCreate
from qlora_studio.state import formats
from qlora_studio.state.auth import authorized
from qlora_studio.state.dialogs import DeletingState, SecretState

SCOPES = {"read": "Read only", "all": "Everything you may do"}


class TokenFields(TypedDict, total=False):
    """What the form of a new token sends."""

    token_name: str | None
    scope: str | None
    days: str | None


@dataclass(frozen=True)
class PlaceRow:
    """Where one is signed in."""

    id: str
    browser: str
    peer: str
    seen: str
    seen_exact: str
    since: str
    is_this: bool


@dataclass(frozen=True)
class TokenRow:
    """A token for scripts; `ends` says when it expires, or that it has."""

    id: str
    name: str
    hint: str
    scope: str
    used: str
    used_exact: str
    ends: str
    has_ended: bool


class AccountState(SecretState, DeletingState, rx.State):
    """The settings page. Dialogs: `add` and `secret`, which shows a new token once."""

    username: str = ""
    name: str = ""
    email: str = ""
    role: str = ""
    places: list[PlaceRow] = []
    rows: list[TokenRow] = []
    n_others: int = 0
    is_loading: bool = True

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Show the account."""
        self._begin()
        self.deleting_id = ""
        await self._read(actor)
        self.is_loading = False

    @rx.event
    @authorized()
    async def refresh(self, actor: User):
        """Read the account anew after the page has sent a form of its own."""
        await self._read(actor)

    @rx.event
    @authorized()
    async def end(self, actor: User, session_id: str):
        """Sign out in one other place."""
        await asyncio.to_thread(_end, actor, session_id)
        await self._read(actor)
        return rx.toast.success("That session is ended")

    @rx.event
    @authorized()
    async def end_others(self, actor: User):
        """Sign out everywhere else."""
        n_ended = await asyncio.to_thread(_end_others, actor, self._token())
        await self._read(actor)
        return rx.toast.success(f"{formats.count(n_ended, 'other session')} ended")

    @rx.event
    @authorized()
    async def add(self, actor: User, form: TokenFields):
        """Make a token and show it. A second press finds the form closed."""
        if self.dialog != "add" or self.is_sending:
            return
        self.is_sending, self.field_errors = True, {}
        yield
        try:
            self.secret = await asyncio.to_thread(_add, actor, form)
            self.dialog = "secret"
        finally:
            self.is_sending = False
        await self._read(actor)

    @rx.event
    @authorized()
    async def delete(self, actor: User):
        """Revoke the token that was asked about."""
        token_id, self.deleting_id = self.deleting_id, ""
        if token_id:
            await asyncio.to_thread(_revoke, actor, token_id)
        await self._read(actor)
        return rx.toast.success("The token is revoked")

    def _token(self) -> str:
        return token_from_cookie(self.router.headers.cookie or "")

    async def _read(self, actor: User) -> None:
        places, found = await asyncio.to_thread(_look, actor, self._token())
        self.username, self.name, self.email = actor.username, actor.name, actor.email
        self.role = actor.role.value
        self.places = [place_row(place) for place in places]
        self.n_others = sum(not place.is_this for place in places)
        self.rows = [token_row(token) for token in found]


def place_row(place: Place) -> PlaceRow:
    """Return a session as the page shows it."""
    seen = formats.when(place.last_seen_at)
    return PlaceRow(
        id=place.id,
        browser=place.browser,
        peer=place.peer or "unknown address",
        seen=seen.relative,
        seen_exact=seen.exact,
        since=formats.when(place.created_at).relative,
        is_this=place.is_this,
    )


def token_row(token: ApiToken) -> TokenRow:
    """Return a token as the page shows it."""
    used = formats.when(token.last_used_at)
    has_ended = token.expires_at is not None and token.expires_at <= utc_now()
    ends = f"{token.expires_at:%-d %b %Y}" if token.expires_at is not None else ""
    return TokenRow(
        id=token.id,
        name=token.name,
        hint=token.hint,
        scope=SCOPES[token.scope.value],
        used=f"Last used {used.relative}" if token.last_used_at else "Never used",
        used_exact=used.exact if token.last_used_at else "",
        ends=(f"Expired {ends}" if has_ended else f"Expires {ends}") if ends else "Does not expire",
        has_ended=has_ended,
    )


def _look(actor: User, token: str) -> tuple[list[Place], list[ApiToken]]:
    with db.read() as session:
        this = accounts.find_signed_in(session, token=token)
        session_id = this.session_id if this is not None else ""
        places = profile.list_places(session, actor=actor, session_id=session_id)
        return places, tokens.list_tokens(session, actor=actor)


def _end(actor: User, session_id: str) -> None:
    with db.write() as session:
        profile.end_session(session, actor=actor, session_id=session_id)


def _end_others(actor: User, token: str) -> int:
    with db.write() as session:
        this = accounts.find_signed_in(session, token=token)
        session_id = this.session_id if this is not None else ""
        return profile.end_others(session, actor=actor, session_id=session_id)


def _add(actor: User, form: TokenFields) -> str:
    days = form.get("days") or ""
    try:
        wanted = TokenCreate(
            name=form.get("token_name") or "",
            scope=TokenScope(form.get("scope") or "read"),
            days=int(days) if days.isdigit() else None,
        )
    except (ValidationError, ValueError):
        sentence = "Give it a name of 1 to 120 characters, to know it by."
        raise InvalidInput(sentence, fields={"token_name": sentence}) from None
    with db.write() as session:
        return tokens.create(session, actor=actor, form=wanted).secret


def _revoke(actor: User, token_id: str) -> None:
    with db.write() as session:
        tokens.revoke(session, actor=actor, token_id=token_id)
