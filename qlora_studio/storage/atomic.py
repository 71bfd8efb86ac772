"""Writes that are there whole or not at all."""

import ctypes
import errno
import hashlib
import os
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

_WRITER = re.compile(r"\.(\d+)\.partial$")


def write_bytes(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write `data` to a file beside `path`, sync it and rename it into place; the folder is made.

    Raises:
        OSError: the disk is full or the folder can't be written; `path` is as it was before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two threads may write the same file at once; the process is named so that others know whose it is.
    partial = path.with_name(f".{path.name}.{threading.get_native_id()}.{os.getpid()}.partial")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def is_being_written(partial: Path) -> bool:
    """Whether the process that a half-written file of `write_bytes` is named after lives."""
    writer = _WRITER.search(partial.name)
    return writer is not None and is_alive(int(writer[1]))


def is_alive(pid: int) -> bool:
    """Whether there is a process of that number."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def is_full(error: OSError) -> bool:
    """Whether a write failed for want of room: on the disk, or in what the account may use of it."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def write_text(path: Path, text: str, *, mode: int = 0o644) -> None:
    write_bytes(path, text.encode(), mode=mode)


def replace_folder(target: Path, fill: Callable[[Path], None]) -> None:
    """Fill a folder beside `target` and put it in its place, so that nobody sees half of it.

    Raises:
        OSError: the disk is full; `target` is as it was before.
    """
    partial = target.with_name(f".{target.name}.partial")
    old = target.with_name(f".{target.name}.old")
    put_back_folder(target)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        fill(partial)
        for path in partial.rglob("*"):
            if path.is_file():
                with path.open("rb+") as file:
                    os.fsync(file.fileno())
        if target.exists():
            os.rename(target, old)
        os.rename(partial, target)
        shutil.rmtree(old, ignore_errors=True)
        sync_folder(target.parent)
    except BaseException:
        put_back_folder(target)
        shutil.rmtree(partial, ignore_errors=True)
        raise


def put_back_folder(target: Path) -> None:
    """End what a `replace_folder` that was cut off has left: `target` is the new folder or the old one."""
    old = target.with_name(f".{target.name}.old")
    if old.exists() and not target.exists():
        os.rename(old, target)
    shutil.rmtree(old, ignore_errors=True)


def sync_folder(path: Path) -> None:
    """Make renames inside `path` durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(path: Path) -> bool:
    """Wait until everything on a path's file system is on the disk; False where the system can't."""
    sync = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)  # Linux
    if sync is None:
        return False
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if sync(descriptor) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(descriptor)
    return True


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes in hexadecimal, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
