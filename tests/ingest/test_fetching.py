"""Servers that drop, lie, crawl, never end and lead astray: bounded, and never half a dataset ready."""

import pytest

from qlora_studio.contracts.enums import ClipStatus, DatasetStatus, Task
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine
from qlora_studio.db.models import Dataset
from qlora_studio.ingest import pipeline, progress, staging
from tests.ingest import sounds
from tests.ingest.test_pipeline import taken_in
from tests.ingest.web import Request, web

__all__ = ["web"]

pytestmark = pytest.mark.usefixtures("decoding_here")
TABLE = b"file_name,text\na.wav,one\nb.wav,two\nc.wav,three\n"
ZIP = sounds.zipped(
    {"metadata.csv": TABLE, **{f"{n}.wav": sounds.wav(0.3, pitch=200 + i) for i, n in enumerate("abc")}}
)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch, data_folder):
    monkeypatch.setenv("QLORA_STUDIO_FETCH_IDLE_S", "0.3")
    monkeypatch.setenv("QLORA_STUDIO_FETCH_TOTAL_S", "20")
    monkeypatch.setenv("QLORA_STUDIO_MAX_FILE_BYTES", str(1 << 20))
    get_settings.cache_clear()
    monkeypatch.setattr(progress, "TELL_EVERY_S", 0.0)


@pytest.fixture
def dataset(session, user):
    def make(url: str = "http://files.example/set.zip", kind: str = "url", **source: str) -> Dataset:
        made = Dataset(
            owner_id=user.id, name="d", task=Task.SPEECH_TO_TEXT, status=DatasetStatus.PROCESSING,
            source={"kind": kind, "url": url} | source,
        )  # fmt: skip
        session.add(made)
        session.commit()
        return made

    return make


def refused(made: Dataset) -> str:
    """Take the dataset in, and make sure that nothing half is there."""
    result, clips = taken_in(made)
    assert result.status is DatasetStatus.ERROR
    assert clips == {}
    assert not any(item.is_complete for item in staging.list_received(made.id))
    return result.error or ""


def test_a_zip_is_fetched_and_taken_in(dataset, web):
    web.serve("/set.zip", ZIP)
    made = dataset()
    result, clips = taken_in(made)
    assert (result.status, result.error, result.n_clips) == (DatasetStatus.READY, None, 3)
    assert {n: c.text for n, c in clips.items()} == {"a.wav": "one", "b.wav": "two", "c.wav": "three"}
    assert result.source["fetched"] == {"bytes": len(ZIP), "total": len(ZIP)}
    assert [address for address, _ in web.connected] == ["93.184.215.14"]


@pytest.mark.parametrize(
    ("path", "headers", "name"),
    [
        ("/a%20b.wav?signature=secret", {}, "a b.wav"),
        ("/download", {"Content_Disposition": 'attachment; filename="../../clip.wav"'}, "clip.wav"),
        ("/%2e%2e%2f%2e%2e%2fx.wav", {}, "x.wav"),
    ],
)
def test_a_single_recording_is_called_what_its_server_calls_it(dataset, web, path, headers, name):
    sound = sounds.wav(0.2)
    web.serve(path.split("?")[0], sound, **{k.replace("_", "-"): v for k, v in headers.items()})
    result, clips = taken_in(dataset(f"http://files.example{path}"))
    assert (result.status, list(clips)) == (DatasetStatus.READY, [name])


@pytest.mark.fault("F19", "a connection that drops", "goes on where it broke off")
def test_a_connection_that_drops_goes_on_where_it_broke_off(dataset, web):
    starts: list[int] = []

    def dropping(request: Request) -> None:
        start = int(request.headers.get("Range", "bytes=0-")[6:-1])
        starts.append(start)
        head = {"Content-Length": str(len(ZIP) - start), "ETag": '"1"'}
        if start:
            assert request.headers["If-Range"] == '"1"'
            head["Content-Range"] = f"bytes {start}-{len(ZIP) - 1}/{len(ZIP)}"
        request.send_head(206 if start else 200, head)
        end = len(ZIP) if len(starts) == 3 else start + len(ZIP) // 3
        request.wfile.write(ZIP[start:end])

    web.pages["/set.zip"] = dropping
    result, _ = taken_in(dataset())
    assert (result.status, result.n_clips) == (DatasetStatus.READY, 3)
    assert starts == [0, len(ZIP) // 3, 2 * (len(ZIP) // 3)]


def test_a_file_that_changes_between_two_tries_is_fetched_anew(dataset, web):
    tries: list[str] = []

    def changing(request: Request) -> None:
        tries.append(request.headers.get("Range", ""))
        is_new = len(tries) > 1  # it ignores the range, since the mark isn't the old file's
        content = ZIP if is_new else b"PK\x03\x04" + b"old" * 1000
        request.send_head(200, {"Content-Length": str(len(content)), "ETag": '"2"' if is_new else '"1"'})
        request.wfile.write(content if is_new else content[:1000])

    web.pages["/set.zip"] = changing
    result, _ = taken_in(dataset())
    assert (result.status, result.n_clips) == (DatasetStatus.READY, 3)
    assert tries == ["", "bytes=1000-"]


@pytest.mark.parametrize("range_", ["bytes 5-{last}/{size}", "bytes 1000-{last}/999999", "nonsense"])
def test_a_wrong_piece_is_never_joined_to_the_rest(dataset, web, range_):
    def wrong(request: Request) -> None:
        if "Range" not in request.headers:
            request.send_head(200, {"Content-Length": str(len(ZIP)), "ETag": '"1"'})
            request.wfile.write(ZIP[:1000])
            return
        given = range_.format(last=len(ZIP) - 1, size=len(ZIP))
        request.send_head(206, {"Content-Length": "10", "Content-Range": given})
        request.wfile.write(b"x" * 10)

    web.pages["/set.zip"] = wrong
    assert "tried 5 times" in refused(dataset())


@pytest.mark.fault("F19", "a length that lies", "tried again, then said so")
def test_a_lying_length_is_tried_again_and_then_said_so(dataset, web):
    def lying(request: Request) -> None:
        request.send_head(200, {"Content-Length": str(len(ZIP) + 1000)})
        request.wfile.write(ZIP)

    web.pages["/set.zip"] = lying
    assert "broke off" in refused(dataset())
    assert len(web.seen) == 5


def test_more_bytes_than_announced_are_not_taken(dataset, web):
    def longer(request: Request) -> None:
        request.send_head(200, {"Content-Length": str(len(ZIP)), "Connection": "close"})
        request.wfile.write(ZIP + b"x" * 5000)

    web.pages["/set.zip"] = longer
    result, _ = taken_in(dataset())
    assert result.status is DatasetStatus.READY
    assert result.source["fetched"]["bytes"] == len(ZIP)


@pytest.mark.fault("F19", "a file without end", "stops at the cap")
def test_a_file_without_end_stops_at_the_cap(dataset, web):
    def endless(request: Request) -> None:
        request.send_head(200, {"Transfer-Encoding": "chunked"})
        while True:
            request.wfile.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")

    web.pages["/set.zip"] = endless
    assert "over the limit of 1,048,576 bytes" in refused(dataset())


def test_a_file_that_is_announced_too_large_is_not_begun(dataset, web):
    web.pages["/set.zip"] = lambda r: r.send_head(200, {"Content-Length": str(10**12)})
    assert "over the limit" in refused(dataset())


def test_a_whole_file_in_chunks_is_taken_and_half_a_one_is_not(dataset, web):
    def chunked(request: Request, *, end: bytes) -> None:
        request.send_head(200, {"Transfer-Encoding": "chunked"})
        request.wfile.write(b"%x\r\n" % len(ZIP) + ZIP + b"\r\n" + end)

    web.pages["/set.zip"] = lambda r: chunked(r, end=b"")
    assert "broke off" in refused(dataset())
    web.pages["/set.zip"] = lambda r: chunked(r, end=b"0\r\n\r\n")
    assert taken_in(dataset())[0].status is DatasetStatus.READY


def test_an_answer_whose_end_cannot_be_told_is_refused(dataset, web):
    web.pages["/set.zip"] = lambda r: (r.send_head(200, {"Connection": "close"}), r.wfile.write(ZIP))[0]
    assert "doesn't say where the file ends" in refused(dataset())


@pytest.mark.fault("F19", "a byte now and then", "given up as too slow")
@pytest.mark.parametrize("head_first", [True, False])
@pytest.mark.slow
def test_a_byte_now_and_then_is_too_slow(dataset, web, head_first, monkeypatch):
    import threading

    stop = threading.Event()

    def crawling(request: Request) -> None:
        if head_first:
            request.send_head(200, {"Content-Length": str(len(ZIP))})
        else:
            request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not stop.wait(0.05):
            request.wfile.write(b"x")
            request.wfile.flush()

    web.pages["/set.zip"] = crawling
    try:
        assert "too slowly" in refused(dataset())
    finally:
        stop.set()


@pytest.mark.slow
def test_a_server_that_goes_silent_is_given_up(dataset, web, monkeypatch):
    import threading

    stop = threading.Event()
    web.pages["/set.zip"] = lambda r: (r.send_head(200, {"Content-Length": "5000"}), stop.wait(60))[0]
    try:
        assert "went silent" in refused(dataset())
    finally:
        stop.set()


@pytest.mark.fault("F19", "redirects in a circle", "five, and no further")
def test_redirects_are_followed_five_times_and_no_further(dataset, web):
    def on_to(path: str):
        return lambda r: r.send_head(302, {"Location": path, "Content-Length": "0"})

    for n in range(5):
        web.pages[f"/{n}"] = on_to(f"/{n + 1}")
    web.serve("/5", ZIP)
    assert taken_in(dataset("http://files.example/0"))[0].status is DatasetStatus.READY
    web.pages["/round"] = on_to("http://other.example/round")
    web.seen.clear()
    assert "more than 5 times" in refused(dataset("http://files.example/round"))
    assert len(web.seen) == 6


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/secret", "http://[::1]/", "http://169.254.169.254/latest/meta-data/", "http://2130706433/",
        "http://inside.example/", "//inside.example/", "file:///etc/passwd", "ftp://files.example/x",
        "http://files.example:6379/", "http://user:pass@files.example/", "http://[::ffff:10.0.0.1]/", "http://[bad",
        "http://127%E3%80%820.0.1/",
    ],
)  # fmt: skip
def test_a_redirect_to_somewhere_private_is_refused_at_that_hop(dataset, web, location):
    web.names["inside.example"] = ["10.1.2.3"]
    web.pages["/set.zip"] = lambda r: r.send_head(302, {"Location": location, "Content-Length": "0"})
    refused(dataset())
    assert [address for address, _ in web.connected] == ["93.184.215.14"]


@pytest.mark.parametrize(
    ("status", "sentence", "requests"),
    [(404, "no file at this address", 1), (403, "doesn't give the file to everybody", 1),
     (503, "busy or broken", 5), (429, "busy or broken", 5), (418, "answered 418", 1)],
)  # fmt: skip
def test_what_a_server_refuses_is_said_in_words(dataset, web, status, sentence, requests):
    web.pages["/set.zip"] = lambda r: r.send_head(status, {"Content-Length": "0"})
    assert sentence in refused(dataset())
    assert len(web.seen) == requests


def test_a_packed_answer_is_refused(dataset, web):
    web.serve("/set.zip", ZIP, **{"Content-Encoding": "gzip"})
    assert "packs the file" in refused(dataset())


def test_a_web_page_under_the_address_is_told(dataset, web):
    web.serve("/set.zip", b"<!DOCTYPE html><p>Sign in to download</p>", **{"Content-Type": "text/html"})
    result, clips = taken_in(dataset())
    assert result.status is DatasetStatus.ERROR
    assert "web page" in result.error
    assert [c.status for c in clips.values()] == [ClipStatus.REJECTED]


def test_after_a_cancel_nothing_goes_on(dataset, web):
    made = dataset()

    def cancelling(request: Request) -> None:
        with engine.write() as session:
            row = session.get_one(Dataset, made.id)
            row.status, row.error = DatasetStatus.ERROR, "It was stopped."
        web.serve("/set.zip", ZIP)
        web.pages["/set.zip"](request)

    web.pages["/set.zip"] = cancelling
    assert refused(made) == "It was stopped."
    with engine.write() as session:
        session.get_one(Dataset, made.id).status = DatasetStatus.PROCESSING
    assert taken_in(made)[0].status is DatasetStatus.READY


def test_deleted_meanwhile_leaves_nothing(dataset, web):
    made = dataset()

    def deleting(request: Request) -> None:
        with engine.write() as session:
            session.delete(session.get_one(Dataset, made.id))
        web.serve("/set.zip", ZIP)
        web.pages["/set.zip"](request)

    web.pages["/set.zip"] = deleting
    pipeline.run(made.id)
    assert staging.list_received(made.id) == []


def test_a_full_account_fetches_nothing(dataset, web, monkeypatch):
    monkeypatch.setenv("QLORA_STUDIO_MAX_BYTES_PER_USER", "1000")
    get_settings.cache_clear()
    web.serve("/set.zip", ZIP)
    assert "over the limit of 1,000 bytes" in refused(dataset())
    with engine.write() as session:
        session.add(
            Dataset(owner_id=dataset().owner_id, name="full", task=Task.SPEECH_TO_TEXT, size_bytes=1000)
        )
    web.seen.clear()
    assert "space is used up" in refused(dataset())
    assert web.seen == []


def test_with_review_the_files_wait_for_somebody_to_look(dataset, web):
    web.serve("/set.zip", ZIP)
    made = dataset()
    with engine.write() as session:
        row = session.get_one(Dataset, made.id)
        row.source = {**row.source, "review": True}
    result, clips = taken_in(made)
    assert (result.status, clips) == (DatasetStatus.AWAITING_FILES, {})
    assert [item.is_complete for item in staging.list_received(made.id)] == [True]
    with engine.write() as session:
        row = session.get_one(Dataset, made.id)
        row.status, row.source = DatasetStatus.PROCESSING, {**row.source, "review": False}
    web.seen.clear()
    assert taken_in(made)[0].status is DatasetStatus.READY
    assert web.seen == [], "what is here isn't fetched again"
