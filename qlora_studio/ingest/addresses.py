"""Which addresses a dataset may be fetched from: public ones only, checked when they are connected to.

A name is looked up once for each connection. Every address it leads to is checked, and the connection goes
to a checked one, so that a name that changes its mind (DNS rebinding) gains nothing. `NETWORK` is where tests
put names and servers of their own; the checks stay the same for them.
"""

import ipaddress
import re
import socket
import ssl
import time
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import httpcore
import httpx

from qlora_studio.ingest.refusal import SourceRefused

MAX_URL_CHARACTERS = 2000
_MAX_ADDRESSES_TRIED = 3
_NEVER = frozenset({ipaddress.ip_address("168.63.129.16")})  # Azure's metadata, at a public address
_NOT_PUBLIC = (ipaddress.ip_network("192.0.0.0/24"), ipaddress.ip_network("192.88.99.0/24"))
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_COMPATIBLE = ipaddress.ip_network("::/96")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def look_up(host: str, port: int) -> list[str]:
    """All addresses of a host name, or of any spelling of an address.

    Raises:
        OSError: there is no such name.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(item[4][0]) for item in found))


@dataclass(frozen=True)
class Network:
    """How names are looked up and addresses connected to."""

    look_up: Callable[[str, int], list[str]] = look_up
    connect: Callable[..., httpcore.NetworkStream] = field(
        default_factory=lambda: httpcore.SyncBackend().connect_tcp
    )


NETWORK = Network()


def is_public(address: str) -> bool:
    """Whether an address lies in the public internet, and so does the IPv4 address in it, if there is one."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return "%" not in address and all(_is_public(one) for one in _with_embedded(parsed))


def _with_embedded(address: Address) -> list[Address]:
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    embedded = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64 or address in _COMPATIBLE:
        embedded.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    # a mapped address is nothing but the one in it, and is judged by that
    own: list[Address] = [] if address.ipv4_mapped else [address]
    return own + [one for one in embedded if one is not None]


def _is_public(address: Address) -> bool:
    is_special = (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
        or getattr(address, "is_site_local", False)
        or address in _NEVER
        or any(address in network for network in _NOT_PUBLIC if network.version == address.version)
    )
    return address.is_global and not is_special


def check_url(raw: str, *, ports: Iterable[int]) -> httpx.URL:
    """Return an address of the web that may be asked, its host as DNS knows it (IDNA).

    Raises:
        SourceRefused: another scheme or port, a user name, or characters that programs read differently.
    """
    if len(raw) > MAX_URL_CHARACTERS:
        raise SourceRefused("The address is too long.")
    if any(c == "\\" or c.isspace() or unicodedata.category(c) in ("Cc", "Cf", "Cs") for c in raw):
        raise SourceRefused("The address holds a space, a backslash or a control character.")
    try:
        url = httpx.URL(raw)
    except (httpx.InvalidURL, ValueError) as error:
        raise SourceRefused("That isn't an address of the web.") from error
    if url.scheme not in ("http", "https"):
        raise SourceRefused("Give an address that begins with https:// or http://.")
    if "@" in re.split(r"[/?#]", raw.partition("//")[2])[0]:
        raise SourceRefused("Names and passwords in an address aren't used. Upload the file instead.")
    if not url.host or "%" in url.host:
        raise SourceRefused("The address names no host.")
    port = url.port if url.port is not None else {"http": 80, "https": 443}[url.scheme]
    if port not in set(ports):
        raise SourceRefused(f"Port {port} isn't asked; only {', '.join(map(str, sorted(ports)))}.")
    return url


class Patience:
    """How long and how slowly a server may answer.

    Args:
        total_s: for everything together.
        idle_s: for the next byte.
        slowest_bytes_s: bytes a second, over twice `idle_s`.
    """

    def __init__(self, *, total_s: float, idle_s: float, slowest_bytes_s: float) -> None:
        self._ends_at = time.monotonic() + total_s
        self._idle_s, self._slowest = idle_s, slowest_bytes_s
        self._window_from, self._window_bytes = time.monotonic(), 0

    def wait_s(self) -> float:
        """How long to wait for the next byte.

        Raises:
            SourceRefused: there is no time left.
        """
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise SourceRefused("The server took too long to send the file.")
        return min(left, self._idle_s)

    def begin(self) -> None:
        """Measure the speed from now on: a connection has been made."""
        self._window_from, self._window_bytes = time.monotonic(), 0

    def note(self, count: int) -> None:
        """Count bytes that came.

        Raises:
            SourceRefused: they come too slowly.
        """
        self._window_bytes += count
        elapsed = time.monotonic() - self._window_from
        if elapsed < 2 * self._idle_s:
            return
        if self._window_bytes < self._slowest * elapsed:
            raise SourceRefused(
                "The server sends too slowly to ever be done. Download it and upload it here."
            )
        self.begin()


class CheckedBackend(httpcore.NetworkBackend):
    """Connects to public addresses only, and waits no longer than `patience` allows.

    Args:
        patience: how long everything may take.
        network: how names are looked up and addresses connected to; by default `NETWORK`.
        trusted: hosts with their ports that whoever runs this server has named; these need not be public.
    """

    def __init__(
        self,
        patience: Patience,
        network: Network | None = None,
        *,
        trusted: frozenset[tuple[str, int]] = frozenset(),
    ) -> None:
        self._patience, self._network, self._trusted = patience, network or NETWORK, trusted

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Look the host up, check all its addresses, connect to one of them.

        Raises:
            SourceRefused: one of them isn't public; nothing was connected to.
            httpcore.ConnectError: nobody answers, or there is no such name.
        """
        try:
            addresses = self._network.look_up(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} can't be found") from error
        is_trusted = (host.lower().rstrip("."), port) in self._trusted
        if not addresses or not (is_trusted or all(is_public(address) for address in addresses)):
            raise SourceRefused(f"{host} isn't a public server, so nothing is fetched from there.")
        failure: Exception | None = None
        for address in addresses[:_MAX_ADDRESSES_TRIED]:
            try:
                stream = self._network.connect(address, port, timeout=self._patience.wait_s())
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
                continue
            self._patience.begin()
            return _PatientStream(stream, self._patience)
        raise failure or httpcore.ConnectError(host)


class _PatientStream(httpcore.NetworkStream):
    """A connection that is given up when it is idle, slow, or when the time is over."""

    def __init__(self, stream: httpcore.NetworkStream, patience: Patience) -> None:
        self._stream, self._patience = stream, patience

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._stream.read(max_bytes, timeout=self._patience.wait_s())
        self._patience.note(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout=self._patience.wait_s())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._patience.wait_s())
        return _PatientStream(stream, self._patience)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
