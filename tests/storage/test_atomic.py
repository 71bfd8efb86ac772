"""Files that are there whole or not at all, also when two write the same one."""

import os
import threading
from pathlib import Path

import pytest

from qlora_studio.storage import atomic


@pytest.mark.parametrize(("number", "is_full"), [(28, True), (122, True), (13, False), (None, False)])
def test_no_room_is_told_from_other_errors(number, is_full):
    error = OSError("odd") if number is None else OSError(number, os.strerror(number))
    assert atomic.is_full(error) is is_full


def test_two_threads_that_write_one_file_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    both_have_written = threading.Barrier(2, timeout=10)
    replace = os.replace
    errors: list[Exception] = []

    def meeting(*names):
        both_have_written.wait()
        replace(*names)

    def write(content: str) -> None:
        try:
            atomic.write_text(tmp_path / "stop.json", content)
        except Exception as error:
            errors.append(error)

    monkeypatch.setattr(os, "replace", meeting)
    threads = [threading.Thread(target=write, args=(content * 1000,)) for content in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert (tmp_path / "stop.json").read_text() in ("a" * 1000, "b" * 1000)
    assert [path.name for path in tmp_path.iterdir()] == ["stop.json"]


def test_a_folder_is_replaced_whole_or_stays(tmp_path: Path):
    target = tmp_path / "adapter"
    atomic.replace_folder(target, lambda folder: (folder / "a").write_text("first"))
    with pytest.raises(OSError, match="full"):
        atomic.replace_folder(target, fail)
    assert (target / "a").read_text() == "first"
    atomic.replace_folder(target, lambda folder: (folder / "a").write_text("second"))
    assert (target / "a").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def fail(_folder: Path) -> None:
    raise OSError(28, "the disk is full")
