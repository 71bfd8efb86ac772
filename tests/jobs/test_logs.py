import pytest

from qlora_studio.jobs import logs


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
    path.write_text("a\n")  # rotated
    assert [line.text for line in logs.read_after(tmp_path, 8).lines] == ["a"]


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
