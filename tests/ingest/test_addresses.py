"""Refused before connecting: every way to name a place that isn't public."""

import httpcore
import pytest

from qlora_studio.ingest.addresses import CheckedBackend, Patience, check_url, is_public
from qlora_studio.ingest.refusal import SourceRefused
from tests.ingest.web import PUBLIC, web

__all__ = ["web"]
WEB_PORTS = (80, 443)

INSIDE = """
127.0.0.1 127.1.2.3 0.0.0.0 0.1.2.3 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254
100.64.0.1 100.100.100.200 168.63.129.16 192.0.0.192 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1
224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 192.88.99.1
:: ::1 ::ffff:127.0.0.1 ::ffff:7f00:1 ::ffff:10.0.0.1 ::127.0.0.1 fe80::1 fe80::1%eth0 fec0::1 fc00::1
fd00:ec2::254 ff02::1 2002:7f00:1:: 2002:a9fe:a9fe:: 64:ff9b::7f00:1 64:ff9b:1::1 2001:db8::1
2001:0:7f00:1::1 100::1 nonsense
""".split()


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_that_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", [PUBLIC, "1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1"])
def test_public_addresses(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://files.example/a.zip", "file:///etc/passwd", "gopher://files.example/",
        "data:audio/wav;base64,x",
        "javascript:alert(1)", "//files.example/a", "files.example/a", "", "http://", "http:///a",
        "http://files.example:22/a", "http://files.example:8080/a", "http://files.example:0/a",
        "http://files.example:99999/a", "http://user:pass@files.example/a", "http://user@files.example/",
        "http://127.0.0.1@files.example/", "http://files.example@127.0.0.1/", "http://@files.example/",
        "http://files.example\\@127.0.0.1/", "http://files.example/a\r\nHost: x", "http://files.example/a b",
        "http://files.example/\x00", "http://files.example/\u202ea", "http://files.example\t/",
        "http://%31%32%37.0.0.1/", "http://[fe80::1%25eth0]/", "http://a" + "b" * 2100 + ".example/",
        "http://\uff11\uff12\uff17.0.0.1/", "http://\u2460\u2461\u2466.0.0.1/",
    ],
)  # fmt: skip
def test_addresses_of_the_web_that_are_refused_by_their_looks(url):
    with pytest.raises(SourceRefused):
        check_url(url, ports=WEB_PORTS)


@pytest.mark.parametrize("url", ["https://files.example/a.zip?x=1#y", "http://bücher.example/ä.wav"])
def test_addresses_of_the_web_that_are_fine(url):
    assert check_url(url, ports=WEB_PORTS).raw_host in (b"files.example", b"xn--bcher-kva.example")


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "127.0.0.1", "127.1", "127.0.1", "2130706433", "017700000001", "0177.0.0.1",
        "0x7f.0.0.1",
        "0x7f000001", "0x7f.1", "0", "0.0.0.0", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::",
        "127.0.0.1.",
    ],
)  # fmt: skip
def test_every_spelling_of_loopback_is_refused_before_connecting(host, web):
    backend = CheckedBackend(Patience(total_s=5, idle_s=5, slowest_bytes_s=0))
    # a spelling that this machine's resolver doesn't know leads nowhere either
    with pytest.raises((SourceRefused, httpcore.ConnectError), match=r"isn't a public server|can't be found"):
        backend.connect_tcp(host, 80)
    assert web.connected == []


def test_one_private_address_among_public_ones_is_enough(web):
    web.names["files.example"] = [PUBLIC, "10.0.0.1"]
    backend = CheckedBackend(Patience(total_s=5, idle_s=5, slowest_bytes_s=0))
    with pytest.raises(SourceRefused):
        backend.connect_tcp("files.example", 80)
    assert web.connected == []


def test_the_connection_goes_to_the_address_that_was_checked(web, monkeypatch):
    asked: list[str] = []

    def rebinding(host, _port):
        asked.append(host)
        return [PUBLIC] if len(asked) == 1 else ["127.0.0.1"]

    monkeypatch.setattr(web, "look_up", rebinding)
    from qlora_studio.ingest import addresses

    network = addresses.Network(web.look_up, web.connect)
    CheckedBackend(Patience(total_s=5, idle_s=5, slowest_bytes_s=0), network).connect_tcp(
        "files.example", 80
    ).close()
    assert (asked, web.connected) == (["files.example"], [(PUBLIC, 80)])
