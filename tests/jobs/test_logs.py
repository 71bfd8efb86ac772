import errno
import itertools
import os
from pathlib import Path

import pytest

from qlora_studio.jobs import logs
from qlora_studio.jobs.shim import _Log


def test_the_tail_is_bounded_and_clean(tmp_path):
    data = b"x" * (10 << 20) + b"\n" + b"\x00\xff\x1b]0;title\x07binary\n" + b"10%\r50%\r100% done\nlast"
    (tmp_path / "worker.log").write_bytes(data)
    lines = [line.text for line in logs.read_tail(tmp_path, 10).lines]
    assert lines[-3:] == ["\ufffdbinary", "100% done", "last"]
    assert max(map(len, lines)) <= logs.MAX_LINE + 2


def test_lines_before_a_rotation_are_in_the_tail(tmp_path):
    (tmp_path / "worker.log.1").write_text("old\n")
    (tmp_path / "worker.log").write_text("new\n")
    assert [line.text for line in logs.read_tail(tmp_path, 10).lines] == ["old", "new"]


def test_reading_goes_on_after_an_offset(tmp_path):
    path = tmp_path / "worker.log"
    path.write_text("one\ntw")
    part = logs.read_after(tmp_path, 0)
    assert ([line.text for line in part.lines], part.next_offset) == (["one"], 4)
    path.write_text("one\ntwo\n")
    assert [line.text for line in logs.read_after(tmp_path, 4).lines] == ["two"]
    path.write_text("a\n")  # another log
    assert [line.text for line in logs.read_after(tmp_path, 8).lines] == ["a"]


@pytest.fixture
def log(tmp_path):
    """What the shim writes with; at most ten bytes a file."""
    opened = _Log(tmp_path / "worker.log", max_bytes=10)
    yield opened
    opened._file.close()


def texts(part):
    return [line.text for line in part.lines]


def test_a_rotation_loses_no_line_and_shows_none_twice(tmp_path, log):
    """The new file is longer already than the place that was read to in the one before."""
    log._max = 100
    seen, offset, written = [], 0, []
    for i in range(60):
        line = f"line {i} {'x' * (i % 7)}"
        written.append(line)
        log.write(f"{line}\n".encode())
        if i % 5 == 0:
            part = logs.read_after(tmp_path, offset)
            seen, offset = seen + texts(part), part.next_offset
    assert seen + texts(logs.read_after(tmp_path, offset)) == written
    assert logs.read_end(tmp_path) == sum(len(line) + 1 for line in written)


@pytest.mark.parametrize(("where", "name"), [(Path, "open"), (os, "replace")])
@pytest.mark.parametrize("nth", [1, 2])
def test_after_a_rotation_that_failed_the_log_goes_on(tmp_path, log, monkeypatch, where, name, nth):
    """As when the disk has no room for another file for a moment."""
    real, calls = getattr(where, name), itertools.count(1)

    def failing(*args, **options):
        if next(calls) == nth:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args, **options)

    log.write(b"before\n")
    with monkeypatch.context() as patched:
        patched.setattr(where, name, failing)
        log.write(b"in between\n")
    for line in (b"one\n", b"two\n", b"the end\n"):
        log.write(line)
    assert texts(logs.read_tail(tmp_path, 10))[-2:] == ["two", "the end"]


def test_a_line_cut_by_a_rotation_is_one_line(tmp_path, log):
    log.write(b"one\ntw")
    log.write(b"o and\nmore\n")
    assert texts(logs.read_after(tmp_path, 0)) == ["one", "two and", "more"]
    assert texts(logs.read_tail(tmp_path, 2)) == ["two and", "more"]


def test_what_is_gone_is_passed_over(tmp_path, log):
    for i in range(9):
        log.write(f"line {i}\n".encode())
    assert texts(logs.read_after(tmp_path, 7)) == ["line 7", "line 8"]
    assert logs.read_after(tmp_path, 7).next_offset == 63


def test_logs_of_an_older_shim_are_read(tmp_path):
    (tmp_path / "worker.log.1").write_text("old\n")
    (tmp_path / "worker.log").write_text("new\n")
    assert texts(logs.read_after(tmp_path, 0)) == ["old", "new"]
    assert logs.read_after(tmp_path, 4).next_offset == logs.read_end(tmp_path) == 8


def test_a_line_that_is_being_written_comes_once_it_is_whole(tmp_path):
    path = tmp_path / "worker.log"
    path.write_text("one\ntw")
    part = logs.read_tail(tmp_path, 10, is_growing=True)
    assert (texts(part), part.next_offset) == (["one"], 4)
    assert texts(logs.read_after(tmp_path, 4, is_growing=False)) == ["tw"]


def test_a_text_is_found_in_all_that_is_kept_newest_first(tmp_path):
    (tmp_path / "worker.log.1").write_text("\x1b[31mLOSS\x1b[0m old\nnothing\n")
    (tmp_path / "worker.log").write_text("loss 1\nValueError: loss is not a number\nTOKEN=hf_loss\n")
    found = logs.search(tmp_path, text="Loss")
    assert texts(found) == ["LOSS old", "loss 1", "ValueError: loss is not a number"]
    assert (found.n_found, found.is_complete) == (3, True)
    assert texts(logs.search(tmp_path, text="loss", limit=1)) == ["ValueError: loss is not a number"]
    assert logs.search(tmp_path, text="loss", limit=1).n_found == 3
    assert texts(logs.search(tmp_path, levels=("error",))) == ["ValueError: loss is not a number"]
    assert logs.search(tmp_path / "none", text="loss").n_found == 0


def test_a_search_ends_in_time(tmp_path):
    (tmp_path / "worker.log").write_text("loss\n" * 1_000)
    found = logs.search(tmp_path, text="loss", within_s=0)
    assert (found.n_found, found.is_complete) == (0, False)


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("step 1", "info"),
        ("word error rate 0.3", "info"),
        ("UserWarning: x", "warning"),
        ("warning: little space", "warning"),
        ("ValueError: no", "error"),
        ("error: The loss is not a number.", "error"),
        ("2026 DEBUG x", "debug"),
    ],
)
def test_levels_are_guessed_from_the_words(line, level):
    assert logs.level_of(line) == level


def test_a_log_put_back_from_a_backup_is_read(tmp_path, log):
    for i in range(9):
        log.write(f"line {i}\n".encode())
    copied = tmp_path / "copied"
    copied.mkdir()
    for path in tmp_path.glob("worker.log*"):
        (copied / path.name).write_bytes(path.read_bytes())
    assert texts(logs.read_tail(copied, 10)) == list(logs.read_lines(copied)) == ["line 7", "line 8"]


def test_a_whole_log_is_read_through_rotations(tmp_path, log):
    log._max = 1 << 20
    written = [f"line {i} {'é' * 400}" for i in range(2_000)]
    for line in written:
        log.write(f"{line}\n".encode())
    read = []
    for i, line in enumerate(logs.read_lines(tmp_path)):
        read.append(line)
        if i < 3:
            log._rotate()
            log.write(b"later\n")
    assert read == written[-len(read) :]
    assert len(read) > 1_000


def test_each_state_of_a_bar_is_a_line_of_the_whole_log(tmp_path):
    (tmp_path / "worker.log").write_bytes(b"10%\r50%\r\n\nTOKEN=hf_loss\xff\nlast")
    assert list(logs.read_lines(tmp_path)) == ["10%", "50%", "", "TOKEN=[redacted]", "last"]
    assert list(logs.read_lines(tmp_path / "none")) == []


def test_of_an_endless_line_only_the_beginning_is_cleaned(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(logs, "redact", lambda text: seen.append(len(text)) or text)
    (tmp_path / "worker.log").write_text("loss " * 50_000 + "\x1b[0m")
    found = logs.search(tmp_path, text="loss")
    assert [len(text) for text in texts(found)] == [logs.MAX_LINE + 2]
    assert 0 < max(seen) <= 4 * logs.MAX_LINE
