"""One's own account: profile, password, where one is signed in, and tokens for scripts."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlmodel import Session

from qlora_studio.api.auth import UserPublic, peer_of
from qlora_studio.api.idempotency import IdempotencyHeader, WithSecret, create_once
from qlora_studio.api.lists import Page, Paging
from qlora_studio.api.problems import answers
from qlora_studio.api.security import CurrentSession, CurrentUser
from qlora_studio.contracts.enums import TokenScope
from qlora_studio.contracts.spec import Strict
from qlora_studio.db import engine as db
from qlora_studio.services import profile, tokens
from qlora_studio.services.profile import ProfileUpdate
from qlora_studio.services.tokens import TokenCreate

router = APIRouter(tags=["Account"])

Password = Annotated[str, Field(max_length=1024)]


class PasswordChange(Strict):
    current: Password
    new: Password


class PasswordResetForm(Strict):
    """A new password, and the token of a link that an admin gave out."""

    token: Annotated[str, Field(max_length=200)]
    new: Password


class SessionsEnded(BaseModel):
    """In how many other places one was signed in until now."""

    sessions_ended: int


class SessionPublic(BaseModel):
    """A place where one is signed in."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    browser: str
    peer: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    is_this: bool


class SessionPage(Page[SessionPublic]):
    """One page of the places where one is signed in."""


class TokenPublic(BaseModel):
    """A token for scripts; `hint` is how it begins."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    hint: str
    scope: TokenScope
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class TokenMade(TokenPublic):
    """A token just made: `token` is shown this once."""

    token: str | None


class TokenPage(Page[TokenPublic]):
    """One page of one's tokens."""


@router.patch("/me", responses=answers(429))
def update_me(body: ProfileUpdate, request: Request, found: CurrentSession) -> UserPublic:
    """Change your name, e-mail address (with your password) or theme."""
    return UserPublic.model_validate(profile.update(actor=found.user, form=body, peer=peer_of(request)))


@router.post("/me/password", responses=answers(429))
def change_password(body: PasswordChange, request: Request, found: CurrentSession) -> SessionsEnded:
    """Set another password. Your other sessions end at once; tokens stay until you revoke them."""
    n_ended = profile.change_password(
        actor=found.user,
        session_id=found.session_id,
        current=body.current,
        new=body.new,
        peer=peer_of(request),
    )
    return SessionsEnded(sessions_ended=n_ended)


@router.post("/auth/reset", status_code=204, responses=answers(401))
def reset_password(body: PasswordResetForm) -> Response:
    """Set a new password by a link from an admin. It works once; then sign in."""
    profile.reset_password(token=body.token, new=body.new)
    return Response(status_code=204)


@router.get("/me/sessions")
def list_sessions(found: CurrentSession, wanted: Annotated[Paging, Query()]) -> SessionPage:
    """Where you are signed in."""
    with db.read() as session:
        places = profile.list_places(session, actor=found.user, session_id=found.session_id)
    return SessionPage.cut([SessionPublic.model_validate(place) for place in places], wanted)


@router.delete("/me/sessions")
def end_other_sessions(found: CurrentSession) -> SessionsEnded:
    """Sign out everywhere else, at once."""
    with db.write() as session:
        n_ended = profile.end_others(session, actor=found.user, session_id=found.session_id)
    return SessionsEnded(sessions_ended=n_ended)


@router.delete("/me/sessions/{session_id}", status_code=204)
def end_session(session_id: str, found: CurrentSession) -> Response:
    """Sign out in one place, at once."""
    with db.write() as session:
        profile.end_session(session, actor=found.user, session_id=session_id)
    return Response(status_code=204)


@router.get("/tokens")
def list_tokens(user: CurrentUser, wanted: Annotated[Paging, Query()]) -> TokenPage:
    """Your tokens for scripts, without their secrets."""
    with db.read() as session:
        items = [TokenPublic.model_validate(one) for one in tokens.list_tokens(session, actor=user)]
    return TokenPage.cut(items, wanted)


@router.post("/tokens", status_code=201, response_model=TokenMade)
def create_token(
    body: TokenCreate, request: Request, found: CurrentSession, key: IdempotencyHeader = None
) -> JSONResponse:
    """Make a token to send as `Authorization: Bearer …`.

    It is in this answer and never again: the same `Idempotency-Key` later gives null for it.
    """

    def make(session: Session) -> WithSecret:
        made = tokens.create(session, actor=found.user, form=body)
        shown = TokenMade(**TokenPublic.model_validate(made.token).model_dump(), token=None)
        return WithSecret(shown, {"token": made.secret})

    return create_once(user=found.user, key=key, request=request, body=body, create=make)


@router.delete("/tokens/{token_id}", status_code=204)
def revoke_token(token_id: str, found: CurrentSession) -> Response:
    """End a token at once."""
    with db.write() as session:
        tokens.revoke(session, actor=found.user, token_id=token_id)
    return Response(status_code=204)
