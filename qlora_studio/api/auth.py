"""Sign up, log in, log out, and who am I."""

from datetime import datetime
from typing import Annotated

import anyio
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from qlora_studio.api.problems import answers
from qlora_studio.api.security import CurrentUser, credentials_of
from qlora_studio.contracts.enums import Role
from qlora_studio.core.session_cookie import session_cookie_name
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db
from qlora_studio.services import accounts

router = APIRouter(tags=["Accounts"])


class SignUp(BaseModel):
    model_config = ConfigDict(extra="forbid")

    username: Annotated[str, Field(max_length=64)]
    email: Annotated[str, Field(max_length=254)]
    password: Annotated[str, Field(max_length=1024)]


class LogIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    login: Annotated[str, Field(max_length=254)]
    password: Annotated[str, Field(max_length=1024)]


class UserPublic(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    username: str
    name: str
    email: str
    role: Role
    theme: str
    created_at: datetime


class LoggedIn(BaseModel):
    token: str
    expires_at: datetime
    user: UserPublic


class FieldChecks(BaseModel):
    errors: dict[str, str]


def peer_of(request: Request) -> str:
    """The client's address; behind a trusted proxy, the one that it tells."""
    return request.client.host if request.client else ""


@router.post("/auth/signup", status_code=201, responses=answers(409, 429))
def sign_up(body: SignUp, request: Request) -> UserPublic:
    """Make an account. The first one becomes admin. Sign in afterwards with `/auth/login`."""
    with db.write() as session:
        user = accounts.sign_up(session, **body.model_dump(), peer=peer_of(request))
    return UserPublic.model_validate(user)


@router.get("/auth/check")
def check(
    username: Annotated[str, Query(max_length=64)] = "", email: Annotated[str, Query(max_length=254)] = ""
) -> FieldChecks:
    """Say what is wrong with a username or an e-mail address before signing up with it."""
    with db.read() as session:
        return FieldChecks(
            errors=accounts.check_fields(session, username=username.strip(), email=email.strip())
        )


@router.post("/auth/login", responses=answers(401, 429))
async def log_in(body: LogIn, request: Request, response: Response) -> LoggedIn:
    """Start a session: the token for scripts, and the same as a cookie that page scripts cannot read."""
    peer, agent = peer_of(request), request.headers.get("user-agent", "")
    old = credentials_of(request.headers)

    def start() -> accounts.NewSession:
        new = accounts.log_in(login=body.login, password=body.password, peer=peer, user_agent=agent)
        if old.token and old.is_cookie:  # the browser's session is replaced, never reused
            with db.write() as session:
                accounts.log_out(session, token=old.token)
        return new

    new = await anyio.to_thread.run_sync(start)
    response.set_cookie(
        session_cookie_name(),
        new.token,
        expires=new.expires_at,
        path="/",
        httponly=True,
        samesite="lax",
        secure=get_settings().secure_cookies,
    )
    return LoggedIn(token=new.token, expires_at=new.expires_at, user=UserPublic.model_validate(new.user))


@router.post("/auth/logout", status_code=204)
def log_out(request: Request) -> Response:
    """End this session at once, in every tab."""
    with db.write() as session:
        accounts.log_out(session, token=credentials_of(request.headers).token)
    response = Response(status_code=204)
    response.delete_cookie(session_cookie_name(), path="/", httponly=True, samesite="lax")
    return response


@router.get("/me")
async def me(user: CurrentUser) -> UserPublic:
    """Return the signed-in user."""
    return UserPublic.model_validate(user)
