"""How many sockets one person may have open, and how fast their events are taken.

Who is signed in has a share of their own, everybody else one for each address. What comes too fast waits
unread: it is the sender's connection that fills up, and nothing is lost.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qlora_studio.core.errors import NotAuthenticated
from qlora_studio.core.session_cookie import token_from_cookie
from qlora_studio.core.settings import get_settings
from qlora_studio.services import accounts

_BURST_S = 3.0  # unused time that counts
_SOCKET_COSTS = 5.0  # events
_BYTES_OF_AN_EVENT = 16_384  # a longer one counts as several
_KEPT_SHARES = 1000


@dataclass
class Share:
    """What one person takes: open sockets, and `credit`, the events that may come at once."""

    clock: Callable[[], float] = time.monotonic
    n_open: int = 0
    credit: float = field(init=False)
    _at: float = field(init=False)

    def __post_init__(self) -> None:
        self.credit, self._at = self.full, self.clock()

    @property
    def full(self) -> float:
        """The most that is saved up."""
        return get_settings().events_per_s * _BURST_S

    @property
    def is_forgettable(self) -> bool:
        """Whether a new share would be the same."""
        return self.n_open == 0 and self.pay(0) == 0 and self.credit >= self.full

    def pay(self, events: float) -> float:
        """Take so many events; returns the seconds to wait before they are looked at."""
        now = self.clock()
        self.credit = min(self.full, self.credit + (now - self._at) * get_settings().events_per_s)
        self._at = now
        self.credit -= events
        return max(0.0, -self.credit / get_settings().events_per_s)


class Turnstile:
    """ASGI middleware: bounds the websockets, and leaves everything else alone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._shares: dict[str, Share] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        share = self._share_of(await _who(scope))
        if share.n_open >= get_settings().max_sockets:
            await receive()
            await send({"type": "websocket.close", "code": 1013})
            return
        share.n_open += 1
        try:
            await asyncio.sleep(share.pay(_SOCKET_COSTS))
            await self._app(scope, _at_its_pace(receive, share), send)
        finally:
            share.n_open -= 1

    def _share_of(self, key: str) -> Share:
        if key not in self._shares and len(self._shares) >= _KEPT_SHARES:
            self._shares = {k: share for k, share in self._shares.items() if not share.is_forgettable}
        return self._shares.setdefault(key, Share())


def _at_its_pace(receive: Receive, share: Share) -> Receive:
    async def receive_in_turn() -> Message:
        message = await receive()
        if message["type"] == "websocket.receive":
            size = len(message.get("text") or message.get("bytes") or "")
            if wait_s := share.pay(1 + size // _BYTES_OF_AN_EVENT):
                await asyncio.sleep(wait_s)
        return message

    return receive_in_turn


async def _who(scope: Scope) -> str:
    token = token_from_cookie(Headers(scope=scope).get("cookie", ""))
    if token:
        try:
            found = await anyio.to_thread.run_sync(accounts.authenticate, token)
        except NotAuthenticated:
            pass
        else:
            return f"user:{found.user.id}"
    return f"peer:{(scope.get('client') or ('',))[0]}"
