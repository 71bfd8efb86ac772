"""A flood from one peer, in a process of its own: events, large frames, open sockets, or silent connections.

    python -m tests.security.flood PORT events|frames|sockets|silent SECONDS

Prints as JSON what the server has let it do.
"""

import contextlib
import json
import select
import socket
import sys
import time

PEERS = {"events": "127.0.9.1", "frames": "127.0.9.2", "sockets": "127.0.9.3", "silent": "127.0.9.4"}
EVENTS_A_SECOND = 10_000
N_SOCKETS = 2_000
HYDRATE = "reflex___state____state.hydrate"


def asked(port: int, peer: str, number: int) -> socket.socket:
    """A connection on which a websocket to the pages' events is asked for."""
    lines = [
        f"GET /_event/?EIO=4&transport=websocket&token=flood-{number} HTTP/1.1",
        f"Host: localhost:{port}",
        f"Origin: http://localhost:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    connection = socket.create_connection(("127.0.0.1", port), timeout=5, source_address=(peer, 0))
    connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
    return connection


def opened(port: int, peer: str, number: int) -> socket.socket | None:
    """A websocket that is ready for events, or None if it was refused."""
    connection = asked(port, peer, number)
    with contextlib.suppress(OSError):
        if b" 101 " in connection.recv(4096):
            connection.sendall(frame("40/_event,{}"))
            return connection
    connection.close()
    return None


def frame(text: str) -> bytes:
    """One masked text frame; the mask is all zeros."""
    data = text.encode()
    if len(data) < 126:
        head = bytes([0x81, 0x80 | len(data)])
    elif len(data) < 1 << 16:
        head = bytes([0x81, 0x80 | 126]) + len(data).to_bytes(2, "big")
    else:
        head = bytes([0x81, 0x80 | 127]) + len(data).to_bytes(8, "big")
    return head + bytes(4) + data


def event(text: str = "") -> bytes:
    router = {"pathname": "/login", "asPath": "/login", "query": {}}
    sent = {"name": HYDRATE, "payload": {"text": text} if text else {}, "router_data": router}
    return frame(f"42/_event,{json.dumps(['event', sent])}")


def send(port: int, peer: str, what: bytes, a_second: float, seconds: float) -> dict[str, float]:
    """Send the same again and again over eight sockets, as fast as they are taken, to a bound.

    A socket that is closed is opened again.
    """
    rest = {s: b"" for i in range(8) if (s := opened(port, peer, i)) is not None}
    n_bytes, n_closed, began = 0, 0, time.monotonic()
    while rest and (now := time.monotonic()) < began + seconds:
        readable, writable, _ = select.select(rest, rest, [], 0.01)
        for one in readable:
            with contextlib.suppress(OSError):
                if one.recv(1 << 16):
                    continue
            n_closed += 1
            del rest[one]
            one.close()
            if (again := opened(port, peer, 8 + n_closed)) is not None:
                rest[again] = b""
        behind = n_bytes < (now - began) * a_second * len(what)
        for one in writable if behind else ():
            if one in rest:
                data = rest[one] or what * max(1, 8192 // len(what))
                with contextlib.suppress(OSError):
                    one.setblocking(False)
                    n = one.send(data)
                    n_bytes, rest[one] = n_bytes + n, data[n:]
        if not behind:
            time.sleep(0.001)
    for one in rest:
        one.close()
    return {"sent": n_bytes // len(what), "closed": n_closed}


def hold(port: int, peer: str, seconds: float, *, is_silent: bool) -> dict[str, float]:
    """Open 2,000 sockets and hold those that may be; silent ones don't even say what they want."""
    began = time.monotonic()
    kept: list[socket.socket] = []
    for i in range(N_SOCKETS):
        if is_silent:
            kept.append(socket.create_connection(("127.0.0.1", port), timeout=5, source_address=(peer, 0)))
            kept[-1].sendall(b"GET / HTTP/1.1\r\n")
        else:
            kept.append(asked(port, peer, i))
    took_s = time.monotonic() - began
    time.sleep(max(0.0, began + seconds - time.monotonic()))
    answers = []
    for one in kept:
        one.setblocking(False)
        try:
            answers.append(one.recv(12)[9:12].decode() or "closed")
        except BlockingIOError:
            answers.append("waiting")
        except OSError:
            answers.append("closed")
        one.close()
    counts = {answer: float(answers.count(answer)) for answer in sorted(set(answers))}
    return counts | {"seconds": took_s}


def main() -> None:
    port, kind, seconds = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    peer = PEERS[kind]
    if kind == "events":
        result = send(port, peer, event(), EVENTS_A_SECOND, seconds)
    elif kind == "frames":
        result = send(port, peer, event("x" * 900_000), 1_000, seconds)
    else:
        result = hold(port, peer, seconds, is_silent=kind == "silent")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
