"""Whose address a request came from when a reverse proxy of ours passed it on."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.datastructures import Headers
from starlette.types import Scope

from qlora_studio.core.settings import get_settings

# Some proxies add the port: `192.0.2.1:4711`, `[2001:db8::1]:4711`.
_HOP = re.compile(r"(?:\[(?P<six>[^\]]*)\]|(?P<four>[\d.]+))(?::\d{1,5})?")


def with_real_peer(scope: Scope, headers: Headers) -> Scope:
    """Name the client that the proxy saw, if the connection is from a proxy that is trusted.

    `X-Forwarded-For` is read from the right: each trusted proxy vouches for the hop before it, and what
    stands further left was written by the client, who may write anything. An address counts as one
    however it is written.
    """
    client = scope.get("client")
    if client is None or not _is_trusted(_address(client[0])):
        return scope
    hops = [hop.strip() for line in headers.getlist("x-forwarded-for") for hop in line.split(",")]
    for hop in reversed(hops):
        if (address := _address(hop)) is None:
            break
        client = (str(address), 0)
        if not _is_trusted(address):
            break
    return {**scope, "client": client}


def _address(text: str) -> IPv4Address | IPv6Address | None:
    if match := _HOP.fullmatch(text):
        text = match["six"] or match["four"] or ""
    try:
        address = ip_address(text.partition("%")[0])  # without the zone: it names a card, not a machine
    except ValueError:
        return None
    # A socket that takes both kinds sees IPv4 as `::ffff:192.0.2.1`.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_trusted(address: IPv4Address | IPv6Address | None) -> bool:
    return address is not None and any(
        address in network for network in get_settings().trusted_proxy_networks
    )
