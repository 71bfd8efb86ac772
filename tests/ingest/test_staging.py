"""Receiving files: resumed where they stopped, acknowledged only when on disk."""

import errno
import os
import subprocess

import pytest

from qlora_studio.core.errors import Conflict, StorageFull, TooLarge
from qlora_studio.core.ids import new_id
from qlora_studio.ingest import staging

DATASET = new_id("ds")


def receive(name: str, content: bytes, *, start=0, size=None, max_bytes=1000) -> int:
    with staging.Receiver(DATASET, name, start=start, size=size, max_bytes=max_bytes) as receiver:
        receiver.write(content)
        return receiver.finish()


def held() -> dict[str, tuple[int, bool]]:
    return {item.name: (item.received, item.is_complete) for item in staging.list_received(DATASET)}


def test_a_dropped_upload_goes_on_where_it_stopped(data_folder):
    with staging.Receiver(DATASET, "a", start=0, size=10, max_bytes=100) as receiver:
        receiver.write(b"01234")
    assert held() == {"a": (5, False)}
    with pytest.raises(staging.OffsetMismatch) as mismatch:
        receive("a", b"x", start=7, size=10)
    assert mismatch.value.received == 5
    assert receive("a", b"3456789", start=3, size=10) == 10
    assert held() == {"a": (10, True)}
    path = next(p for p in staging.files_path(DATASET).iterdir() if p.suffix != ".json")
    assert path.read_bytes() == b"0123456789"


def test_a_finished_file_is_only_replaced_as_a_whole(data_folder):
    """Its bytes may be shared with the originals of a dataset by a hard link."""
    receive("a", b"first", size=5)
    path = next(p for p in staging.files_path(DATASET).iterdir() if p.suffix != ".json")
    os.link(path, data_folder / "kept")
    with pytest.raises(staging.OffsetMismatch):
        receive("a", b"x", start=2, size=5)
    receive("a", b"other", size=5)
    assert (data_folder / "kept").read_bytes() == b"first"
    assert path.read_bytes() == b"other"


@pytest.mark.parametrize("size", [None, 5000])
def test_a_file_over_the_cap_is_refused(data_folder, size):
    with pytest.raises(TooLarge):
        receive("a", b"x" * 5000, size=size)


def test_more_bytes_than_announced_are_refused(data_folder):
    with pytest.raises(TooLarge):
        receive("a", b"x" * 11, size=10)


def test_two_senders_of_one_file_do_not_mix(data_folder):
    with staging.Receiver(DATASET, "a", start=0, size=10, max_bytes=100) as receiver:
        receiver.write(b"0123")
        for start in (0, 4):
            with pytest.raises(Conflict, match="being received"):
                receive("a", b"4", start=start, size=10)
        receiver.write(b"456789")
        receiver.finish()
    assert held() == {"a": (10, True)}


def test_a_disk_without_room_is_told_before_the_first_byte(data_folder, monkeypatch):
    monkeypatch.setattr(staging, "free_bytes", lambda: 4)
    with pytest.raises(StorageFull):
        receive("a", b"12345", size=5)


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_disk_that_fills_up_keeps_what_came(data_folder, monkeypatch, call):
    receive("before", b"safe", size=4)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with (
        monkeypatch.context() as patched,
        staging.Receiver(DATASET, "a", start=0, size=9, max_bytes=100) as receiver,
    ):
        receiver.write(b"1234")
        patched.setattr(staging.os, call, full)
        with pytest.raises(StorageFull):
            receiver.write(b"56789")
            receiver.finish()
    assert held()["before"] == (4, True)
    assert held()["a"][1] is False
    assert receive("a", b"56789", start=4, size=9) == 9


def test_what_a_killed_process_was_writing_is_swept_and_nothing_else(data_folder):
    receive("a", b"0123", size=4)
    gone = subprocess.Popen(["true"])
    gone.wait()
    left, busy = (staging.files_path(DATASET) / f".b.json.7.{pid}.partial" for pid in (gone.pid, os.getpid()))
    for partial in (left, busy):
        partial.write_text("{")
    staging.sweep()
    assert (left.exists(), busy.exists()) == (False, True)
    assert held() == {"a": (4, True)}
