"""A web of our own on loopback: names that lead to public addresses, which are answered by a server here."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpcore
import pytest

from qlora_studio.ingest import addresses, fetching

PUBLIC = "93.184.215.14"
Answer = Callable[["Request"], None]


class Request(BaseHTTPRequestHandler):
    """One request; `server.pages` maps a path to what answers it."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        server: Any = self.server
        server.seen.append((self.headers["Host"], self.path, dict(self.headers)))
        self.close_connection = True
        answer = server.pages.get(self.path.split("?")[0])
        if answer is None:
            self.send_head(404, {"Content-Length": "0"})
        else:
            answer(self)

    do_POST = do_GET

    def send_head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


class Web:
    """`pages` answer; `names` lead to addresses; `connected` and `seen` are what was really done."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.port = server.server_port
        self.pages: dict[str, Answer] = {}
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.names: dict[str, list[str]] = {}
        self.connected: list[tuple[str, int]] = []
        server.pages, server.seen = self.pages, self.seen  # type: ignore[attr-defined]

    def look_up(self, host: str, port: int) -> list[str]:
        if host in self.names:
            return self.names[host]
        return [PUBLIC] if host.endswith(".example") else addresses.look_up(host, port)

    def connect(self, address: str, port: int, timeout: float | None = None) -> httpcore.NetworkStream:
        self.connected.append((address, port))
        return httpcore.SyncBackend().connect_tcp("127.0.0.1", self.port, timeout=timeout)

    def serve(self, path: str, content: bytes, **headers: str) -> None:
        """Answer with these bytes, whole or the range that is asked for."""

        def answer(request: Request) -> None:
            wanted = request.headers.get("Range", "bytes=0-")
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            head = {"Content-Length": str(len(content) - start), "ETag": '"1"', **headers}
            if start:
                head["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            request.send_head(206 if start else 200, head)
            request.wfile.write(content[start:])

        self.pages[path] = answer


@contextmanager
def opened() -> Iterator[Web]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Request)
    server.daemon_threads = True
    server.block_on_close = False
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hangs up is expected
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield Web(server)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    with opened() as made:
        monkeypatch.setattr(addresses, "NETWORK", addresses.Network(made.look_up, made.connect))
        monkeypatch.setattr(fetching, "WAIT_S", 0.0)
        yield made
