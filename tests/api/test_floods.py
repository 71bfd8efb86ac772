from collections.abc import Iterator

import pytest
from starlette.types import Message, Receive, Scope, Send

from qlora_studio.api.floods import Share, Turnstile
from qlora_studio.core.settings import get_settings


@pytest.fixture(autouse=True)
def _limits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("QLORA_STUDIO_EVENTS_PER_S", "10")
    monkeypatch.setenv("QLORA_STUDIO_MAX_SOCKETS", "2")
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def test_events_wait_once_the_credit_is_used_up_and_time_gives_it_back() -> None:
    now = 0.0
    share = Share(clock=lambda: now)
    assert [share.pay(1) for _ in range(30)] == [0.0] * 30  # three seconds' worth at once
    assert share.pay(1) == pytest.approx(0.1)
    assert share.pay(5) == pytest.approx(0.6)
    now = 1.0
    assert share.pay(4) == 0.0
    now = 1000.0  # no more than three seconds are saved up
    assert share.pay(31) == pytest.approx(0.1)
    assert not share.is_forgettable
    now = 2000.0
    assert share.is_forgettable


async def test_one_peer_has_so_many_sockets_and_another_its_own() -> None:
    held: list[str] = []
    sent: list[Message] = []

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        peer = scope["client"][0]
        held.append(peer)
        if held.count(peer) < 3:  # each opens the next one while it is open itself
            await turnstile(scope, receive, send)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    turnstile = Turnstile(page)
    for peer in ("10.0.0.1", "10.0.0.2", "10.0.0.1"):
        await turnstile({"type": "websocket", "headers": [], "client": (peer, 1)}, receive, send)
    # The third one at once is refused; those that were closed count no more.
    assert held[:4] == ["10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.2"]
    assert [message["type"] for message in sent[:2]] == ["websocket.close"] * 2
