"""Takes a backup apart again: everything is verified before anything is put in place.

The files go into a folder beside the one that they are for, which then takes its place by a rename. What was
there before is moved aside and never deleted.
"""

import hashlib
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from qlora_studio import __version__
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import Conflict, InvalidInput, NotFound, StorageFull, StudioError
from qlora_studio.core.settings import get_settings
from qlora_studio.db import dumps, migrations
from qlora_studio.ingest.archives import ArchiveRefused, check_entry
from qlora_studio.jobs import liveness
from qlora_studio.services import relocation
from qlora_studio.storage import atomic, holding
from qlora_studio.storage.backup_archive import (
    DATABASES,
    FILES,
    MANIFEST,
    PIECE,
    Manifest,
    StoredFile,
    is_plain,
)

_LEFT = re.compile(r"\.(\d+)\.restoring$")
_MAX_MANIFEST_BYTES = 1 << 30
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OverflowError, ValueError)
_ADVICE = "It is damaged or cut short. Use another backup."

Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Restored:
    """What was put in place. `aside` is where the former content of the folder is now, if there was any."""

    folder: Path
    manifest: Manifest
    n_jobs_lost: int
    aside: Path | None


def check_backup(*, source: Path, tell: Tell = lambda done, total: None) -> Manifest:
    """Read a backup to its end and compare each file with the list.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it is no backup, damaged, or of a newer version.
    """
    with _opened(source) as (archive, manifest):
        for file, stream in _each_file(archive, manifest, tell):
            _take_out(file, stream, lambda piece: None)
    return manifest


def restore_backup(
    *,
    source: Path,
    into: Path,
    database_url: str = "",
    replace: bool = False,
    tell: Tell = lambda done, total: None,
) -> Restored:
    """Verify a backup and put it into a folder, ready for a server to start on.

    Args:
        into: the data folder; made if it isn't there.
        database_url: of the empty PostgreSQL database that a backup with one is for; else empty.
        replace: whether a folder that isn't empty may be moved aside.
        tell: called with the bytes read so far and how many there are.

    Raises:
        NotFound: there is no such backup.
        InvalidInput: it is no backup, damaged, or of a newer version; nothing was changed.
        Conflict: the folder isn't empty or is in use; nothing was changed.
        StorageFull: there is no room; nothing was changed.
        Unavailable: PostgreSQL's tools are missing.
    """
    folder = Path(os.path.realpath(into.expanduser()))
    with _opened(source) as (archive, manifest), _kept_for_us(folder, replace=replace):
        _refuse_other_database(manifest, database_url)
        parent = folder.parent
        parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        if shutil.disk_usage(parent).free < manifest.size_bytes:
            raise _too_full(folder)
        staged = folder.with_name(f".{folder.name}.{os.getpid()}.restoring")
        try:
            staged.mkdir(mode=0o700)
            for file, stream in _each_file(archive, manifest, tell):
                _write(file, stream, staged)
            n_lost = _settle(manifest, staged=staged, folder=folder, database_url=database_url)
            staged.chmod(manifest.folder_mode & 0o777)
            if not atomic.sync_file_system(staged):  # thousands of files at once
                os.sync()
            aside = _swap(staged, folder, replace=replace)
        except OSError as error:
            if atomic.is_full(error):
                raise _too_full(folder) from error
            raise StudioError(
                f"Nothing was restored: {error.strerror or error} ({error.filename or folder})."
            ) from error
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    return Restored(folder, manifest, n_lost, aside)


# -- reading -----------------------------------------------------------------------------------------------


@contextmanager
def _opened(source: Path) -> Iterator[tuple[zipfile.ZipFile, Manifest]]:
    """Open a backup and check its list against its content, before anything is read."""
    if not source.is_file():
        raise NotFound(f"There is no file {source}.")
    try:
        archive = zipfile.ZipFile(source)
    except _DAMAGED as error:
        raise InvalidInput(f"{source} can't be restored. {_ADVICE}") from error
    with archive:
        try:
            manifest = _read_manifest(archive, source)
            _check_entries(archive, manifest)
            _refuse_newer(manifest)
            yield archive, manifest
        except ArchiveRefused as error:
            raise InvalidInput(f"{source} can't be restored. {error}") from error


def _read_manifest(archive: zipfile.ZipFile, source: Path) -> Manifest:
    info = archive.NameToInfo.get(MANIFEST)
    if info is None or info.file_size > _MAX_MANIFEST_BYTES:
        raise InvalidInput(f"{source} is no backup of QLoRA Studio: it has no {MANIFEST}.")
    try:
        return Manifest.model_validate_json(archive.read(info))
    except ValidationError as error:
        raise InvalidInput(
            f"{source} can't be read by version {__version__}: its {MANIFEST} says things unknown here."
        ) from error
    except _DAMAGED as error:
        raise ArchiveRefused(_ADVICE) from error


def _check_entries(archive: zipfile.ZipFile, manifest: Manifest) -> None:
    infos = archive.infolist()
    for info in infos:
        check_entry(info)
    listed = [file.name for file in manifest.files]
    is_same = sorted([*listed, MANIFEST]) == sorted(info.filename for info in infos)
    if not is_same or len(set(listed)) != len(listed) or manifest.database_name not in listed:
        raise ArchiveRefused("Its list doesn't name what is in it.")
    for name in listed:
        if name != manifest.database_name and not _is_of_folder(name):
            raise ArchiveRefused(f"It holds a file that no backup has: {name[:200]!r}")


def _is_of_folder(name: str) -> bool:
    """Whether a name is of a file in the data folder, and not of one that SQLite would read."""
    inner = name.removeprefix(FILES)
    return name.startswith(FILES) and is_plain(inner) and not inner.startswith(DATABASES["sqlite"])


def _refuse_newer(manifest: Manifest) -> None:
    if manifest.revision and not migrations.is_known(manifest.revision):
        raise InvalidInput(
            f"The backup is of version {manifest.product_version}, whose database (schema "
            f"{manifest.revision}) is newer than this version knows ({migrations.newest()}). Install "
            f"{manifest.product_version} or newer, and restore with that."
        )


def _each_file(
    archive: zipfile.ZipFile, manifest: Manifest, tell: Tell
) -> Iterator[tuple[StoredFile, Iterator[bytes]]]:
    """Each file with its bytes, in the order in which they lie in the backup."""
    by_name = {file.name: file for file in manifest.files}
    infos = [info for info in archive.infolist() if info.filename != MANIFEST]
    n_done, total = 0, manifest.size_bytes

    def pieces(info: zipfile.ZipInfo) -> Iterator[bytes]:
        nonlocal n_done
        try:
            with archive.open(info) as stream:
                while piece := stream.read(PIECE):
                    yield piece
                    n_done += len(piece)
                    tell(n_done, total)
        except _DAMAGED as error:
            raise ArchiveRefused(f"{info.filename} is damaged. Use another backup.") from error

    tell(0, total)
    for info in sorted(infos, key=lambda info: info.header_offset):
        yield by_name[info.filename], pieces(info)


def _take_out(file: StoredFile, pieces: Iterator[bytes], write: Callable[[bytes], object]) -> None:
    digest, n_bytes = hashlib.sha256(), 0
    for piece in pieces:
        n_bytes += len(piece)
        if n_bytes > file.size_bytes:
            break  # a zip that says less than it holds must not fill the disk
        digest.update(piece)
        write(piece)
    if n_bytes != file.size_bytes or digest.hexdigest() != file.sha256:
        raise ArchiveRefused(f"{file.name} is not as it was when the backup was made. Use another backup.")


def _write(file: StoredFile, pieces: Iterator[bytes], staged: Path) -> None:
    path = staged / file.name.removeprefix(FILES)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as target:
        _take_out(file, pieces, target.write)
    path.chmod(file.mode & 0o777)
    os.utime(path, ns=(file.mtime_ns, file.mtime_ns))


# -- putting in place --------------------------------------------------------------------------------------


def _refuse_other_database(manifest: Manifest, database_url: str) -> None:
    if manifest.database == "sqlite":
        if database_url:
            raise Conflict(
                "The backup holds an SQLite database, which goes into the data folder, and "
                "QLORA_STUDIO_DATABASE_URL names another one. Unset it, and restore again."
            )
        return
    if not database_url.startswith("postgresql"):
        raise Conflict(
            "The backup holds a PostgreSQL database. Make an empty one (createdb), set "
            "QLORA_STUDIO_DATABASE_URL to it, and restore again."
        )
    with dumps.opened(database_url) as engine:
        dumps.refuse_filled(engine)


def _settle(manifest: Manifest, *, staged: Path, folder: Path, database_url: str) -> int:
    """Fill the database, look whether it is whole, and make it fit the folder it will be in."""
    relocation.move_runs(staged, old=manifest.data_path, new=folder)
    database = staged / manifest.database_name
    if manifest.database == "postgresql":
        dumps.put_back(database_url, database)
        database.unlink()
    with dumps.opened(database_url or f"sqlite:///{database}") as engine:
        damage = dumps.find_damage(engine)
        if damage is not None:
            raise ArchiveRefused(f"Its database is damaged: {damage}. Use another backup.")
        return relocation.settle(engine, old=manifest.data_path, new=folder, folder=staged)


@contextmanager
def _kept_for_us(folder: Path, *, replace: bool) -> Iterator[None]:
    """Refuse a folder that is in use, or holds something; keep servers off it until the block ends."""
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder. Name another one with --into.")
    if os.path.ismount(folder):
        raise Conflict(
            f"{folder} is a mount point, which nothing can take the place of. Restore into a folder in it, "
            f"such as {folder / 'data'}, and set QLORA_STUDIO_DATA to that."
        )
    if not folder.is_dir() or not any(folder.iterdir()):
        yield
        return
    is_data = (folder / "server.lock").exists()
    try:
        if is_data:
            holding.hold(folder, port=get_settings().port)
    except holding.HeldByAnother as error:
        raise Conflict(f"{error} Stop it, and restore again.") from error
    try:
        if holding.is_held(folder / "supervisor.lock"):
            raise Conflict(
                f"A supervisor or “qlora-studio train” works in {folder}. Stop it, and restore again."
            )
        for attempt in folder.glob("runs/*/attempt-*"):
            if liveness.look(attempt) is liveness.Liveness.ALIVE:
                raise Conflict(
                    f"The job {attempt.parent.name} still runs in {folder}. Stop it (qlora-studio jobs stop "
                    f"{attempt.parent.name}), and restore again."
                )
        if not replace:
            raise Conflict(
                f"{folder} isn't empty. Name another folder with --into, or have what is there moved aside "
                "with --replace."
            )
        yield
    finally:
        if is_data:
            holding.let_go(folder)


def _swap(staged: Path, folder: Path, *, replace: bool) -> Path | None:
    """Put the new folder in place; returns where the former one is now, if there was anything in it."""
    aside = None
    if replace and folder.is_dir() and any(folder.iterdir()):
        aside = folder.with_name(f"{folder.name}.before-{utc_now():%Y%m%d-%H%M%S}")
        os.rename(folder, aside)
    try:
        os.rename(staged, folder)  # fails if something has come to be in it
    except OSError:
        if aside is not None and not folder.exists():
            os.rename(aside, folder)
        raise
    atomic.sync_folder(folder.parent)
    return aside


def _sweep(folder: Path) -> None:
    """Remove what a restore into the same place that was killed has left."""
    for left in folder.parent.glob(f".{folder.name}.*.restoring"):
        found = _LEFT.search(left.name)
        if found and not atomic.is_alive(int(found[1])):
            shutil.rmtree(left, ignore_errors=True)


def _too_full(folder: Path) -> StorageFull:
    return StorageFull(
        f"There isn't room in {folder.parent} to restore it. Free some space, or name a place on another "
        "disk with --into; nothing was changed."
    )
