"""Checkpoints that are there whole or not at all.

    checkpoints/step-00000040/
        MANIFEST.json        step, what the trainer needs to go on, and size and sha256 of every other file
        …                    whatever the writer put there

A save goes into `.partial-step-…`; its files are synced, the manifest is written last, the folder is synced
and renamed. Whatever happens in between, the newest folder whose manifest verifies is one to resume from.
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from qlora_studio.storage import atomic

MANIFEST = "MANIFEST.json"
_NAME = re.compile(r"step-(\d{8,})")
_PARTIAL = ".partial-"


class Checkpoint(NamedTuple):
    """A verified checkpoint. `state` is what the writer stored in the manifest."""

    path: Path
    step: int
    state: dict[str, Any]


def save(
    folder: Path,
    *,
    step: int,
    fill: Callable[[Path], None],
    state: dict[str, Any],
    keep: int = 2,
    protect: int = -1,
) -> tuple[Path, int]:
    """Write the checkpoint of `step` and drop the oldest ones.

    Args:
        folder: `checkpoints/` of the run; made if missing.
        fill: writes the checkpoint's files into the folder it is given.
        state: JSON values to hand back at resume.
        keep: how many checkpoints to keep, the new one included.
        protect: a step whose checkpoint stays in any case (the best so far).

    Returns:
        The checkpoint's folder and its size in bytes.

    Raises:
        OSError: the disk is full. The partial folder is gone and older checkpoints are untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_partial(folder)
    final = folder / f"step-{step:08d}"
    partial = folder / f"{_PARTIAL}{final.name}"
    try:
        partial.mkdir()
        fill(partial)
        size = _seal(partial, step=step, state=state)
        _remove(final)
        os.rename(partial, final)
        atomic.sync_folder(folder)
    except BaseException:
        remove_partial(folder)
        raise
    _drop_oldest(folder, keep=keep, protect=protect)
    remove_partial(folder)
    return final, size


def _seal(partial: Path, *, step: int, state: dict[str, Any]) -> int:
    files = []
    for path in sorted(p for p in partial.rglob("*") if p.is_file()):
        _sync_file(path)
        name = path.relative_to(partial).as_posix()
        files.append({"name": name, "size": path.stat().st_size, "sha256": atomic.sha256_file(path)})
    manifest = json.dumps({"v": 1, "step": step, "state": state, "files": files}, indent=1, allow_nan=False)
    atomic.write_text(partial / MANIFEST, manifest)
    return sum(file["size"] for file in files) + len(manifest)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def verify(path: Path) -> Checkpoint | None:
    """Return the checkpoint in `path` if every file is there with its size and hash, else None."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        for file in manifest["files"]:
            stored = path / file["name"]
            if stored.stat().st_size != file["size"] or atomic.sha256_file(stored) != file["sha256"]:
                return None
        is_same = manifest["step"] == int(match[1])
        return Checkpoint(path, manifest["step"], manifest["state"]) if is_same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def list_steps(folder: Path) -> list[tuple[int, Path]]:
    """Return (step, path) of every checkpoint folder, oldest first, unverified."""
    if not folder.is_dir():
        return []
    named = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir() if path.is_dir())
    return sorted((int(match[1]), path) for match, path in named if match)


def list_whole(folder: Path) -> list[tuple[int, Path]]:
    """Return (step, path) of every checkpoint that verifies, newest first.

    A checkpoint is read in full once; after that its files' times and sizes are looked at. Whoever goes on
    from one still verifies it then.
    """
    return list(_each_whole(folder))


def find_newest_whole(folder: Path) -> tuple[int, Path] | None:
    """Return (step, path) of the newest checkpoint that verifies; no older one is read."""
    return next(_each_whole(folder), None)


def _each_whole(folder: Path) -> Iterator[tuple[int, Path]]:
    found = reversed(list_steps(folder))
    return ((step, path) for step, path in found if (stamp := _stamp(path)) and _is_whole(path, stamp))


def _stamp(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, time and size of each file of a checkpoint; empty when it has just been dropped."""
    try:
        files = sorted(os.scandir(path), key=lambda file: file.name)
        return tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files)
    except OSError:
        return ()


@lru_cache(maxsize=1024)
def _is_whole(path: Path, _stamp: tuple[tuple[str, int, int], ...]) -> bool:
    return verify(path) is not None


def find_newest(folder: Path) -> Checkpoint | None:
    """Return the newest checkpoint that verifies, or None."""
    for _, path in reversed(list_steps(folder)):
        checkpoint = verify(path)
        if checkpoint is not None:
            return checkpoint
    return None


def find_step(folder: Path, step: int) -> Checkpoint | None:
    """Return the checkpoint of one step if it verifies, or None."""
    return verify(folder / f"step-{step:08d}")


def remove_partial(folder: Path) -> None:
    """Remove what an interrupted save or removal left behind."""
    for path in folder.glob(f"{_PARTIAL}*"):
        shutil.rmtree(path, ignore_errors=True)


def _drop_oldest(folder: Path, *, keep: int, protect: int) -> None:
    for step, path in list_steps(folder)[:-keep]:
        if step != protect:
            with contextlib.suppress(OSError):
                _remove(path)


def _remove(path: Path) -> None:
    """Remove a checkpoint; one that is half removed must not be listed, so it loses its name first."""
    if path.exists():
        doomed = path.with_name(f"{_PARTIAL}old-{path.name}")
        os.rename(path, doomed)
        shutil.rmtree(doomed, ignore_errors=True)
