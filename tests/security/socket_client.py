"""A websocket client that speaks just enough of the pages' protocol to call any event handler by hand."""

import contextlib
import json
import socket
import time
from typing import Any

from simple_websocket import Client, ConnectionClosed

from scripts.running import Server


class EventSocket:
    """One connection. `frames` holds everything that the server has sent."""

    def __init__(self, server: Server, *, token: str, cookie: str = "") -> None:
        headers = {"Origin": "http://localhost"}  # this client's Host header names no port
        if cookie:
            headers["Cookie"] = f"studio_session_{server.port}={cookie}"
        url = f"ws://localhost:{server.port}/_event/?EIO=4&transport=websocket&token={token}"
        self._client = Client.connect(url, headers=headers, max_message_size=1 << 26)
        self.frames: list[str] = []
        self._until("0{")
        self._client.send("40/_event,{}")
        self._until("40/_event")

    def send(self, name: str, payload: dict[str, Any], path: str = "/", **query: str) -> None:
        """Call a handler by its full name, as if from the page at `path`."""
        router = {"pathname": path, "asPath": path, "query": query}
        event = {"name": name, "payload": payload, "router_data": router}
        self._client.send(f"42/_event,{json.dumps(['event', event])}")

    def collect(self, quiet_s: float, at_most_s: float = 60) -> str:
        """Receive until nothing has come for `quiet_s` seconds; returns all frames so far as one text."""
        deadline = time.monotonic() + at_most_s
        while time.monotonic() < deadline and self._receive(quiet_s):
            pass
        return "\n".join(self.frames)

    def ask(self, name: str, path: str, at_most_s: float = 60) -> None:
        """Call a handler that answers once, and wait for the answer."""
        before, deadline = len(self.frames), time.monotonic() + at_most_s
        self.send(name, {}, path)
        while not any(frame.startswith("42") for frame in self.frames[before:]):
            assert time.monotonic() < deadline, f"no answer of {name}"
            self._receive(1)

    def close(self) -> None:
        """Close the connection; one that is closed already is no error."""
        with contextlib.suppress(ConnectionClosed):
            self._client.close()
        self._client.thread.join(10)
        self._client.sock.close()

    def _receive(self, timeout_s: float) -> bool:
        frame = self._client.receive(timeout=timeout_s)
        if frame is None:
            return False
        text = frame if isinstance(frame, str) else frame.decode(errors="replace")
        if text == "2":
            self._client.send("3")
        self.frames.append(text)
        return True

    def _until(self, start: str) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self._receive(1) and self.frames[-1].startswith(start):
                return
        raise AssertionError(f"no {start} frame, got {self.frames}")


def handlers() -> dict[str, Any]:
    """Every handler that this app registers, the framework's own too, by full name."""
    from reflex_base.registry import RegistrationContext

    from qlora_studio import qlora_studio  # noqa: F401  loads every page and state

    return {name: r.handler.fn for name, r in RegistrationContext.get().event_handlers.items()}


def name_of(ending: str) -> str:
    """The full name of the handler that ends so, as `datasets_state.load`."""
    return next(name for name in handlers() if name.endswith(ending))


def handshake_status(server: Server, *, origin: str | None, host: str, cookie: str) -> int:
    """Ask for a websocket with these headers and return the status of the answer; 101 opens it."""
    lines = [
        "GET /_event/?EIO=4&transport=websocket&token=x HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        f"Cookie: studio_session_{server.port}={cookie}",
        *([f"Origin: {origin}"] if origin else []),
    ]
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
        return int(connection.recv(4096).split(b" ")[1])
