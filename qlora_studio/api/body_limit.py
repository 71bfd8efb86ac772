"""How much of a request's body is read."""

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BYTES = 8 << 20  # of JSON; no form of ours comes near it
_KEY = "qlora_studio.body_limit"


class _Limit:
    def __init__(self) -> None:
        self.is_lifted = False


class BodyLimit:
    """Answer 413 instead of keeping a body in memory that is larger than any form.

    FastAPI reads a form's body before it knows who sends it. Routes that stream their body to the disk, with
    caps of their own, lift the limit first.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = scope[_KEY] = _Limit()
        n_bytes = 0

        async def receive_some() -> Message:
            nonlocal n_bytes
            message = await receive()
            n_bytes += len(message.get("body", b""))
            if n_bytes > MAX_BYTES and not limit.is_lifted:
                raise HTTPException(413, f"That is more than {MAX_BYTES >> 20} MB.")
            return message

        await self._app(scope, receive_some, send)


def lift_body_limit(request: Request) -> None:
    """Let the route read what it likes: it has a cap of its own."""
    if _KEY in request.scope:
        request.scope[_KEY].is_lifted = True
