"""Checkpoints: whole or not there, whatever fails while they are written."""

import errno
import os
from pathlib import Path

import pytest

from qlora_studio.storage import checkpoints


def _fill(folder: Path) -> None:
    (folder / "a.bin").write_bytes(b"a" * 1000)
    (folder / "b.bin").write_bytes(b"b" * 10)


def _save(folder: Path, step: int, **kwargs: int) -> Path:
    return checkpoints.save(folder, step=step, fill=_fill, state={"at": step}, **kwargs)[0]


def test_the_newest_comes_back_with_its_state(tmp_path: Path) -> None:
    for step in (5, 10, 100):
        _save(tmp_path, step)
    newest = checkpoints.find_newest(tmp_path)
    assert newest is not None
    assert newest.step == 100
    assert newest.state == {"at": 100}
    assert [step for step, _ in checkpoints.list_steps(tmp_path)] == [10, 100]


def test_the_best_is_kept_beside_the_newest(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        _save(tmp_path, step, protect=1)
    assert [step for step, _ in checkpoints.list_steps(tmp_path)] == [1, 3, 4]


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "manifest"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, damage: str) -> None:
    _save(tmp_path, 1)
    path = _save(tmp_path, 2)
    file = path / "a.bin"
    if damage == "truncate":
        file.write_bytes(b"a" * 999)
    elif damage == "flip":
        file.write_bytes(b"a" * 999 + b"x")
    elif damage == "remove":
        file.unlink()
    else:
        (path / "MANIFEST.json").write_text("{")
    newest = checkpoints.find_newest(tmp_path)
    assert newest is not None
    assert newest.step == 1


def test_whichever_call_fails_the_older_checkpoint_is_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _save(tmp_path, 1)
    calls = [0]

    def failing(real, limit):
        def call(*args, **kwargs):
            calls[0] += 1
            if calls[0] == limit:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args, **kwargs)

        return call

    n_failures = 0
    for limit in range(1, 50):
        calls[0] = 0
        with monkeypatch.context() as patch:
            for name in ("fsync", "replace", "rename", "open", "mkdir"):
                patch.setattr(os, name, failing(getattr(os, name), limit))
            try:
                _save(tmp_path, 2)
            except OSError:
                n_failures += 1
        newest = checkpoints.find_newest(tmp_path)
        assert newest is not None
        assert newest.step in (1, 2)
        assert not list(tmp_path.glob(".partial-*"))
        if calls[0] < limit:
            break
    assert n_failures >= 6
    assert checkpoints.find_newest(tmp_path).step == 2  # type: ignore[union-attr]


def test_leftovers_of_a_killed_save_go_at_the_next(tmp_path: Path) -> None:
    (tmp_path / ".partial-step-00000001").mkdir()
    assert checkpoints.find_newest(tmp_path) is None
    _save(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]


def test_only_whole_ones_are_listed_and_each_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1, 2, 3):
        _save(tmp_path, step, keep=3)
    read: list[str] = []
    real = checkpoints.verify
    monkeypatch.setattr(checkpoints, "verify", lambda path: read.append(path.name) or real(path))
    for _ in range(3):
        assert [step for step, _ in checkpoints.list_whole(tmp_path)] == [3, 2, 1]
    assert read == ["step-00000003", "step-00000002", "step-00000001"]

    (tmp_path / "step-00000003" / "a.bin").write_bytes(b"x" * 1000)
    (tmp_path / "step-00000002" / "MANIFEST.json").unlink()
    (tmp_path / "step-00000009").mkdir()
    (tmp_path / "step-00000010").write_text("a file")
    assert [step for step, _ in checkpoints.list_whole(tmp_path)] == [1]
    assert checkpoints.list_whole(tmp_path / "none") == []


def test_the_newest_whole_one_is_found_without_reading_older_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1, 2, 3):
        _save(tmp_path, step, keep=3)
    (tmp_path / "step-00000003" / "a.bin").unlink()
    read: list[str] = []
    real = checkpoints.verify
    monkeypatch.setattr(checkpoints, "verify", lambda path: read.append(path.name) or real(path))
    assert checkpoints.find_newest_whole(tmp_path) == (2, tmp_path / "step-00000002")
    assert read == ["step-00000003", "step-00000002"]
    assert checkpoints.find_newest_whole(tmp_path / "none") is None
