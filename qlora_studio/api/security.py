"""Who is asking, and whether such a request is taken at all.

`Gate` stands before everything, pages, REST and websocket alike: it refuses foreign hosts and origins, closes
the framework's public endpoints, sends people without a session to sign in, and adds the security headers.
`current_user` is the dependency of the REST routes.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import anyio
from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, HTTPBearer
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qlora_studio.api.content_policy import policy_for_build
from qlora_studio.api.problems import problem
from qlora_studio.api.proxies import with_real_peer
from qlora_studio.contracts.enums import TokenScope
from qlora_studio.core.errors import Forbidden, NotAuthenticated
from qlora_studio.core.session_cookie import token_from_cookie
from qlora_studio.core.settings import get_settings
from qlora_studio.db.models.user import User
from qlora_studio.frontend.preloads import Preloads
from qlora_studio.services import access, accounts, tokens
from qlora_studio.services.access import Action
from qlora_studio.services.accounts import SignedIn

# For the description of the API alone: `credentials_of` reads them.
_BEARER = HTTPBearer(scheme_name="token", description="Of a session or for scripts.", auto_error=False)
_COOKIE = APIKeyCookie(
    name="studio_session_PORT",
    scheme_name="cookie",
    description="The browser's session; what changes something needs an `Origin` beside it.",
    auto_error=False,
)
_LOOK_ONLY = "Your role can look, but not change anything. Ask an admin for the trainer role."
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
PUBLIC_PAGES = frozenset({"/login", "/signup"})
RESET_PAGE = "/reset"  # for anybody, signed in or not
_CLOSED = ("/_upload", "/_all_routes", "/auth-codespace")
_STATIC = (
    "/assets/",
    "/fonts/",
    "/favicon",
    "/auth.js",
    "/shell.js",
    "/theme.css",
    "/ping",
    "/_health",
    "/_event",
)


@dataclass(frozen=True)
class Credentials:
    """What a request offers: a token, and whether it came as a cookie (then the origin counts)."""

    token: str
    is_cookie: bool


def credentials_of(headers: Headers) -> Credentials:
    """Return the bearer token of a request, else its session cookie, else an empty token."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return Credentials(value.strip(), is_cookie=False)
    return Credentials(token_from_cookie(headers.get("cookie", "")), is_cookie=True)


def _authenticate(offered: Credentials) -> SignedIn:
    check = accounts.authenticate if offered.is_cookie else tokens.authenticate_bearer
    return check(offered.token)


async def signed_in(
    request: Request,
    _bearer: Annotated[object, Security(_BEARER)] = None,
    _cookie: Annotated[object, Security(_COOKIE)] = None,
) -> SignedIn:
    """Return whose request this is, and by which session; a token for scripts has none.

    Raises:
        NotAuthenticated: no token, or its session has ended.
        Forbidden: a cookie came with an unsafe method from another origin, or the token may only read.
    """
    offered = credentials_of(request.headers)
    if not offered.token:
        raise NotAuthenticated("Sign in first: send a bearer token or the session cookie.")
    is_safe = request.method in SAFE_METHODS
    if offered.is_cookie and not is_safe and "origin" not in request.headers:
        raise Forbidden("With the session cookie, name the Origin; scripts should send a bearer token.")
    found = await anyio.to_thread.run_sync(_authenticate, offered)
    if found.scope is TokenScope.READ and not is_safe:
        raise Forbidden("This token may only read. Make one for everything in the settings.")
    return found


def still_signed_in(request: Request) -> Callable[[], bool]:
    """Return what says whether the request would still be let in, for answers that take long."""
    offered = credentials_of(request.headers)

    def is_signed_in() -> bool:
        try:
            _authenticate(offered)
        except NotAuthenticated:
            return False
        return True

    return is_signed_in


StillSignedIn = Annotated[Callable[[], bool], Depends(still_signed_in)]


async def by_session(found: Annotated[SignedIn, Depends(signed_in)]) -> SignedIn:
    """Return whose session this is; a token for scripts is refused: it can't change the account."""
    if not found.session_id:
        raise Forbidden("A token can't do this. Sign in with your password.")
    return found


CurrentSession = Annotated[SignedIn, Depends(by_session)]


async def current_user(found: Annotated[SignedIn, Depends(signed_in)]) -> User:
    """Return the signed-in user."""
    return found.user


CurrentUser = Annotated[User, Depends(current_user)]


async def current_admin(user: CurrentUser) -> User:
    """Return the signed-in user if it is an admin, else raise Forbidden."""
    access.require_role(user, Action.ADMINISTER)
    return user


CurrentAdmin = Annotated[User, Depends(current_admin)]


async def admin_by_session(found: CurrentSession) -> User:
    """Return the signed-in admin; a token for scripts is refused: who gets hold of it would stay."""
    access.require_role(found.user, Action.ADMINISTER)
    return found.user


AdminBySession = Annotated[User, Depends(admin_by_session)]


async def current_trainer(user: CurrentUser) -> User:
    """Return the signed-in user if it may make and change things, else raise Forbidden."""
    access.require_role(user, message=_LOOK_ONLY)
    return user


CurrentTrainer = Annotated[User, Depends(current_trainer)]


def is_known_host(host: str) -> bool:
    """Whether a Host header names this server."""
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    return name is not None and name.lower() in get_settings().host_names


def is_own_origin(origin: str, host: str, *, is_dev: bool) -> bool:
    """Whether an Origin header names the page's own host and port (in development, any port of it)."""
    try:
        parts = urlsplit(origin)
        same_name = (parts.hostname or "") == (urlsplit(f"//{host}").hostname or "-")
    except ValueError:
        return False
    if parts.scheme not in {"http", "https"}:
        return False
    return parts.netloc.lower() == host.lower() or (is_dev and same_name)


class Gate:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp, *, is_dev: bool = False) -> None:
        self._app = app
        self._is_dev = is_dev
        static_path = Path(os.environ.get("REFLEX_WEB_WORKDIR", ".web")) / "build/client"
        self._policy = policy_for_build(is_dev=is_dev, static_path=static_path)
        self._preloads = Preloads(static_path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        scope = with_real_peer(scope, headers)
        refusal = self._refusal(scope, headers)
        if refusal is None and scope["type"] == "http":
            refusal = await self._sign_in_first(scope, headers)
        if refusal is not None:
            await _refuse(refusal, scope, receive, self._with_headers(scope, send))
            return
        if scope["type"] == "websocket":
            await self._app(_bound_to_session(scope, headers), receive, send)
        else:
            await self._app(_with_slash(scope), receive, self._with_headers(scope, send))

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not is_known_host(host):
            return problem(
                400,
                "Unknown host",
                "This server does not answer to that name. Set QLORA_STUDIO_ALLOWED_HOSTS.",
            )
        if origin is not None and not is_own_origin(origin, host, is_dev=self._is_dev):
            return problem(403, "Foreign origin", "This request came from another site.")
        if scope["type"] == "websocket" and origin is None and token_from_cookie(headers.get("cookie", "")):
            return problem(403, "Origin missing", "A browser's websocket names its origin.")
        if scope["path"].startswith(_CLOSED):
            return problem(404, "Not found", "There is nothing here.")
        return None

    async def _sign_in_first(self, scope: Scope, headers: Headers) -> Response | None:
        """Redirect a page request without a session to sign-in, and one with a session away from it."""
        path: str = scope["path"].rstrip("/") or "/"
        if self._is_dev or scope["method"] not in {"GET", "HEAD"} or not _is_page(path):
            return None
        if path == RESET_PAGE:
            return None
        token = token_from_cookie(headers.get("cookie", ""))
        is_live = bool(token) and await anyio.to_thread.run_sync(_is_live, token)
        query = scope.get("query_string", b"").decode("latin-1")
        if path in PUBLIC_PAGES:
            wanted = dict(parse_qsl(query)).get("next", "/")
            return RedirectResponse(local_path(wanted), 303) if is_live else None
        if is_live:
            return None
        wanted = path + (f"?{query}" if query else "")
        return RedirectResponse("/login" if wanted == "/" else f"/login?next={quote(wanted, safe='/')}", 303)

    def _with_headers(self, scope: Scope, send: Send) -> Send:
        path: str = scope["path"]

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("X-Content-Type-Options", "nosniff")
                headers.setdefault("Referrer-Policy", "same-origin")
                headers.setdefault("X-Frame-Options", "DENY")
                headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
                headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=(self)")
                if not path.startswith("/api/") or path == "/api/v1/docs":
                    headers.setdefault("Content-Security-Policy", self._policy)
                if path.startswith("/assets/") and message["status"] == 200:
                    headers["Cache-Control"] = "public, max-age=31536000, immutable"
                elif path.startswith("/api/") or _is_page(path):
                    headers.setdefault(
                        "Cache-Control", "no-store" if path.startswith("/api/") else "no-cache"
                    )
                    if not self._is_dev and (links := self._preloads.for_path(path)):
                        headers.setdefault("Link", links)
            await send(message)

        return send_with_headers


def local_path(wanted: str) -> str:
    """Return `wanted` if it is a path of this site, else `/`: never another host or scheme."""
    is_local = wanted.startswith("/") and not wanted.startswith(("//", "/\\", "/api/"))
    is_plain = all(c > " " and c not in "\\\x7f" for c in wanted) and len(wanted) <= 2000
    return wanted if is_local and is_plain else "/"


def _is_page(path: str) -> bool:
    return not path.startswith((*_STATIC, "/api/")) and "." not in path.rpartition("/")[2]


def _with_slash(scope: Scope) -> Scope:
    """Ask for a page's folder, so that the static files answer at once instead of redirecting to it."""
    path: str = scope["path"]
    if scope["method"] not in {"GET", "HEAD"} or path.endswith("/") or not _is_page(path):
        return scope
    return {**scope, "path": path + "/", "raw_path": (path + "/").encode()}


def _is_live(token: str) -> bool:
    try:
        accounts.authenticate(token)
    except NotAuthenticated:
        return False
    return True


def _bound_to_session(scope: Scope, headers: Headers) -> Scope:
    """Key the tab's server-side state by its token *and* its session cookie.

    The framework hands a tab's whole state to whoever knows the tab's token, which stands in the address.
    With the cookie mixed in, the token alone opens an empty state.
    """
    token = token_from_cookie(headers.get("cookie", ""))
    pairs = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    bound = [(k, _mix(v, token) if k == "token" else v) for k, v in pairs]
    return {**scope, "query_string": urlencode(bound).encode("latin-1")}


def _mix(tab_token: str, session_token: str) -> str:
    return hashlib.sha256(f"{tab_token}\n{session_token}".encode()).hexdigest()[:40]


async def _refuse(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
    else:
        await response(scope, receive, send)
