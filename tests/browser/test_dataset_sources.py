"""Bringing recordings from elsewhere, and over bad connections, in a real browser."""

import itertools
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from playwright.sync_api import Page, expect

from scripts.running import ROOT, Server, axe_violations, sign_in, sign_up, start_server, watch_console
from tests.browser.conftest import Person
from tests.browser.test_datasets import CHOOSER, make
from tests.browser.wire import Wire, wired
from tests.ingest import sounds, web

pytestmark = pytest.mark.browser
SECRET = "zirconium-7d1f"
SLOW_BYTES_S = 2_000_000
_SEAM = """
import httpcore
from qlora_studio.ingest import addresses

def look_up(host, port):
    return ["{public}"] if host.endswith(".example") else addresses.look_up(host, port)

def connect(address, port, timeout=None):
    return httpcore.SyncBackend().connect_tcp("127.0.0.1", {port}, timeout=timeout)

addresses.NETWORK = addresses.Network(look_up, connect)
"""


@pytest.fixture(scope="module")
def loopback() -> Iterator[web.Web]:
    with web.opened() as made:
        yield made


@pytest.fixture(scope="module")
def connected(tmp_path_factory: pytest.TempPathFactory, loopback: web.Web) -> Iterator[Server]:
    """A server whose processes find every `….example` at our own web, and one folder that may be read."""
    folder = tmp_path_factory.mktemp("connected")
    (folder / "seam").mkdir()
    seam = _SEAM.format(public=web.PUBLIC, port=loopback.port)
    (folder / "seam/sitecustomize.py").write_text(seam)
    (folder / "root").mkdir()
    started = start_server(
        folder / "data",
        PYTHONPATH=f"{folder / 'seam'}:{ROOT}",
        QLORA_STUDIO_DATASET_ROOTS=str(folder / "root"),
    )
    yield started
    started.stop()


_numbers = itertools.count(1)


@pytest.fixture
def elsewhere(page: Page, connected: Server) -> Page:
    """A page signed in to `connected`."""
    sign_in(page.context, connected, sign_up(connected, f"guest{next(_numbers)}"))
    return page


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """A recording that takes seconds over a slow wire, and more than the system's buffers hold."""
    noise = np.random.default_rng(3).uniform(-0.5, 0.5, (2_000_000, 4)).astype(np.float32)
    path = tmp_path / "noise.wav"
    path.write_bytes(sounds.encoded(noise))
    return path


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    """A slow connection to the server; the cookie counts there too, since it is the same host."""
    with wired(server.port) as made:
        made.bytes_s = SLOW_BYTES_S
        yield made


def through(wire: Wire, server: Server) -> Server:
    return Server(server.process, wire.port, server.data_path)


def stored(page: Page, server: Server, clips: list[dict[str, Any]]) -> bytes:
    """The bytes of the only clip."""
    (clip,) = clips
    return page.request.get(f"{server.base}/api/v1/clips/{clip['id']}/audio").body()


def part_sent(page: Page) -> None:
    """Wait until some of the upload has left, but not all."""
    bar = page.get_by_role("progressbar", name="Upload")
    expect(bar).to_have_attribute("aria-valuenow", re.compile(r"^([1-7]\d)$"), timeout=30_000)


def dataset_of(page: Page) -> str:
    return page.url.partition("?")[0].rpartition("/")[2]


def taken_in(page: Page, server: Server) -> list[dict[str, Any]]:
    """Wait until the dataset that the page shows is ready; returns its clips."""

    def status() -> str:
        return page.request.get(f"{server.base}/api/v1/datasets/{dataset_of(page)}").json()["status"]

    until(page, lambda: status() == "ready")
    clips = page.request.get(f"{server.base}/api/v1/datasets/{dataset_of(page)}/clips?status=ok")
    return clips.json()["items"]


def until(page: Page, condition: Callable[[], bool], timeout_s: float = 90) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        page.wait_for_timeout(100)


def _trickle(loopback: web.Web, path: str, content: bytes) -> threading.Event:
    """Serve these bytes a little at a time until the event is set; from then on all at once."""
    hurry = threading.Event()

    def answer(request: web.Request) -> None:
        request.send_head(200, {"Content-Length": str(len(content))})
        for start in range(0, len(content), 8192):
            request.wfile.write(content[start : start + 8192])
            hurry.wait(0.1)

    loopback.pages[path] = answer
    return hurry


def test_a_cut_connection_is_taken_up_where_it_broke(
    page: Page, server: Server, big: Path, wire: Wire
) -> None:
    ranges: list[str] = []
    page.on(
        "request", lambda r: ranges.append(r.headers.get("content-range", "")) if r.method == "PUT" else None
    )
    make(page, through(wire, server), "Tunnel", [str(big)])
    part_sent(page)
    wire.cut()
    expect(page.get_by_text("Connection lost. Trying again in")).to_be_visible()
    wire.bytes_s = 0
    wire.mend()
    assert stored(page, server, taken_in(page, server)) == big.read_bytes()
    assert ranges[0] == ""
    begun = re.fullmatch(r"bytes (\d+)-\d+/\d+", ranges[-1])
    assert begun is not None, "it went on, rather than to begin again"
    assert int(begun[1]) > 0


def test_after_a_reload_the_same_files_go_on(
    page: Page, server: Server, big: Path, tmp_path: Path, wire: Wire
) -> None:
    (tmp_path / "noise.txt").write_text("hiss")
    chosen = [str(tmp_path / "noise.txt"), str(big)]
    make(page, through(wire, server), "Reloaded", chosen)
    part_sent(page)
    page.on("dialog", lambda dialog: dialog.accept())  # "leave this page?"
    page.goto(page.url.partition("?")[0])
    wire.bytes_s = 0
    notice = page.get_by_text("The upload was cut off: 1 of 2 files is here")
    expect(notice).to_be_visible()
    assert axe_violations(page) == []
    with page.expect_request(lambda r: r.method == "PUT") as request, page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Go on").click()
        chooser.value.set_files(chosen)
    assert request.value.headers["content-range"].startswith("bytes ")
    assert stored(page, server, taken_in(page, server)) == big.read_bytes()


def test_an_upload_is_cancelled_as_a_whole(page: Page, server: Server, big: Path, wire: Wire) -> None:
    make(page, through(wire, server), "Changed my mind", [str(big)])
    part_sent(page)
    page.get_by_role("button", name="Cancel upload").click()
    expect(page.get_by_role("progressbar", name="Upload")).to_be_hidden()
    expect(page.get_by_role("listitem").filter(has_text="noise.wav")).to_have_count(0)
    files = f"{server.base}/api/v1/datasets/{dataset_of(page)}/files"
    until(page, lambda: page.request.get(files).json()["total"] == 0)


@pytest.mark.attack(
    "X1",
    "markup and a formula in a table's columns and cells, in the browser",
    "shown as text; no script, no violation of the page's policy",
)
def test_columns_are_chosen_before_anything_is_read(page: Page, server: Server, tmp_path: Path) -> None:
    complaints = watch_console(page)
    evil = "<img src=x onerror=alert(1)>"
    files = {f"a{i}.wav": sounds.wav(0.4, pitch=200 + 50 * i) for i in range(4)}
    rows = [f"a{i}.wav,line {i} {evil},Speaker {i % 2}" for i in range(4)] + ["gone.wav,nothing,x"]
    files["list.csv"] = ("clip,said,=cmd()\n" + "\n".join(rows)).encode()
    sounds.write(tmp_path, files)
    make(page, server, "Odd columns", [str(tmp_path / name) for name in files])
    expect(page.get_by_text("list.csv has no column for the text")).to_be_visible(timeout=60_000)
    use = page.get_by_role("button", name="Use this")
    expect(use).to_be_disabled()
    page.get_by_label("Words", exact=True).select_option("said")
    table = page.get_by_role("table", name="First clips")
    expect(table.get_by_text(f"line 2 {evil}")).to_be_visible()
    expect(page.get_by_text("4 clips", exact=True)).to_be_visible()
    expect(page.get_by_text("Missing file: 1 file")).to_be_visible()
    page.get_by_label("Speaker", exact=True).select_option("=cmd()")
    expect(table.get_by_text("Speaker 1").first).to_be_visible()
    assert axe_violations(page) == []
    use.dblclick()
    clips = taken_in(page, server)
    assert [(c["text"], c["speaker"]) for c in clips] == [
        (f"line {i} {evil}", f"Speaker {i % 2}") for i in range(4)
    ]
    assert complaints == []


def test_labels_come_from_what_is_chosen(page: Page, server: Server, tmp_path: Path) -> None:
    files = {
        f"{kind}_{i}.wav": sounds.wav(0.4, pitch=200 + 70 * i) for kind in ("cat", "dog") for i in range(2)
    }
    sounds.write(tmp_path, files)
    page.goto(f"{server.base}/datasets/new")
    page.set_input_files(CHOOSER, [str(tmp_path / name) for name in files])
    page.get_by_label("Name").fill("Pets")
    page.get_by_label("Task").select_option("audio-classification")
    page.get_by_role("button", name="Create and upload").click()
    choice = page.get_by_label("Where no column gives a label")
    expect(choice).to_have_value("prefix", timeout=60_000)
    expect(page.get_by_text("Classes: cat (2), dog (2)")).to_be_visible()
    choice.select_option("none")
    expect(page.get_by_text("Classes:")).to_have_count(0)
    page.get_by_role("button", name="Back to the files").click()
    expect(page.get_by_text("4 files received").first).to_be_visible()
    page.get_by_role("button", name="Process 4 files").click()
    expect(choice).to_have_value("prefix")
    page.get_by_role("button", name="Use this").click()
    assert {clip["label"] for clip in taken_in(page, server)} == {"cat", "dog"}


def test_a_web_address_is_fetched_looked_at_and_read(
    elsewhere: Page, connected: Server, loopback: web.Web
) -> None:
    page = elsewhere
    files = {f"x{i}.wav": sounds.wav(0.4, pitch=200 + 50 * i) for i in range(3)}
    files["metadata.csv"] = b"file_name,text\nx0.wav,one\nx1.wav,two\nx2.wav,three\n"
    loopback.serve("/march.zip", sounds.zipped(files))
    page.goto(f"{connected.base}/datasets/new")
    page.get_by_role("button", name="Web address").click()
    page.get_by_label("Name").fill("From the web")
    address = page.get_by_label("Address")
    address.fill("http://voices.example:8080/march.zip")
    page.get_by_label("Name").focus()
    expect(page.get_by_text("Port 8080 isn't asked")).to_be_visible()
    address.fill("http://127.0.0.1/march.zip")
    page.get_by_role("button", name="Create and fetch").click()
    expect(page.get_by_text("isn't a public server")).to_be_visible(timeout=60_000)
    page.goto(f"{connected.base}/datasets/new?source=url")
    page.get_by_label("Name").fill("From the web")
    page.get_by_label("Address").fill("http://voices.example/march.zip")
    page.get_by_role("button", name="Create and fetch").click()
    expect(page.get_by_role("table", name="First clips").get_by_text("three")).to_be_visible(timeout=60_000)
    assert axe_violations(page) == []
    page.get_by_role("button", name="Use this").click()
    assert [clip["text"] for clip in taken_in(page, connected)] == ["one", "two", "three"]


def test_a_fetch_shows_its_bytes_and_is_stopped_and_started_again(
    elsewhere: Page, connected: Server, loopback: web.Web
) -> None:
    page = elsewhere
    content = sounds.wav(20.0)
    hurry = _trickle(loopback, "/slow.wav", content)
    page.goto(f"{connected.base}/datasets/new?source=url")
    page.get_by_label("Name").fill("Slow")
    page.get_by_label("Address").fill("http://voices.example/slow.wav")
    page.get_by_role("button", name="Create and fetch").click()
    expect(page.get_by_text("Fetching from the web")).to_be_visible(timeout=60_000)
    expect(page.get_by_text(re.compile(r"\d+ kB of 640 kB"))).to_be_visible(timeout=60_000)
    assert axe_violations(page) == []
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("It was stopped. Start it again, or delete it.")).to_be_visible()
    hurry.set()
    page.get_by_role("button", name="Start again").click()
    assert stored(page, connected, taken_in(page, connected)) == content


def test_a_server_folder_is_looked_at_first(elsewhere: Page, connected: Server) -> None:
    page = elsewhere
    folder = connected.data_path.parent / "root/march"
    table = b"path,transcript,extra\na.wav,hello,1\nb.wav,world,2\n"
    sounds.write(folder, {"a.wav": sounds.wav(0.3), "b.wav": sounds.wav(0.5, pitch=300), "labels.csv": table})
    page.goto(f"{connected.base}/datasets/new?source=folder")
    page.get_by_label("Name").fill("Folder")
    page.get_by_role("textbox", name="Folder").fill("/etc")
    page.get_by_role("button", name="Create and look at the folder").click()
    expect(page.get_by_role("textbox", name="Folder")).to_be_focused()
    page.get_by_role("textbox", name="Folder").fill(str(folder))
    page.get_by_role("button", name="Create and look at the folder").click()
    expect(page.get_by_role("table", name="First clips").get_by_text("world")).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Use this").click()
    assert [clip["text"] for clip in taken_in(page, connected)] == ["hello", "world"]


def test_a_key_is_kept_and_never_shown_again(page: Page, server: Server, person: Person) -> None:
    said: list[str] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: said.append(str(frame))))
    page.on("response", lambda r: said.append(r.text()) if "/api/v1/credentials" in r.url else None)
    page.goto(f"{server.base}/datasets/new?source=cloud")
    page.get_by_role("button", name="Add a key").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Add key").click()
    expect(dialog.get_by_text("Give the secret key.")).to_be_visible()
    assert axe_violations(page) == []
    dialog.get_by_label("Name").fill("Team bucket")
    for label in ("Access key id", "Secret access key"):
        field = dialog.get_by_label(label)
        expect(field).to_have_attribute("type", "password")
        field.fill(SECRET)
    dialog.get_by_role("button", name="Add key").dblclick()
    expect(dialog).to_be_hidden()
    key = page.get_by_label("Key", exact=True)
    expect(key.locator("option:checked")).to_have_text("Team bucket (Amazon S3)")
    page.reload()
    expect(key.locator("option")).to_have_count(2)
    assert SECRET not in page.content() + "".join(said)
    headers = {"Authorization": f"Bearer {person.token}"}
    answer = httpx.get(f"{server.base}/api/v1/credentials", headers=headers)
    assert answer.json()["total"] == 1
    assert SECRET not in answer.text
    key.select_option(label="Team bucket (Amazon S3)")
    page.get_by_role("button", name="Delete this key").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Delete key").click()
    expect(page.get_by_text("The key Team bucket is deleted")).to_be_visible()
    expect(key.locator("option")).to_have_count(1)
