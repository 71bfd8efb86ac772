"""The documented configurations of nginx and Caddy, with the real ones before the real server, over TLS."""

import datetime
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from simple_websocket import Client

from scripts.ports import free_port
from scripts.running import PASSWORD, ROOT, Server, start_server

pytestmark = pytest.mark.slow
NAME = "studio.example.org"
SAMPLES = ROOT / "docs/deployment"
OUTSIDE = "127.0.0.2"  # a client that is not the proxy
WHERE = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
FORGED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "evil.example",
    "X-Real-IP": "203.0.113.9",
}


@dataclass
class Site:
    server: Server
    port: int
    context: ssl.SSLContext

    @property
    def host(self) -> str:
        return f"{NAME}:{self.port}"

    def client(self, **headers: str) -> httpx.Client:
        transport = httpx.HTTPTransport(verify=self.context, local_address=OUTSIDE)
        headers = {"Host": self.host} | headers
        base = f"https://127.0.0.1:{self.port}"
        return httpx.Client(base_url=base, transport=transport, headers=headers, timeout=30)


def make_certificate(folder: Path) -> Path:
    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)]),
    )
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(NAME), x509.IPAddress(_loopback())])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).add_extension(names, critical=False)
    builder = builder.not_valid_before(now - datetime.timedelta(days=1))
    made = builder.not_valid_after(now + datetime.timedelta(days=1)).sign(key, hashes.SHA256())
    (folder / "fullchain.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / "privkey.pem").write_bytes(pem)
    return folder / "fullchain.pem"


def _loopback() -> Any:
    import ipaddress

    return ipaddress.ip_address("127.0.0.1")


def changed(sample: str, changes: dict[str, str]) -> str:
    """The text of a sample, with what is said to be changed in it."""
    text = (SAMPLES / sample).read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return text


def nginx(folder: Path, *, backend: int, port: int) -> list[str]:
    """The command for the sample with other ports and certificate, in the smallest nginx.conf around it."""
    changes = {
        "listen 80;": f"listen 127.0.0.1:{free_port()};",
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "/etc/ssl/studio": str(folder),
        "127.0.0.1:3000": f"127.0.0.1:{backend}",
    }
    (folder / "site.conf").write_text(changed("nginx.conf", changes))
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = f"daemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
    main += f"http {{\naccess_log off;\n{temporary}include {folder}/site.conf;\n}}\n"
    path = folder / "nginx.conf"
    path.write_text(main)
    return ["-e", str(folder / "error.log"), "-c", str(path)]


def caddy(folder: Path, *, backend: int, port: int) -> list[str]:
    """The command for the sample with another port, and a certificate of ours instead of one from outside.

    It answers to the address as well, which is what the websocket's client asks for.
    """
    ours = f"bind 127.0.0.1\n\ttls {folder}/fullchain.pem {folder}/privkey.pem"
    changes = {
        f"{NAME} {{": f"https://{NAME}:{port}, https://127.0.0.1:{port} {{\n\t{ours}",
        "127.0.0.1:3000": f"127.0.0.1:{backend}",
    }
    options = f"{{\n\tadmin off\n\tauto_https disable_redirects\n\tstorage file_system {folder}\n}}\n"
    (folder / "Caddyfile").write_text(options + changed("Caddyfile", changes))
    return ["run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


PROXIES = {"nginx": (nginx, "nginx-light"), "caddy": (caddy, "caddy")}


@pytest.fixture(scope="module", params=PROXIES)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    name = request.param
    configure, package = PROXIES[name]
    program = shutil.which(name, path=WHERE)
    if program is None:
        pytest.skip(f"{name} is not here; on Debian: apt-get install {package}")
    folder = tmp_path_factory.mktemp(name)
    folder.chmod(0o755)
    context = ssl.create_default_context(cafile=str(make_certificate(folder)))
    settings = {"ALLOWED_HOSTS": NAME, "SECURE_COOKIES": "true", "TRUSTED_PROXIES": "127.0.0.1"}
    settings |= {"SLOTS": "0", "MAX_STREAMS": "1"}
    data = tmp_path_factory.mktemp("server")
    server = start_server(data, **{f"QLORA_STUDIO_{k}": v for k, v in settings.items()})
    port = free_port()
    command = [program, *configure(folder, backend=server.port, port=port)]
    with (folder / "error.log").open("ab") as log:
        proxy = subprocess.Popen(command, env=os.environ | {"HOME": str(folder)}, stderr=log)
    try:
        found = Site(server, port, context)
        wait_for_proxy(found, proxy, folder / "error.log")
        yield found
    finally:
        server.stop()
        proxy.terminate()
        proxy.wait(10)


def wait_for_proxy(site: Site, proxy: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    with site.client() as client:
        while proxy.poll() is None and time.monotonic() < deadline:
            try:
                client.get("/ping").raise_for_status()
                return
            except httpx.ConnectError:
                time.sleep(0.05)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def cookie(site: Site) -> str:
    """The session cookie of a person who signed in through the proxy, forging what can be forged."""
    with site.client(Origin=f"https://{site.host}", **FORGED) as client:
        account = {"username": "ada", "email": "ada@example.org", "password": PASSWORD}
        client.post("/api/v1/auth/signup", json=account).raise_for_status()
        answer = client.post("/api/v1/auth/login", json={"login": "ada", "password": PASSWORD})
    assert answer.status_code == 200
    return str(answer.headers["set-cookie"])


@pytest.fixture(scope="module")
def api(site: Site, cookie: str) -> Iterator[httpx.Client]:
    headers = {"Cookie": cookie.partition(";")[0], "Origin": f"https://{site.host}"}
    with site.client(**headers) as client:
        client.base_url = f"https://127.0.0.1:{site.port}/api/v1"
        yield client


def until_ready(api: httpx.Client, path: str) -> dict[str, Any]:
    deadline = time.monotonic() + 90
    while (found := api.get(path).raise_for_status().json())["status"] != "ready":
        assert found["status"] != "error", found
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


@pytest.fixture(scope="module")
def dataset_id(api: httpx.Client) -> str:
    body = {"name": "example", "task": "speech-to-text", "source": {"kind": "example"}}
    made = api.post("/datasets", json=body).raise_for_status().json()["id"]
    return str(until_ready(api, f"/datasets/{made}")["id"])


def test_signing_in_sets_a_cookie_for_https_only(cookie: str) -> None:
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"secure", "httponly", "samesite=lax"} <= attributes


def test_a_forged_address_does_not_get_through_and_the_real_one_does(api: httpx.Client) -> None:
    sessions = api.get("/me/sessions").raise_for_status().json()
    rows = sessions["items"] if isinstance(sessions, dict) else sessions
    assert {row["peer"] for row in rows} == {OUTSIDE}


def test_a_page_comes_with_its_security_headers(site: Site) -> None:
    with site.client() as client:
        page = client.get("/login/")
    assert page.status_code == 200
    assert page.headers["strict-transport-security"].startswith("max-age=")
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]


def test_a_foreign_host_is_refused(site: Site) -> None:
    with site.client(Host="evil.example") as client:
        answer = client.get("/api/v1/system")
    # nginx passes on what names no site of its own; Caddy has nothing to say to it.
    assert answer.status_code == 400 or not answer.content


def test_the_pages_websocket_opens(site: Site, cookie: str) -> None:
    headers = {"Origin": "https://127.0.0.1", "Cookie": cookie.partition(";")[0]}  # its Host names no port
    url = f"wss://127.0.0.1:{site.port}/_event/?EIO=4&transport=websocket&token=abc"
    client = Client.connect(url, headers=headers, ssl_context=site.context)
    try:
        first = client.receive(timeout=10)
        assert str(first).startswith("0{")
        client.send("40/_event,{}")
        assert str(client.receive(timeout=10)).startswith("40/_event")
    finally:
        client.close()
        client.thread.join(10)
        client.sock.close()


def test_a_range_of_a_recording_is_answered_with_206(api: httpx.Client, dataset_id: str) -> None:
    clip = api.get(f"/datasets/{dataset_id}/clips").raise_for_status().json()["items"][0]
    answer = api.get(f"/clips/{clip['id']}/audio", headers={"Range": "bytes=10-29"})
    assert answer.status_code == 206
    assert len(answer.content) == 20
    assert answer.headers["content-range"].startswith("bytes 10-29/")


def test_an_upload_beyond_the_default_of_nginx_passes(api: httpx.Client) -> None:
    body = {"name": "big", "task": "speech-to-text", "source": {"kind": "upload"}}
    made = api.post("/datasets", json=body).raise_for_status().json()["id"]
    answer = api.put(f"/datasets/{made}/files/long.wav", content=bytes(5 << 20))
    assert answer.status_code == 201, answer.text


@pytest.fixture(scope="module")
def job_id(api: httpx.Client, dataset_id: str) -> str:
    model = api.post("/models", json={"name": "starter", "source": {"kind": "starter"}}).raise_for_status()
    model_id = until_ready(api, f"/models/{model.json()['id']}")["id"]
    spec = {"name": "waits", "dataset_id": dataset_id, "model_id": model_id}
    return str(api.post("/jobs", json=spec).raise_for_status().json()["id"])  # no slots: it stays queued


def first_event(api: httpx.Client, job_id: str) -> tuple[int, str]:
    """The status and first line of a job's events; hangs up then."""
    with api.stream("GET", f"/jobs/{job_id}/events", timeout=10) as stream:
        return stream.status_code, next(stream.iter_lines())


def test_events_of_a_job_that_goes_on_come_at_once(api: httpx.Client, job_id: str) -> None:
    status, first = first_event(api, job_id)
    assert status == 200
    assert first.startswith(("id:", "event:", "data:")), first


def test_the_studio_hears_that_a_reader_of_events_has_hung_up(api: httpx.Client, job_id: str) -> None:
    deadline = time.monotonic() + 20
    for _ in range(2):  # one stream at a time is allowed
        while (status := first_event(api, job_id)[0]) != 200:
            assert status == 429
            assert time.monotonic() < deadline, "the last stream is still open"
            time.sleep(0.1)
