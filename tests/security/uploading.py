"""Uploads as a script sends them, and as one that does not end."""

import socket
import time
from typing import Any

import httpx

from scripts.running import Server


def create(api: httpx.Client, name: str = "d") -> str:
    body = {"name": name, "task": "speech-to-text", "source": {"kind": "upload"}}
    return str(api.post("/datasets", json=body).raise_for_status().json()["id"])


def settled(api: httpx.Client, dataset_id: str, seconds: float = 60) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        dataset = api.get(f"/datasets/{dataset_id}").json()
        if dataset["status"] in ("ready", "error"):
            return dataset
        time.sleep(0.1)
    raise AssertionError(f"still {dataset['status']}")


def raw_put(server: Server, path: str, headers: dict[str, str], body: bytes) -> socket.socket:
    """Send a PUT's head and a piece of its body; returns the open socket."""
    return raw_request(server, "PUT", path, headers, body)


def raw_request(
    server: Server, method: str, path: str, headers: dict[str, str], body: bytes = b""
) -> socket.socket:
    """Send a request's head and a piece of its body, as they are; returns the open socket."""
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: localhost:{server.port}",
        *(f"{k}: {v}" for k, v in headers.items()),
    ]
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    return connection
