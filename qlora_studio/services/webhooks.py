"""Send one notification to an address of a person's choice, signed as the Standard Webhooks scheme has it.

The address is trusted as little as those that datasets are fetched from: only public servers are connected
to, each time anew, and those that whoever runs this server has named (`QLORA_STUDIO_WEBHOOK_HOSTS`). No
redirect is followed. Of the answer only the status is read.
"""

import base64
import binascii
import hashlib
import hmac
import ipaddress
import json
import secrets
from collections.abc import Mapping
from typing import Any

import httpcore
import httpx

from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import InvalidInput
from qlora_studio.core.settings import get_settings
from qlora_studio.ingest.addresses import CheckedBackend, Patience, check_url, is_public
from qlora_studio.ingest.refusal import SourceRefused
from qlora_studio.services.delivery_errors import NotDelivered

TOTAL_S, IDLE_S = 15.0, 8.0
_SECRET_BYTES = 32
_PREFIX = "whsec_"
_BUSY = frozenset({408, 409, 425, 429})
_LOCAL = ("localhost", ".localhost", ".local", ".internal")


class _Clock(Patience):
    """Patience whose end is a time-out, so that it isn't taken for an address that may not be asked."""

    def wait_s(self) -> float:
        try:
            return super().wait_s()
        except SourceRefused:
            raise httpcore.ReadTimeout("the time is over") from None


def new_secret() -> str:
    """Return a fresh secret, in the form that the libraries of the scheme take."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def check_address(url: str) -> str:
    """Return an address that a webhook may have. Names are looked up when something is sent.

    Raises:
        InvalidInput: another scheme or port, a user name in it, or a server that isn't public.
    """
    url = url.strip()
    try:
        parsed = _check(url)
    except SourceRefused as refusal:
        raise _wrong(str(refusal).replace(" Upload the file instead.", "")) from None
    host = parsed.host.lower().rstrip(".")
    if _is_trusted(parsed):
        return url
    if host == _LOCAL[0] or host.endswith(_LOCAL[1:]) or not _may_be_public(host):
        raise _wrong(f"{parsed.host} isn't a public server. Webhooks are sent to public ones only.")
    return url


def _check(url: str) -> httpx.URL:
    """Return the address if its looks are right; a server that is trusted may be on any port.

    Raises:
        SourceRefused: they aren't.
    """
    settings = get_settings()
    try:
        trusted = {
            port for host, port in settings.trusted_webhook_servers if host == httpx.URL(url).host.lower()
        }
    except (httpx.InvalidURL, ValueError):
        trusted = set()  # the next line says what is wrong
    return check_url(url, ports=settings.url_port_numbers | trusted)


def _is_trusted(url: httpx.URL) -> bool:
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    return (url.host.lower().rstrip("."), port) in get_settings().trusted_webhook_servers


def _may_be_public(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return True  # a name: its addresses are checked when it is connected to
    return is_public(host)


def _wrong(sentence: str) -> InvalidInput:
    return InvalidInput(sentence, fields={"target": sentence})


def send(url: str, *, secret: str, message_id: str, payload: Mapping[str, Any]) -> None:
    """Post a payload; returns once the server has answered with 2xx.

    Args:
        message_id: the same for each try, so that the receiver can tell a repetition.

    Raises:
        NotDelivered: it didn't; the text says why.
    """
    body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    at = str(int(utc_now().timestamp()))
    headers = [
        ("Content-Type", "application/json"),
        ("User-Agent", "qlora-studio"),
        ("Accept", "*/*"),
        ("webhook-id", message_id),
        ("webhook-timestamp", at),
        ("webhook-signature", sign(secret, message_id=message_id, at=at, body=body)),
    ]
    try:
        status = _post(_check(url), headers, body)
    except SourceRefused as refusal:
        raise NotDelivered(_not_sent(refusal), is_final=True) from refusal
    except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
        raise NotDelivered("The server can't be reached.") from error
    except httpcore.TimeoutException as error:
        raise NotDelivered("The server didn't answer in time.") from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise NotDelivered("The server broke off.") from error
    _judge(status)


def sign(secret: str, *, message_id: str, at: str, body: bytes) -> str:
    """Return the signature's header: HMAC-SHA256 over id, time in seconds and body."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        key = secret.encode()
    signed = hmac.new(key, f"{message_id}.{at}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(signed.digest()).decode()


def _post(url: httpx.URL, headers: list[tuple[str, str]], body: bytes) -> int:
    target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    patience = _Clock(total_s=TOTAL_S, idle_s=IDLE_S, slowest_bytes_s=0)
    backend = CheckedBackend(patience, trusted=get_settings().trusted_webhook_servers)
    with (
        httpcore.ConnectionPool(network_backend=backend, max_connections=1) as pool,
        pool.stream("POST", target, headers=headers, content=body) as answer,
    ):
        return answer.status


def _judge(status: int) -> None:
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        text = f"The server sends on to another address ({status}). Give that address instead."
        raise NotDelivered(text, is_final=True)
    if status == 410:
        raise NotDelivered("The server says that this address is gone (410).", is_final=True, is_gone=True)
    if status in _BUSY or status >= 500:
        raise NotDelivered(f"The server is busy or broken (it answered {status}).")
    raise NotDelivered(f"The server refused it (it answered {status}).", is_final=True)


def _not_sent(refusal: SourceRefused) -> str:
    return str(refusal).replace(", so nothing is fetched from there.", ", so nothing is sent there.")
