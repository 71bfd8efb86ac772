"""While the app is being loaded its pages are served, everything else waits, and what goes wrong is told."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qlora_studio.doorstep import Doorstep


class _App:
    """Answers everything with its name, and notes its life."""

    def __init__(self, *, fails: bool = False) -> None:
        self.life: list[str] = []
        self._fails = fails

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await PlainTextResponse("app")(scope, receive, send)
            return
        self.life.append((await receive())["type"])
        await send(
            {"type": f"lifespan.startup.{'failed' if self._fails else 'complete'}", "message": "no room"}
        )
        if not self._fails:
            self.life.append((await receive())["type"])
            await send({"type": "lifespan.shutdown.complete"})


class _Server:
    """Takes a doorstep through its life, as a web server does."""

    def __init__(self, load: Callable[[], ASGIApp]) -> None:
        self.has_given_up = asyncio.Event()
        self.doorstep = Doorstep(PlainTextResponse("file"), load, self.has_given_up.set)
        self._to: asyncio.Queue[Message] = asyncio.Queue()
        self._from: asyncio.Queue[Message] = asyncio.Queue()

    async def __aenter__(self) -> "_Server":
        scope: dict[str, Any] = {"type": "lifespan"}
        self._living = asyncio.create_task(self.doorstep(scope, self._to.get, self._from.put))  # type: ignore[arg-type]
        await self._to.put({"type": "lifespan.startup"})
        assert (await self._from.get())["type"] == "lifespan.startup.complete"
        transport = httpx.ASGITransport(app=self.doorstep)  # type: ignore[arg-type]
        self.client = httpx.AsyncClient(transport=transport, base_url="http://studio")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._to.put({"type": "lifespan.shutdown"})
        assert (await self._from.get())["type"] == "lifespan.shutdown.complete"
        await self._living
        await self.client.aclose()


async def test_pages_are_served_at_once_and_the_rest_as_soon_as_it_can_be() -> None:
    app, may_load = _App(), threading.Event()

    def load() -> ASGIApp:
        assert may_load.wait(10)
        return app

    async with asyncio.timeout(10), _Server(load) as server:
        assert (await server.client.get("/training/job_1")).text == "file"
        waiting = [asyncio.create_task(server.client.get(path)) for path in ("/ping", "/api/v1/jobs")]
        waiting.append(asyncio.create_task(server.client.post("/training")))
        assert (await server.client.get("/assets/a.js")).text == "file"
        assert not any(one.done() for one in waiting)
        may_load.set()
        assert [one.text for one in await asyncio.gather(*waiting)] == ["app"] * 3
        assert (await server.client.get("/training")).text == "app"
    assert app.life == ["lifespan.startup", "lifespan.shutdown"]


@pytest.mark.parametrize("app", [None, _App(fails=True)])
async def test_an_app_that_does_not_start_is_told_and_keeps_nobody_waiting(app: _App | None) -> None:
    def load() -> ASGIApp:
        if app is None:
            raise ImportError("no such module")
        return app

    async with asyncio.timeout(10), _Server(load) as server:
        await server.has_given_up.wait()
        with pytest.raises(AssertionError):  # the transport's word for no answer
            await server.client.get("/ping")
        assert "no such module" in str(server.doorstep.error) or "no room" in str(server.doorstep.error)
