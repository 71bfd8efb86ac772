"""Webhooks to a server on loopback that answers for public names: signed, bounded, never sent on."""

import base64
import hashlib
import hmac
import json
import re
from pathlib import Path
from typing import Any

import pytest

from qlora_studio.core.errors import InvalidInput
from qlora_studio.core.settings import get_settings
from qlora_studio.services import webhooks
from qlora_studio.services.delivery_errors import NotDelivered
from tests.ingest.web import PUBLIC, Request, Web, web

__all__ = ["web"]
URL = "http://hooks.example/studio?token=x"
SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
PAYLOAD = {"type": "job_succeeded", "text": "“first” has finished\n=cmd() <script>"}


def answer(web: Web, status: int, **headers: str) -> list[tuple[dict[str, str], bytes]]:
    """Have the hook answer so; what it gets is in the list that is returned."""
    got: list[tuple[dict[str, str], bytes]] = []

    def post(request: Request) -> None:
        got.append((dict(request.headers), request.rfile.read(int(request.headers["Content-Length"]))))
        request.send_head(status, {"Content-Length": "0", **headers})

    web.pages["/studio"] = post
    return got


def send(url: str = URL) -> None:
    webhooks.send(url, secret=SECRET, message_id="ntf_1", payload=PAYLOAD)


def test_what_is_sent_is_whole_and_signed(web: Web, data_folder: object) -> None:
    got = answer(web, 204)
    send()
    ((headers, body),) = got
    assert json.loads(body) == PAYLOAD
    assert (headers["Content-Type"], headers["webhook-id"]) == ("application/json", "ntf_1")
    signed = f"ntf_1.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(b"k" * 32, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert "authorization" not in {name.lower() for name in headers}
    assert [address for address, _ in web.connected] == [PUBLIC]


def test_the_check_in_the_docs_takes_what_is_sent_and_nothing_else(web: Web, data_folder: object) -> None:
    page = (Path(__file__).parents[2] / "docs/notifications.md").read_text()
    example = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert example is not None
    there: dict[str, Any] = {}
    exec(example[1], there)
    got = answer(web, 200)
    send()
    ((headers, body),) = got
    assert there["is_genuine"](SECRET, headers, body)
    assert not there["is_genuine"](SECRET, headers, body + b" ")
    assert not there["is_genuine"](SECRET, headers | {"webhook-id": "ntf_2"}, body)
    assert not there["is_genuine"](webhooks.new_secret(), headers, body)


@pytest.mark.parametrize(
    ("status", "is_final", "is_gone", "text"),
    [
        (500, False, False, "busy or broken"),
        (429, False, False, "busy or broken"),
        (404, True, False, "refused it"),
        (410, True, True, "gone"),
    ],
)
def test_a_refusal_says_whether_to_try_again(
    web: Web, data_folder: object, status: int, is_final: bool, is_gone: bool, text: str
) -> None:
    answer(web, status)
    with pytest.raises(NotDelivered, match=text) as raised:
        send()
    assert (raised.value.is_final, raised.value.is_gone) == (is_final, is_gone)


def test_no_redirect_is_followed(web: Web, data_folder: object) -> None:
    answer(web, 307, Location="http://hooks.example/elsewhere")
    with pytest.raises(NotDelivered, match="sends on") as raised:
        send()
    assert raised.value.is_final
    assert [path for _, path, _ in web.seen] == ["/studio?token=x"]


@pytest.mark.parametrize("addresses", [["10.0.0.1"], [PUBLIC, "169.254.169.254"], ["::1"]])
def test_names_that_lead_inside_are_not_connected_to(
    web: Web, data_folder: object, addresses: list[str]
) -> None:
    web.names["hooks.example"] = addresses
    with pytest.raises(NotDelivered, match="isn't a public server, so nothing is sent there"):
        send()
    assert web.connected == []


def test_a_server_that_says_nothing_is_not_waited_for(
    web: Web, data_folder: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "IDLE_S", 0.1)
    monkeypatch.setattr(webhooks, "TOTAL_S", 0.2)
    web.pages["/studio"] = lambda request: request.rfile.read(10_000)  # waits for more than is sent
    with pytest.raises(NotDelivered, match="in time"):
        send()


@pytest.mark.parametrize(
    "url",
    [
        "", "ftp://hooks.example/", "http://127.0.0.1/", "http://10.1.2.3/x", "https://[::1]/",
        "http://localhost/", "http://a.localhost/", "http://router.local/", "http://metadata.google.internal/",
        "http://169.254.169.254/latest", "https://user:pass@hooks.example/", "https://hooks.example:22/",
        "http://hooks.example/a b", "javascript:alert(1)", "http://hooks.example/\r\nX: 1",
    ],
)  # fmt: skip
def test_addresses_that_are_refused_at_once(data_folder: object, url: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        webhooks.check_address(url)
    assert set(raised.value.fields) == {"target"}
    assert "Upload" not in raised.value.message


def test_an_address_that_is_fine_stays_as_it_was_given(data_folder: object) -> None:
    assert webhooks.check_address(f" {URL} ") == URL


def test_servers_that_the_operator_has_named_need_not_be_public(
    web: Web, data_folder: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QLORA_STUDIO_WEBHOOK_HOSTS", "chat.lan, 10.0.0.7:8065")
    get_settings.cache_clear()
    web.names |= {"chat.lan": ["10.0.0.6"], "10.0.0.7": ["10.0.0.7"], "other.lan": ["10.0.0.6"]}
    got = answer(web, 200)
    for url in ("http://chat.lan/studio", "http://10.0.0.7:8065/studio"):
        send(webhooks.check_address(url))
    assert len(got) == 2
    for url in ("http://10.0.0.7/studio", "http://10.0.0.6/studio", "http://chat.lan:8065/studio"):
        with pytest.raises(InvalidInput):
            webhooks.check_address(url)
        with pytest.raises(NotDelivered):
            send(url)
    with pytest.raises(NotDelivered, match="isn't a public server"):
        send("http://other.lan/studio")
    assert len(got) == 2
