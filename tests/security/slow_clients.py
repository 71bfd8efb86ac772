"""Clients that dawdle, in a process of their own: they send a byte at a time, or never read what they asked.

    python -m tests.security.slow_clients KIND PORT NUMBER TOKEN PATH [HANDLER]

KIND is heads, bodies, readers, pages, or watchers: pages that do read. Prints `ready` when all have asked,
and those that want an answer could read its beginning. Goes on until its input ends, and then prints as JSON
how many were answered with 429, how many the server has hung up on, and when the last of them, in seconds.
"""

import json
import select
import socket
import sys
import time

from tests.security.flood import frame

BYTE_EVERY_S = 0.5
SMALL = 4096  # of the buffer for what is never read


def connect(port: int) -> socket.socket:
    """A connection from an address of its own, whose machine takes next to nothing in."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    connection.settimeout(20)
    connection.bind(("127.0.8.1", 0))
    connection.connect(("127.0.0.1", port))
    return connection


def head(port: int, token: str, path: str, *more: str, method: str = "GET") -> bytes:
    """A request up to its body."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: localhost:{port}", f"Authorization: Bearer {token}", *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def page(port: int, token: str, path: str, handler: str, number: int) -> socket.socket:
    """A websocket that has opened a job's page, and from then on reads nothing."""
    more = (
        f"Origin: http://localhost:{port}",
        f"Cookie: studio_session_{port}={token}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    connection = connect(port)
    asked = f"/_event/?EIO=4&transport=websocket&token=slow-{number}"
    connection.sendall(head(port, token, asked, *more))
    answer = connection.recv(SMALL)
    assert b" 101 " in answer, answer
    connection.sendall(frame("40/_event,{}"))
    router = {"pathname": "/training/[job_id]", "asPath": path, "query": {"job_id": path.rpartition("/")[2]}}
    event = {"name": handler, "payload": {}, "router_data": router}
    connection.sendall(frame(f"42/_event,{json.dumps(['event', event])}"))
    return connection


def opened(kind: str, port: int, token: str, path: str, handler: str, number: int) -> socket.socket:
    """One client of this kind that has begun."""
    if kind in ("pages", "watchers"):
        return page(port, token, path, handler, number)
    connection = connect(port)
    if kind == "heads":
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nX-Slow: ".encode())
    elif kind == "bodies":
        connection.sendall(head(port, token, path, "Content-Length: 100000", method="POST") + b"{")
    else:
        connection.sendall(head(port, token, path))
    return connection


def is_refused(connection: socket.socket) -> bool:
    """Whether the answer begins with 429: looked at, and left where it is."""
    connection.settimeout(60)
    return connection.recv(12, socket.MSG_PEEK).endswith(b" 429")


def has_ended(connection: socket.socket, *, reads: bool) -> bool:
    """Whether the server has hung up or answered; readers don't look at what lies there."""
    poll = select.poll()
    poll.register(connection, (select.POLLIN if reads else 0) | select.POLLRDHUP)
    return bool(poll.poll(0))


def take_in(connections: list[socket.socket]) -> None:
    """Read what lies there, as a page does."""
    for connection in select.select(connections, [], [], 0)[0]:
        connection.recv(1 << 20)


def main() -> None:
    kind, port, number, token, path, handler = (*sys.argv[1:], "")[:6]
    is_sender = kind in ("heads", "bodies")
    kept = [opened(kind, int(port), token, path, handler, i) for i in range(int(number))]
    n_refused = sum(is_refused(connection) for connection in kept) if kind == "readers" else 0
    print("ready", flush=True)
    began, last_s, n_ended = time.monotonic(), 0.0, 0
    while not select.select([sys.stdin], [], [], BYTE_EVERY_S)[0]:
        if kind == "watchers":
            take_in(kept)
            continue
        for connection in list(kept):
            try:
                is_over = has_ended(connection, reads=is_sender)
                if is_sender and not is_over:
                    connection.send(b"x")
            except OSError:
                is_over = True
            if is_over:
                kept.remove(connection)
                connection.close()
                n_ended, last_s = n_ended + 1, time.monotonic() - began
    for connection in kept:
        connection.close()
    print(json.dumps({"refused": n_refused, "ended": n_ended, "last_s": round(last_s, 1)}), flush=True)


if __name__ == "__main__":
    main()
