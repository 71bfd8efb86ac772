"""Whose address a request came from when a reverse proxy of ours passed it on."""

from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.types import Scope

from qlora_studio.core.settings import get_settings


def with_real_peer(scope: Scope, headers: Headers) -> Scope:
    """Name the client that the proxy saw, if the connection is from a proxy that is trusted.

    `X-Forwarded-For` is read from the right: each trusted proxy vouches for the hop before it, and what
    stands further left was written by the client, who may write anything.
    """
    client = scope.get("client")
    if client is None or not _is_trusted(client[0]):
        return scope
    hops = [hop.strip() for line in headers.getlist("x-forwarded-for") for hop in line.split(",")]
    for hop in reversed(hops):
        if not _is_address(hop):
            break
        if not _is_trusted(hop):
            return {**scope, "client": (hop, 0)}
    return scope


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_trusted(peer: str) -> bool:
    if not _is_address(peer):
        return False
    address = ip_address(peer)
    return any(address in network for network in get_settings().trusted_proxy_networks)
