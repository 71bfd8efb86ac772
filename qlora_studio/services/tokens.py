"""Tokens for scripts: named, for reading only or for all that their owner may, until they end or are revoked.

A token begins with `qls_`, so that it is recognised where it leaks. It is shown once; the database keeps its
SHA-256. It is taken as a bearer token only, never as a cookie, and can't change the account itself: its
password, sessions and tokens.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import Field, StringConstraints
from sqlmodel import Session, col, func, select

from qlora_studio.contracts.enums import TokenScope
from qlora_studio.contracts.spec import Strict
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import NotAuthenticated, NotFound, TooLarge
from qlora_studio.db import engine as db
from qlora_studio.db.models import ApiToken, User
from qlora_studio.services import accounts, audit
from qlora_studio.services.accounts import SignedIn
from qlora_studio.services.passwords import token_hash

PREFIX = "qls_"
MAX_PER_USER = 50
MAX_DAYS = 3650
_USED_EVERY = timedelta(minutes=1)

TokenName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]


class TokenCreate(Strict):
    """A new token. Without `days` it does not expire."""

    name: TokenName
    scope: TokenScope = TokenScope.READ
    days: Annotated[int, Field(ge=1, le=MAX_DAYS)] | None = 90


@dataclass(frozen=True)
class NewToken:
    """A token just made. `secret` is the only copy of it."""

    secret: str
    token: ApiToken


def create(session: Session, *, actor: User, form: TokenCreate) -> NewToken:
    """Make a token of the actor's.

    Raises:
        TooLarge: the account has as many as one may.
    """
    n_there = session.exec(select(func.count()).where(col(ApiToken.user_id) == actor.id)).one()
    if n_there >= MAX_PER_USER:
        raise TooLarge(f"You have {n_there} tokens, the most one account may. Revoke one first.")
    secret = PREFIX + secrets.token_urlsafe(32)
    token = ApiToken(
        token_hash=token_hash(secret),
        hint=secret[:10],
        user_id=actor.id,
        name=form.name,
        scope=form.scope,
        expires_at=utc_now() + timedelta(days=form.days) if form.days else None,
    )
    session.add(token)
    session.flush()
    _audit(session, actor, "token.create", token)
    return NewToken(secret, token)


def list_tokens(session: Session, *, actor: User) -> list[ApiToken]:
    """The actor's tokens, the newest first; those that have expired, too."""
    query = select(ApiToken).where(col(ApiToken.user_id) == actor.id)
    return list(session.exec(query.order_by(col(ApiToken.created_at).desc(), col(ApiToken.id))))


def revoke(session: Session, *, actor: User, token_id: str) -> None:
    """End a token at once.

    Raises:
        NotFound: it isn't the actor's.
    """
    token = session.get(ApiToken, token_id)
    if token is None or token.user_id != actor.id:
        raise NotFound("There is no such token.")
    _audit(session, actor, "token.revoke", token)
    session.delete(token)


def authenticate_bearer(secret: str) -> SignedIn:
    """Return whose bearer token this is, of a session or for scripts. Opens its own transactions.

    Raises:
        NotAuthenticated: there is none such, it has ended, or its account is disabled.
    """
    if not secret.startswith(PREFIX):
        return accounts.authenticate(secret)
    now: datetime = utc_now()
    with db.read() as session:
        query = select(ApiToken, User).join(User, col(User.id) == col(ApiToken.user_id))
        found = session.exec(query.where(col(ApiToken.token_hash) == token_hash(secret[:200]))).first()
    if found is None or found[1].disabled_at is not None:
        raise NotAuthenticated("This token is not known here, or was revoked.")
    token, user = found
    if token.expires_at is not None and token.expires_at <= now:
        raise NotAuthenticated("This token has expired. Make another one in the settings.")
    if token.last_used_at is None or token.last_used_at + _USED_EVERY < now:
        with db.write() as session:
            if (kept := session.get(ApiToken, token.id)) is not None:
                kept.last_used_at = now
    return SignedIn(user=user, session_id="", expires_at=token.expires_at, scope=token.scope)


def _audit(session: Session, actor: User, action: str, token: ApiToken) -> None:
    audit.record(
        session,
        actor=actor,
        action=action,
        object_type="token",
        object_id=token.id,
        object_name=token.name,
        details={"scope": token.scope.value},
    )
