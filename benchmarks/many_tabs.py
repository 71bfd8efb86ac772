"""Many tabs without browsers: websockets that speak the pages' protocol, opened by one process."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import aiohttp

OPEN_PAGE = "reflex___state____state.reflex___state____on_load_internal_state.on_load_internal"


class Tab:
    """One tab on one page.

    Args:
        client: has the session's cookie.
        base: the server's address.
        token: tells the tab from others.
        path: the page that it has open, with its `route` as the app names it and the ids in it.
        heard: is given each frame as it comes.
    """

    def __init__(
        self,
        client: aiohttp.ClientSession,
        base: str,
        token: str,
        *,
        path: str,
        route: str = "",
        ids: dict[str, str] | None = None,
        heard: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._client, self._base, self._token = client, base, token
        self._router = {"pathname": route or path, "asPath": path, "query": ids or {}}
        self._heard = heard
        self._socket: Any = None
        self._listening: asyncio.Task[None] | None = None

    async def open(self) -> "Tab":
        """Connect and load the page."""
        address = f"{self._base}/_event/?EIO=4&transport=websocket&token={self._token}"
        self._socket = await self._client.ws_connect(
            address, headers={"Origin": self._base}, max_msg_size=1 << 26
        )
        await self._socket.receive()
        await self._socket.send_str("40/_event,{}")
        await self._socket.receive()
        self._listening = asyncio.create_task(self._listen())
        await self.send(OPEN_PAGE)
        return self

    async def send(self, name: str, **payload: Any) -> None:
        """Call a handler by its full name."""
        event = {"name": name, "payload": payload, "router_data": self._router}
        await self._socket.send_str(f"42/_event,{json.dumps(['event', event])}")

    async def close(self) -> None:
        """Close the tab."""
        if self._listening is not None:
            self._listening.cancel()
        if self._socket is not None:
            await self._socket.close()

    async def _listen(self) -> None:
        async for message in self._socket:
            if message.data == "2":
                await self._socket.send_str("3")
            else:
                self._heard(message.data)


def session(cookies: dict[str, str]) -> aiohttp.ClientSession:
    """A client that opens as many sockets as it is asked for."""
    header = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return aiohttp.ClientSession(
        headers={"Cookie": header} if header else {}, connector=aiohttp.TCPConnector(limit=0)
    )


async def settled(is_so: Callable[[], bool], *, within_s: float) -> bool:
    """Wait until something is so; False if it isn't in time."""
    deadline = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True
