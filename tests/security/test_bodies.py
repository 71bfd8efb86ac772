"""Bodies that are meant to exhaust a running server, and names that are meant to lead elsewhere."""

import contextlib
import io
import re
import socket
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from scripts.running import Server, start_server
from tests.ingest import sounds
from tests.security.uploading import create, raw_request, settled

pytestmark = pytest.mark.slow
MB = 1 << 20
PATIENCE_S = 3
FORMS = ("/transcriptions", "/classifications", "/diarizations")
FRAMEWORKS_OWN = ("/_upload", "/_upload/x", "/_upload/", "//_upload", "/_UPLOAD", "/%5fupload")


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server would spool what it is sent."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, temporary: Path) -> Iterator[Server]:
    own = {"TMPDIR": str(temporary), "QLORA_STUDIO_MAX_BODY_S": str(PATIENCE_S)}
    deep = tmp_path_factory.mktemp("server") / "a/b/c/data"  # ways out end here
    started = start_server(deep, QLORA_STUDIO_SLOTS="0", **own)
    yield started
    started.stop()


@pytest.fixture
def growth(server: Server) -> Iterator[Callable[[], int]]:
    """By how much the server's memory has grown at most since the test began, in bytes."""
    process = server.serving
    before, peak = process.memory_info().rss, 0
    is_over = False

    def watch() -> None:
        nonlocal peak
        while not is_over:
            peak = max(peak, process.memory_info().rss)
            time.sleep(0.02)

    with ThreadPoolExecutor(1) as beside:
        beside.submit(watch)
        yield lambda: peak - before
        is_over = True


def files_in(*folders: Path) -> set[Path]:
    return {path for folder in folders if folder.exists() for path in folder.rglob("*") if path.is_file()}


def endless(total: int = 300 * MB) -> Iterator[bytes]:
    yield b'{"login": "'
    for _ in range(total // MB):
        yield b"x" * MB


@pytest.mark.attack(
    "H1", "an endless body where a few words are expected, signed out and signed in", "413, memory flat"
)
def test_an_endless_form_is_cut_off(
    server: Server, api: httpx.Client, growth: Callable[[], int], saw: Callable[[str], None]
) -> None:
    json = {"Content-Type": "application/json"}
    tries: list[tuple[str, dict[str, str]]] = [
        ("/auth/login", json), ("/auth/signup", {}), ("/auth/reset", json), ("/datasets", json),
        ("/jobs", {**json, "Authorization": api.headers["Authorization"]}),
    ]  # fmt: skip

    def send(one: tuple[str, dict[str, str]]) -> int:
        path, headers = one
        try:
            url = f"{server.base}/api/v1{path}"
            return httpx.post(url, content=endless(), headers=headers, timeout=60).status_code
        except (httpx.WriteError, httpx.ReadError):  # hanging up on the rest is as good an answer
            return 413

    with ThreadPoolExecutor(len(tries)) as several:
        assert list(several.map(send, tries)) == [413] * len(tries)
    announced = raw_request(server, "POST", "/api/v1/auth/login", {"Content-Length": str(300 * MB)}, b"{")
    with announced:
        assert announced.recv(100).startswith(b"HTTP/1.1 413")
    assert growth() < 64 * MB
    saw(f"memory grew by {growth() / MB:.0f} MB")


def parts(n: int) -> Iterator[bytes]:
    one = b'--b\r\nContent-Disposition: form-data; name="file"; filename="%d.wav"\r\n\r\nRIFF\r\n'
    for start in range(0, n, 500):
        yield b"".join(one % i for i in range(start, min(start + 500, n)))
    yield b"--b--\r\n"


@pytest.mark.attack(
    "H1", "100,000 parts, signed out and signed in, also to the framework's own upload endpoint",
    "refused; memory flat, no temporary file left",
)  # fmt: skip
def test_a_hundred_thousand_parts(
    server: Server,
    api: httpx.Client,
    temporary: Path,
    growth: Callable[[], int],
    saw: Callable[[str], None],
) -> None:
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    dataset_id = create(api)
    before = files_in(temporary, server.data_path / "trials", server.data_path / "staging")
    signed_in = {**form, "Authorization": api.headers["Authorization"]}
    wanted = [
        (f"/api/v1{path}", headers, {400, 401, 413, 422}) for path in FORMS for headers in (form, signed_in)
    ]
    wanted += [
        ("/api/v1/auth/login", form, {400, 413, 422}),
        ("/api/v1/datasets", signed_in, {400, 413, 422}),
    ]
    wanted += [(path, {**form, "Origin": server.base}, {404, 405}) for path in FRAMEWORKS_OWN]
    began = time.monotonic()
    for path, headers, allowed in wanted:
        with contextlib.suppress(httpx.WriteError, httpx.ReadError):
            answer = httpx.post(f"{server.base}{path}", content=parts(100_000), headers=headers, timeout=60)
            assert answer.status_code in allowed, f"{path}: {answer.status_code} {answer.text[:200]}"
    took_s = time.monotonic() - began
    assert growth() < 64 * MB
    assert files_in(temporary, server.data_path / "trials", server.data_path / "staging") == before
    api.delete(f"/datasets/{dataset_id}")
    saw(f"{len(wanted)} bodies in {took_s:.0f} s, memory grew by {growth() / MB:.0f} MB")


@pytest.mark.attack(
    "H1", "100 slow senders, of forms and of files, a byte at a time", "408; others are answered meanwhile"
)
def test_slow_senders_are_hung_up_on(server: Server, api: httpx.Client, saw: Callable[[str], None]) -> None:
    dataset_id = create(api)
    bearer = {"Authorization": api.headers["Authorization"]}
    upload = f"/api/v1/datasets/{dataset_id}/files"
    forms = [
        raw_request(server, "POST", "/api/v1/auth/login", {"Content-Length": "1000"}, b"{") for _ in range(80)
    ]
    files = [
        raw_request(server, "PUT", f"{upload}/{i}.wav", {"Content-Length": "1000", **bearer}, b"R")
        for i in range(20)
    ]
    slowest = 0.0
    began = time.monotonic()
    open_forms = list(forms)
    while open_forms and time.monotonic() < began + PATIENCE_S + 20:
        for sender in [*open_forms, *files]:
            with contextlib.suppress(OSError):
                sender.send(b" ")
        asked = time.monotonic()
        assert api.get("/me").status_code == 200
        slowest = max(slowest, time.monotonic() - asked)
        open_forms = [sender for sender in open_forms if not _is_answered(sender)]
        time.sleep(0.2)
    took_s = time.monotonic() - began
    for sender in [*forms, *files]:
        sender.close()
    assert not open_forms, f"{len(open_forms)} may send for ever"
    assert slowest < 2
    api.delete(f"/datasets/{dataset_id}")
    assert files_in(server.data_path / "staging" / dataset_id) == set()
    saw(f"forms cut off within {took_s:.1f} s of {PATIENCE_S} allowed; others waited {slowest:.2f} s at most")


def _is_answered(sender: socket.socket) -> bool:
    """Whether the server has hung up, and if it has said why, that it was the time."""
    sender.setblocking(False)
    try:
        answer = sender.recv(4096)
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        sender.setblocking(True)
    assert not answer or answer.startswith(b"HTTP/1.1 408"), answer[:100]
    return True


NAMES = {
    "up": "../../../up.wav", "back": "..\\..\\back.wav", "absolute": "/tmp/absolute.wav",
    "drive": "C:\\drive.wav",
    "encoded": "%2e%2e%2f%2e%2e%2fencoded.wav", "nul": "nul\0.wav", "long": "l" * 300 + ".wav",
    "reserved": "CON.wav", "stream": "a.wav::$DATA.wav", "turned": "turned\u202evaw.wav", "dash": "-rf.wav",
    "hidden": ".hidden.wav", "line": 'line"\r\nSet-Cookie: a=b.wav', "shell": "$(touch shell); `id` | x.wav",
    "wide": "\uff0e\uff0e\uff0fwide.wav", "markup": "<img src=x onerror=alert(1)>.wav",
}  # fmt: skip


@pytest.mark.attack(
    "H2",
    "file names: up, absolute, encoded, NUL, 300 characters, reserved, right to left, dash, CR LF",
    "stored under generated names, shown escaped, nothing elsewhere",
)
def test_hostile_names_are_only_names(server: Server, api: httpx.Client, saw: Callable[[str], None]) -> None:
    dataset_id = create(api)
    around = server.data_path.parents[3]
    path = f"/api/v1/datasets/{dataset_id}/files/"
    for i, name in enumerate(NAMES.values()):
        sound = sounds.wav(0.4, pitch=200 + 20 * i)
        headers = {"Authorization": api.headers["Authorization"], "Content-Length": str(len(sound))}
        with raw_request(server, "PUT", path + quote(name, safe=""), headers, sound) as sent:
            expected = b"404" if "\n" in name else b"201"  # no address holds a line's end
            assert sent.recv(100).split(b" ")[1] == expected, name
    with raw_request(server, "PUT", path + "../../../../up.wav", headers, sound) as sent:
        assert sent.recv(100).split(b" ")[1] in {b"201", b"404", b"405"}
    staged = [p.name for p in files_in(server.data_path / "staging")]
    assert staged
    assert all(re.fullmatch(r"[0-9a-f]{32}(\.\w+)?|[\w.]+\.json|\.?lock", name) for name in staged), staged
    api.post(f"/datasets/{dataset_id}/ingest").raise_for_status()
    assert settled(api, dataset_id)["status"] == "ready"
    clips = api.get(f"/datasets/{dataset_id}/clips", params={"page_size": 100}).json()["items"]
    assert len(clips) >= len(NAMES) - 1
    for clip in clips:
        shown = clip["filename"]
        assert shown.isprintable(), "a mark that turns the text, or ends a line, is shown as it is"
        assert len(shown) <= 300
        assert not {"..", "."} & set(shown.split("/"))
        assert not shown.startswith("/")
        got = api.get(f"/clips/{clip['id']}/audio").raise_for_status()
        assert got.headers["content-disposition"].startswith("attachment")
        assert "set-cookie" not in got.headers
    exported = api.get(f"/datasets/{dataset_id}/export", params={"format": "audiofolder"}).raise_for_status()
    with zipfile.ZipFile(io.BytesIO(exported.content)) as archive:
        for name in archive.namelist():
            assert not name.startswith(("/", "-", "~"))
            assert ".." not in name.split("/")
            assert name.isprintable()
    escaped = [p for p in around.rglob("*.wav") if not p.is_relative_to(server.data_path)]
    assert escaped == [], "a name has become a path"
    assert not Path("/tmp/absolute.wav").exists()
    saw(f"{len(clips)} names")
