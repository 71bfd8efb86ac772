"""Originals kept once under their SHA-256, shared between datasets.

A blob is removed only under the database's write lock and only if no clip names its hash; a clip is added
only under the same lock and after making sure that its blob is there. So the two can't miss each other.
"""

import errno
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlmodel import Session, col, select

from qlora_studio.db.models import Clip
from qlora_studio.storage import atomic, layout

_SYNCS_AT_ONCE = 8
_MANY = 64  # so many files cost less in one sync of the whole file system


def keep(path: Path, sha256: str) -> None:
    """Make sure that a file's bytes are there under their hash; `path` stays and may share them.

    Raises:
        OSError: the disk is full.
    """
    blob = layout.blob_path(sha256)
    if blob.exists():
        return
    blob.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, blob)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        partial = blob.with_name(f".{sha256}.{os.getpid()}.partial")
        shutil.copyfile(path, partial)
        os.replace(partial, blob)


def make_durable(hashes: Iterable[str]) -> None:
    """Wait until these blobs and their names are on the disk, all at once where the system can.

    Raises:
        OSError: the disk is full or broken.
    """
    paths = [layout.blob_path(sha256) for sha256 in set(hashes) - {""}]
    if len(paths) > _MANY and atomic.sync_file_system(paths[0].parents[1]):
        return
    folders = {path.parent for path in paths}
    with ThreadPoolExecutor(_SYNCS_AT_ONCE) as threads:
        list(threads.map(_sync, paths))
        list(threads.map(_sync, folders | {folder.parent for folder in folders}))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(session: Session, hashes: Iterable[str]) -> int:
    """Remove those blobs that no clip names any more; the session must hold the write lock."""
    removed = 0
    for sha256 in set(hashes) - {""}:
        if session.exec(select(Clip.id).where(col(Clip.sha256) == sha256).limit(1)).first() is None:
            layout.blob_path(sha256).unlink(missing_ok=True)
            removed += 1
    return removed
