"""Uploads against a running server: signed out, endless, cut off, hostile, and with the server killed."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from scripts.running import Server, sign_up, start_server
from tests.ingest import sounds
from tests.security.uploading import create, raw_put, settled

pytestmark = pytest.mark.slow
MB = 1 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    limits = {"QLORA_STUDIO_MAX_FILE_BYTES": str(400 * MB)}
    started = start_server(tmp_path_factory.mktemp("server"), **limits)
    yield started
    started.stop()


@pytest.mark.attack("H1", "upload of 300 MB, signed out", "401 before the body is read")
def test_signed_out_is_answered_before_the_body_comes(server: Server, api: httpx.Client) -> None:
    path = f"/api/v1/datasets/{create(api)}/files/a.wav"
    connection = raw_put(server, path, {"Content-Length": str(300 * MB)}, b"x" * 1000)
    with connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 401")


@pytest.mark.attack("S5", "upload from a foreign Origin", "403, nothing stored")
def test_a_foreign_origin_is_refused(api: httpx.Client) -> None:
    dataset_id = create(api)
    refused = api.put(
        f"/datasets/{dataset_id}/files/a.wav", content=b"x", headers={"Origin": "http://evil.example"}
    )
    assert refused.status_code == 403
    assert api.get(f"/datasets/{dataset_id}/files").json()["total"] == 0


@pytest.mark.attack("H1", "an endless chunked body", "413 at the cap, memory flat, nothing left")
def test_an_endless_body_stops_at_the_cap_and_memory_stays_flat(server: Server, api: httpx.Client) -> None:
    dataset_id = create(api)
    process = server.serving
    before, peak = process.memory_info().rss, 0

    def endless() -> Iterator[bytes]:
        nonlocal peak
        for _ in range(500):
            peak = max(peak, process.memory_info().rss)
            yield b"\0" * MB

    with contextlib.suppress(httpx.WriteError):  # hanging up on the rest is as good an answer
        assert api.put(f"/datasets/{dataset_id}/files/zeros.wav", content=endless()).status_code == 413
    assert peak - before < 64 * MB
    assert not any(item["is_complete"] for item in api.get(f"/datasets/{dataset_id}/files").json()["items"])
    api.delete(f"/datasets/{dataset_id}")
    assert not (server.data_path / "staging" / dataset_id).exists()


def test_a_cut_connection_keeps_what_came_and_goes_on(server: Server, api: httpx.Client) -> None:
    dataset_id, content = create(api), sounds.wav(20.0)
    headers = {"Content-Length": str(len(content)), "Authorization": api.headers["Authorization"]}
    path = f"/api/v1/datasets/{dataset_id}/files/long.wav"
    connection = raw_put(server, path, headers, content[:300_000])
    time.sleep(0.3)
    connection.close()
    deadline = time.monotonic() + 10
    while not (items := api.get(f"/datasets/{dataset_id}/files").json()["items"]) or not items[0]["received"]:
        assert time.monotonic() < deadline, "nothing was kept"
        time.sleep(0.05)
    start, total = items[0]["received"], len(content)
    assert 0 < start <= 300_000
    rest = {"Content-Range": f"bytes {start}-{total - 1}/{total}"}
    for _ in range(50):  # the server may still be closing the old request
        answer = api.put(f"/datasets/{dataset_id}/files/long.wav", content=content[start:], headers=rest)
        if answer.status_code != 409:
            break
        time.sleep(0.1)
    assert answer.json() == {"received": total}
    api.post(f"/datasets/{dataset_id}/ingest")
    assert settled(api, dataset_id)["duration_s"] == pytest.approx(20.0)


def test_hostile_archives_leave_nothing_behind(server: Server, api: httpx.Client) -> None:
    archives = {
        "slip.zip": sounds.zipped({"../../../slip.wav": b"x"}),
        "absolute.zip": sounds.zipped({"/tmp/absolute.wav": b"x"}),
        "bomb.zip": sounds.zipped({"bomb.wav": bytes(150 * MB)}),
        "nested.zip": sounds.zipped({"inner.zip": sounds.zipped({"a.wav": sounds.wav()})}),
        "cut.zip": sounds.zipped({"a.wav": sounds.wav()})[:-10],
    }
    dataset_id = create(api)
    for name, content in archives.items():
        api.put(f"/datasets/{dataset_id}/files/{name}", content=content).raise_for_status()
    api.post(f"/datasets/{dataset_id}/ingest")
    dataset = settled(api, dataset_id)
    assert (dataset["status"], dataset["n_clips"], dataset["n_excluded"]) == ("error", 0, len(archives))
    reasons = [c["reason"] for c in api.get(f"/datasets/{dataset_id}/clips").json()["items"]]
    assert all(reason.startswith("Archive refused: ") for reason in reasons)
    assert list(server.data_path.rglob("*.wav")) == []
    # Other tests' recordings lie beside the server's folder, so look for these names only.
    outside = {p.name for p in server.data_path.parent.rglob("*.wav")}
    assert outside.isdisjoint({"slip.wav", "bomb.wav", "absolute.wav"})
    assert not Path("/tmp/absolute.wav").exists()


NO_SOUNDS = {
    "page.wav": b"<html><script>alert(1)</script></html>",
    "drawing.mp3": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
    "list.mp3": b"#EXTM3U\n#EXTINF:1,x\nfile:///etc/passwd\n",
    "stream.wav": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1/\n#EXT-X-ENDLIST\n",
    "list.ogg": b"[playlist]\nFile1=/etc/passwd\nNumberOfEntries=1\n",
    "begun.wav": b"RIFF\xff\xff\xff\x7fWAVE<script>alert(1)</script>",
}


@pytest.mark.attack(
    "H5",
    "a page, a drawing and playlists named .wav, .mp3 and .ogg",
    "rejected by decoding, never served; what is a sound comes as attachment with nosniff",
)
def test_what_only_calls_itself_a_sound_is_rejected_and_never_served(
    api: httpx.Client, saw: Callable[[str], None]
) -> None:
    dataset_id = create(api)
    for name, content in NO_SOUNDS.items():
        api.put(f"/datasets/{dataset_id}/files/{name}", content=content).raise_for_status()
    api.put(f"/datasets/{dataset_id}/files/ok.wav", content=sounds.wav())
    api.post(f"/datasets/{dataset_id}/ingest")
    assert settled(api, dataset_id)["status"] == "ready"
    clips = {c["filename"]: c for c in api.get(f"/datasets/{dataset_id}/clips").json()["items"]}
    sound = clips.pop("ok.wav")
    assert clips.keys() == NO_SOUNDS.keys()
    for name, clip in clips.items():
        assert (clip["status"], bool(clip["reason"])) == ("rejected", True), name
        assert api.get(f"/clips/{clip['id']}/audio").status_code == 404, name
        drawn = api.get(f"/clips/{clip['id']}/peaks")
        assert drawn.headers["content-type"].partition(";")[0].endswith("json"), name
        assert b"alert" not in drawn.content
    assert clips["page.wav"]["reason"].startswith("Not audio: it is a web page")
    served = api.get(f"/clips/{sound['id']}/audio")
    assert served.headers["content-disposition"].startswith("attachment")
    assert served.headers["x-content-type-options"] == "nosniff"
    saw("; ".join(f"{name}: {clip['reason']}" for name, clip in sorted(clips.items())))


def test_a_killed_server_loses_no_file_and_goes_on_processing(tmp_path: Path) -> None:
    first = start_server(tmp_path / "data")
    headers = {"Authorization": f"Bearer {sign_up(first, 'ada')}"}
    with httpx.Client(base_url=f"{first.base}/api/v1", headers=headers, timeout=60) as api:
        dataset_id = create(api)
        for i in range(60):
            sound = sounds.wav(0.5, pitch=150 + i)
            api.put(f"/datasets/{dataset_id}/files/{i}.wav", content=sound).raise_for_status()
        api.post(f"/datasets/{dataset_id}/ingest").raise_for_status()
    first.kill()
    again = start_server(tmp_path / "data")
    try:
        with httpx.Client(base_url=f"{again.base}/api/v1", headers=headers, timeout=60) as api:
            dataset = settled(api, dataset_id)
            assert (dataset["status"], dataset["n_clips"], dataset["n_excluded"]) == ("ready", 60, 0)
            assert api.get(f"/datasets/{dataset_id}/clips").json()["total"] == 60
    finally:
        again.stop()
