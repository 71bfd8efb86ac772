from collections.abc import Callable, Iterator

import pytest
from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from qlora_studio.api.proxies import with_real_peer
from qlora_studio.api.security import Gate
from qlora_studio.core.settings import Settings, get_settings

FORWARDED = "X-Forwarded-For"
Seen = Callable[..., str]


@pytest.fixture(autouse=True)
def _trusted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("QLORA_STUDIO_TRUSTED_PROXIES", "127.0.0.1, 10.1.0.0/16, fd00:1::/32")
    monkeypatch.setenv("QLORA_STUDIO_ALLOWED_HOSTS", "studio.example.org")
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def scope_of(peer: str | None, *lines: str, name: str = FORWARDED) -> Scope:
    headers = [(name.lower().encode(), line.encode("latin-1")) for line in lines]
    return {"type": "http", "headers": headers, "client": None if peer is None else (peer, 4711)}


def seen(peer: str, *lines: str, name: str = FORWARDED) -> str:
    """Which address a request of `peer` counts as coming from."""
    scope = scope_of(peer, *lines, name=name)
    return str(with_real_peer(scope, Headers(scope=scope))["client"][0])


@pytest.mark.parametrize("peer", ["203.0.113.9", "10.2.0.1", "2001:db8::1", "::ffff:203.0.113.9"])
def test_nobody_but_a_trusted_proxy_is_believed(peer: str) -> None:
    scope = scope_of(peer, "198.51.100.1")
    assert with_real_peer(scope, Headers(scope=scope))["client"] == (peer, 4711)


@pytest.mark.parametrize("peer", ["127.0.0.1", "10.1.255.3", "fd00:1:2::3", "::ffff:127.0.0.1"])
def test_a_trusted_proxy_names_its_client(peer: str) -> None:
    assert seen(peer, "198.51.100.1") == "198.51.100.1"


def test_nobody_is_trusted_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QLORA_STUDIO_TRUSTED_PROXIES", "")
    get_settings.cache_clear()
    assert seen("127.0.0.1", "198.51.100.1") == "127.0.0.1"


@pytest.mark.parametrize(
    ("hops", "client"),
    [
        (["198.51.100.1, 10.1.0.7"], "198.51.100.1"),
        (["198.51.100.1, 10.1.0.7, fd00:1::8, 10.1.0.9"], "198.51.100.1"),
        (["203.0.113.66, 198.51.100.1"], "198.51.100.1"),  # what the client claimed stands further left
        (["127.0.0.1, 198.51.100.1, 10.1.0.7"], "198.51.100.1"),
        (["203.0.113.66", "198.51.100.1, 10.1.0.7"], "198.51.100.1"),  # two headers are one list
        (["203.0.113.66, 198.51.100.1", "10.1.0.7"], "198.51.100.1"),
        (["198.51.100.1,10.1.0.7"], "198.51.100.1"),
        (["\t198.51.100.1 \t,  10.1.0.7 "], "198.51.100.1"),
    ],
)
def test_the_hops_are_read_from_the_right(hops: list[str], client: str) -> None:
    assert seen("127.0.0.1", *hops) == client


def test_a_client_inside_a_trusted_network_is_itself_and_not_its_proxy() -> None:
    assert seen("127.0.0.1", "10.1.4.5") == "10.1.4.5"
    assert seen("127.0.0.1", "10.1.4.5, 10.1.0.7") == "10.1.4.5"


@pytest.mark.parametrize(
    "text",
    ["", ",", "unknown", "evil.example", "198.51.100", "198.51.100.256", "0x7f.1", "<script>", "_hidden",
     "%00", "198.51.100.1;", "\xff\xfe", "[", "[]", "[2001:db8::1", "198.51.100.1:", "198.51.100.1:x",
     "::1:::", "1" * 50_000],
)  # fmt: skip
def test_garbage_names_nobody(text: str) -> None:
    assert seen("127.0.0.1", text) == "127.0.0.1"
    assert seen("127.0.0.1", f"198.51.100.1, {text}") == "127.0.0.1", "nobody vouches for it"
    assert seen("127.0.0.1", f"{text}, 10.1.0.7") == "10.1.0.7", "the last hop that is vouched for"
    assert seen("127.0.0.1", f"{text}, 198.51.100.1") == "198.51.100.1"


@pytest.mark.parametrize(
    ("hop", "client"),
    [
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("::ffff:198.51.100.1", "198.51.100.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:50123", "2001:db8::1"),
        ("198.51.100.1:50123", "198.51.100.1"),
    ],
)
def test_an_address_counts_as_one_however_it_is_written(hop: str, client: str) -> None:
    """Back-off after wrong passwords is by address: two spellings would be two shares."""
    assert seen("127.0.0.1", hop) == client
    assert seen("127.0.0.1", f"{hop}, ::ffff:10.1.0.7") == client


@pytest.mark.parametrize("name", ["Forwarded", "X-Real-IP", "X-Client-IP", "True-Client-IP", "Via"])
def test_no_other_header_names_the_client(name: str) -> None:
    assert seen("127.0.0.1", "198.51.100.1", name=name) == "127.0.0.1"
    assert seen("127.0.0.1", "for=198.51.100.1", name=name) == "127.0.0.1"


def test_a_connection_without_an_address_stays_one() -> None:
    scope = scope_of(None, "198.51.100.1")
    assert with_real_peer(scope, Headers(scope=scope))["client"] is None
    assert seen("unix:", "198.51.100.1") == "unix:"


@pytest.mark.parametrize("value", ["proxy.example.org", "127.0.0.1/33", "10.1.0.1/16", "127.0.0.1 10.1.0.1"])
def test_a_proxy_that_is_no_network_is_refused_at_the_start(value: str) -> None:
    with pytest.raises(ValidationError, match="trusted_proxies"):
        Settings(trusted_proxies=value)


async def through_the_gate(**headers: str) -> tuple[int, Scope | None]:
    """The status of a request of a trusted proxy, and what the app behind the gate was given."""
    given: list[Scope] = []
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        given.append(scope)
        await send({"type": "http.response.start", "status": 204, "headers": []})

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    named = {"Host": "studio.example.org"} | {name.replace("_", "-"): text for name, text in headers.items()}
    lines = [(name.lower().encode(), text.encode()) for name, text in named.items()]
    scope: Scope = {
        "type": "http",
        "scheme": "http",
        "method": "POST",
        "path": "/api/v1/datasets",
        "query_string": b"",
        "headers": lines,
        "client": ("127.0.0.1", 4711),
    }
    await Gate(app)(scope, receive, send)
    return sent[0]["status"], given[0] if given else None


async def test_a_forwarded_host_neither_opens_a_door_nor_shuts_one() -> None:
    """Host is compared with Origin as it came, so a proxy passes it on; nothing else speaks for it."""
    for name in ("X_Forwarded_Host", "X_Original_Host", "X_Host", "Forwarded"):
        text = "host=evil.example" if name == "Forwarded" else "evil.example"
        assert (await through_the_gate(**{name: text}))[0] == 204
    assert (await through_the_gate(Host="evil.example", X_Forwarded_Host="studio.example.org"))[0] == 400
    forged = {"Origin": "https://evil.example", "X_Forwarded_Host": "evil.example"}
    assert (await through_the_gate(**forged))[0] == 403


async def test_pages_over_tls_are_their_own_origin_whatever_the_proxy_says_of_the_scheme() -> None:
    origin = "https://studio.example.org"
    for proto in ("https", "http", "gopher", "https, http", ""):
        status, scope = await through_the_gate(
            Origin=origin, X_Forwarded_Proto=proto, X_Forwarded_For="1.2.3.4"
        )
        assert status == 204
        assert scope is not None
        assert scope["scheme"] == "http"
        assert scope["client"] == ("1.2.3.4", 0)
