"""How much of a request's body is taken, and for how long.

Most routes read their body whole, before they know who asks; so it is short and comes soon. Routes that take
theirs in pieces say `max_body_size=STREAMED` and have bounds of their own.
"""

import asyncio

from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import MAX_BODY_SIZE_SCOPE_KEY
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qlora_studio.core.settings import get_settings

MAX_BYTES = 8 << 20
STREAMED = 1 << 62


class Patience:
    """ASGI middleware: what is read whole must be there within `max_body_s` of the first look at it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        deadline = 0.0
        is_whole = scope["type"] != "http"

        async def receive_in_time() -> Message:
            nonlocal deadline, is_whole
            if is_whole or scope.get(MAX_BODY_SIZE_SCOPE_KEY) == STREAMED:
                return await receive()
            seconds = get_settings().max_body_s
            deadline = deadline or asyncio.get_running_loop().time() + seconds
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"The request did not arrive within {seconds:.0f} s.") from None
            is_whole = not message.get("more_body", False)
            return message

        await self._app(scope, receive_in_time, send)
