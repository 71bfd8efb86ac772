"""Clients that come from different machines, as far as the server can tell."""

import os

import httpx
import pytest

from scripts.running import Server

TIMED = pytest.mark.skipif(
    not os.environ.get("QLORA_STUDIO_TIMED_ATTACKS"),
    reason="compares times, for which it needs the machine to itself: make security",
)


def from_peer(server: Server, number: int, token: str = "") -> httpx.Client:
    """A client of the REST API from an address of its own: all of 127.0.0.0/8 is this machine."""
    host, n = 2 + number % 250, 1 + number // 250
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(
        base_url=f"http://127.0.0.1:{server.port}/api/v1",
        headers=headers,
        transport=httpx.HTTPTransport(local_address=f"127.0.{n}.{host}"),
        timeout=60,
    )
