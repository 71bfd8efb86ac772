"""Makes a backup: the database and the data folder in one file, while servers and jobs go on.

A file is there before the row that names it and goes after it, so the database is taken first and the files
after it: a row then names a file that was there a moment ago. What somebody deletes in that moment leaves a
row without its file; then the database is taken again, and only what has changed is copied again. The other
way round every file that came after its folder was looked at would be missing.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from qlora_studio import __version__
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import Conflict, InvalidInput, NotFound, StorageFull, StudioError
from qlora_studio.db import dumps
from qlora_studio.services.backup_contents import Copier, find_named, is_left_out
from qlora_studio.storage import atomic
from qlora_studio.storage.backup_archive import DATABASES, ArchiveWriter, Manifest

_ROUNDS = 5
_LEFT = re.compile(r"\.(\d+)\.partial(-wal|-shm|-journal)?$")

Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class MadeBackup:
    """What was made. `missing` are files that rows name and that were gone before: nothing can keep them."""

    path: Path
    size_bytes: int
    n_files: int
    data_bytes: int
    revision: str
    missing: list[str]


def make_backup(
    *,
    target: Path,
    data_path: Path,
    database_url: str,
    replace: bool = False,
    tell: Tell = lambda done, total: None,
) -> MadeBackup:
    """Write a backup of a data folder and its database; a server and jobs may be at work on them.

    Args:
        target: the file, or a folder that it is put into under a name with the time.
        replace: whether a file of that name may be replaced.
        tell: called with the bytes read so far and about how many there are.

    Raises:
        NotFound: there is no database.
        InvalidInput: the file would be in the data folder itself, or in a folder that is not there.
        Conflict: a file of that name is there.
        StorageFull: there is no room for it.
        Unavailable: PostgreSQL's tools are missing.
        StudioError: something can't be read.
    """
    path = _choose(target, data_path=data_path, replace=replace)
    database = dumps.sqlite_path(database_url)
    if not data_path.is_dir() or (database is not None and not database.is_file()):
        raise NotFound(
            f"There is no database in {data_path}, so there is nothing to keep. Set QLORA_STUDIO_DATA to the "
            "server's data folder."
        )
    but = _files_of(data_path / DATABASES["sqlite"])  # also of a former one, where another is used now
    but |= _files_of(database) if database is not None else frozenset()
    total = _measure(data_path, but) + (database.stat().st_size if database is not None else 0)
    if shutil.disk_usage(path.parent).free < total:
        raise _too_full(path)
    _sweep(path)
    n_done = 0

    def count(n_bytes: int) -> None:
        nonlocal n_done
        n_done += n_bytes
        tell(n_done, max(total, n_done))

    tell(0, total)
    try:
        with ArchiveWriter(path, on_bytes=count) as writer:
            copier = Copier(data_path, writer, but=but)
            return _fill(copier, writer, path=path, data_path=data_path, url=database_url)
    except OSError as error:
        if atomic.is_full(error):
            raise _too_full(path) from error
        raise StudioError(
            f"The backup was not made: {error.strerror or error} ({error.filename or path})."
        ) from error


def _fill(copier: Copier, writer: ArchiveWriter, *, path: Path, data_path: Path, url: str) -> MadeBackup:
    copier.copy_bulk()
    with _dump(path) as dump:
        before: tuple[set[str], list[str]] | None = None
        for _ in range(_ROUNDS):
            named, revision = _take_database(url, dump, data_path)
            copier.copy()
            missing = named - copier.files.keys()
            now = (missing, copier.lost)
            if (not missing and not copier.has_lost) or now == before:
                break
            before = now
        manifest = Manifest(
            made_at=utc_now(),
            product_version=__version__,
            revision=revision,
            database="sqlite" if dumps.sqlite_path(url) is not None else "postgresql",
            data_path=str(data_path),
            folder_mode=data_path.stat().st_mode & 0o777,
            missing=sorted(missing),
            files=[copied.file for _, copied in sorted(copier.files.items())],
        )
        with dump.open("rb") as file:
            manifest.files.append(writer.add(manifest.database_name, file))
        size = writer.finish(manifest)
    return MadeBackup(
        path, size, len(manifest.files), manifest.size_bytes, manifest.revision, manifest.missing
    )


def _take_database(url: str, dump: Path, data_path: Path) -> tuple[set[str], str]:
    """Take the database into `dump`; returns the files that its rows name, and its newest migration."""
    if dumps.sqlite_path(url) is not None:
        dumps.take(url, dump)
        with dumps.opened(f"sqlite:///{dump}") as engine:
            return find_named(engine, data_path), dumps.read_revision(engine)
    with dumps.opened(url) as engine:  # its dump can't be asked, so the live one is, before and after
        named = find_named(engine, data_path)
        dumps.take(url, dump)
        return named | find_named(engine, data_path), dumps.read_revision(engine)


@contextmanager
def _dump(path: Path) -> Iterator[Path]:
    """A place for the database beside the backup, where there is room."""
    dump = path.with_name(f".{path.name}.db.{os.getpid()}.partial")
    try:
        yield dump
    finally:
        for leftover in _files_of(dump):
            leftover.unlink(missing_ok=True)


def _choose(target: Path, *, data_path: Path, replace: bool) -> Path:
    """The file to write."""
    path = Path(os.path.abspath(target.expanduser()))
    if path.is_dir():
        path /= f"qlora-studio-{utc_now():%Y%m%d-%H%M%S}.zip"
    elif path.suffix != ".zip":
        raise InvalidInput(f"{path} is no folder. Name a folder that is there, or a file that ends in .zip.")
    if not path.parent.is_dir():
        raise InvalidInput(f"The folder {path.parent} is not there. Make it first.")
    if path.resolve().is_relative_to(data_path):
        raise InvalidInput("A backup in the data folder would be lost together with it. Name another place.")
    if path.exists() and not replace:
        raise Conflict(f"{path} is there already. Name another file, or replace it with --replace.")
    return path


def _files_of(database: Path) -> frozenset[Path]:
    """An SQLite database with what SQLite puts beside it."""
    return frozenset(database.with_name(database.name + end) for end in ("", "-wal", "-shm", "-journal"))


def _measure(data_path: Path, but: frozenset[Path]) -> int:
    """About how many bytes there are to copy."""
    total = 0
    for folder, folders, names in os.walk(data_path, followlinks=True):
        parts = Path(folder).relative_to(data_path).parts
        folders[:] = [name for name in folders if not is_left_out((*parts, name))]
        for name in names:
            path = Path(folder) / name
            if not is_left_out((*parts, name)) and path not in but:
                with suppress(OSError):
                    total += path.stat().st_size
    return total


def _sweep(path: Path) -> None:
    """Remove what a backup to the same place that was killed has left."""
    for partial in path.parent.glob(f".{path.name}.*"):
        found = _LEFT.search(partial.name)
        if found and not atomic.is_being_written(Path(partial.name.removesuffix(found[2] or ""))):
            partial.unlink(missing_ok=True)


def _too_full(path: Path) -> StorageFull:
    return StorageFull(
        f"There isn't room for the backup in {path.parent}. Free some space, or name a place on another "
        "disk; nothing was left there."
    )
