"""One person has so many downloads and streams of events open, and another as many of their own."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from starlette.types import Message, Scope

from qlora_studio.api.streams import OneOfAFew
from qlora_studio.core.settings import get_settings


@pytest.fixture(autouse=True)
def _limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("QLORA_STUDIO_MAX_STREAMS", "2")
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


class Reader:
    """One request for a stream that has no end, until the reader hangs up or `end` is set."""

    def __init__(self, user_id: str) -> None:
        self.sent: list[Message] = []
        self.end, self._hangs_up, self._answered = asyncio.Event(), asyncio.Event(), asyncio.Event()
        stream = OneOfAFew(self._pieces(), user_id=user_id, media_type="text/event-stream", headers={})
        scope: Scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        self.task = asyncio.create_task(stream(scope, self._receive, self._send))

    async def status(self) -> int:
        async with asyncio.timeout(5):
            await self._answered.wait()
        return int(self.sent[0]["status"])

    async def hang_up(self) -> None:
        self._hangs_up.set()
        async with asyncio.timeout(5):
            await self.task

    async def _pieces(self) -> AsyncIterator[str]:
        yield "first"
        await self.end.wait()

    async def _receive(self) -> Message:
        await self._hangs_up.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.sent.append(message)
        self._answered.set()


async def test_a_third_stream_is_refused_until_one_has_ended() -> None:
    first, second, refused = (Reader("ada") for _ in range(3))
    assert [await reader.status() for reader in (first, second, refused)] == [200, 200, 429]
    assert dict(refused.sent[0]["headers"])[b"retry-after"] == b"5"
    assert b"2 downloads and streams" in refused.sent[1]["body"]
    other = Reader("bob")
    assert await other.status() == 200
    await first.hang_up()
    third = Reader("ada")
    assert await third.status() == 200
    second.end.set()
    async with asyncio.timeout(5):
        await second.task
    fourth = Reader("ada")
    assert await fourth.status() == 200
    for reader in (other, third, fourth):
        await reader.hang_up()
