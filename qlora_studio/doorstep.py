"""Who answers while the app is being put together.

A server that starts again has people waiting at open pages. Loading all of the studio takes more than a
second; the pages themselves are files. So the port is opened first: pages and their scripts are served at
once, behind the same gate as ever, and a browser reads them while the rest is loaded. What needs the app (the
websocket, the REST API) waits for it here.
"""

import asyncio
import gc
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_NOT_FILES = ("/api", "/ping", "/_")


class Doorstep:
    """An ASGI app that becomes another one as soon as that is loaded.

    Args:
        files: the gate with the compiled pages behind it.
        load: imports and builds the whole app; called in a thread as the server starts.
        give_up: called when `load` or the app's own start fails; the reason is then in `error`.
    """

    def __init__(self, files: ASGIApp, load: Callable[[], ASGIApp], give_up: Callable[[], None]) -> None:
        self._files = files
        self._load = load
        self._give_up = give_up
        self._app: ASGIApp | None = None
        self._is_there = asyncio.Event()
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._from_app: asyncio.Queue[Message] = asyncio.Queue()
        self._is_up = False
        self.error: Exception | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        if self._app is None and _is_for_a_file(scope):
            await self._files(scope, receive, send)
            return
        await self._is_there.wait()
        if self._app is not None:
            await self._app(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        living = asyncio.create_task(self._start(scope))
        await send({"type": "lifespan.startup.complete"})
        message = await receive()
        if self._is_up:
            await self._to_app.put(message)
            await self._from_app.get()
        living.cancel()
        await send({"type": "lifespan.shutdown.complete"})

    async def _start(self, scope: Scope) -> None:
        """Load the app, take it through its own start, and let everybody in."""
        try:
            app = await asyncio.to_thread(_without_pauses, self._load)
            running = asyncio.create_task(app(scope, self._to_app.get, self._from_app.put))  # type: ignore[arg-type]
            await self._to_app.put({"type": "lifespan.startup"})
            answer = await self._from_app.get()
            if answer["type"] != "lifespan.startup.complete":
                raise RuntimeError(answer.get("message") or "The app did not start.")
        except Exception as error:
            self.error = error
            self._is_there.set()
            self._give_up()
            return
        self._app, self._is_up = app, True
        self._is_there.set()
        await running


def _without_pauses(load: Callable[[], Any]) -> Any:
    """Load with the garbage collector at rest: it would look at all that is imported, which stays."""
    gc.disable()
    try:
        return load()
    finally:
        gc.freeze()
        gc.enable()


def _is_for_a_file(scope: Scope) -> bool:
    is_asked_for = scope["type"] == "http" and scope["method"] in {"GET", "HEAD"}
    return is_asked_for and not scope["path"].startswith(_NOT_FILES)
