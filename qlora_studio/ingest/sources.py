"""Gather a dataset's files in staging, wherever they come from. Nothing is decoded here."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from qlora_studio.core.errors import StorageFull
from qlora_studio.core.settings import Settings
from qlora_studio.ingest import archives, parquet, staging
from qlora_studio.ingest.manifests import split_of
from qlora_studio.ingest.matching import StagedFile, not_sound_reason
from qlora_studio.ingest.names import clean_name, is_junk, staged_name
from qlora_studio.ingest.refusal import SourceRefused


def from_upload(dataset_id: str, settings: Settings) -> list[StagedFile]:
    """What was uploaded, zips taken apart. A refused archive or an unfinished file keeps its reason."""
    taken = _fresh_folder(dataset_id)
    received = staging.list_received(dataset_id)
    n_zips = sum(item.name.lower().endswith(".zip") for item in received)
    files: list[StagedFile] = []
    for item in received:
        path = staging.files_path(dataset_id) / staged_name(item.name)
        if (reason := unusable_reason(item, path)) is not None:
            files.append(StagedFile(item.name, None, reason))
        elif archives.kind_of(path) is None:
            files.append(StagedFile(item.name, path))
        else:
            files += _from_zip(item.name, path, taken, zip_prefix(item.name, n_zips), settings)
    return without_top_folder(_unpacked(files, taken, settings))


def unusable_reason(item: staging.Received, path: Path) -> str | None:
    """Why a received file can't be used whatever it holds, or None."""
    if item.reason is not None:
        return item.reason
    if not item.is_complete:
        return f"Upload not finished: {item.received:,} bytes came. Add the file again."
    kind = archives.kind_of(path)
    if kind is None or (kind == "zip" and item.name.lower().endswith(".zip")):
        return None
    return f"Archive refused: {kind} under this name isn't read. Send a zip or the files."


def zip_prefix(name: str, n_zips: int) -> str:
    """The folder that a zip's files are shown in: its own when there are several zips."""
    return f"{PurePosixPath(name).stem}/" if n_zips > 1 else ""


def archive_limits(settings: Settings) -> archives.ArchiveLimits:
    return archives.ArchiveLimits(
        max_total_bytes=settings.max_upload_bytes,
        max_file_bytes=settings.max_file_bytes,
        max_entries=settings.max_archive_entries,
    )


def from_folder(dataset_id: str, folder: Path, roots: list[Path], settings: Settings) -> list[StagedFile]:
    """Copy a folder of this machine. Every file is opened first and its true place checked then.

    Raises:
        SourceRefused: the folder isn't under a root any more, or is over a cap.
        StorageFull: the copy has no room.
    """
    real = folder.resolve()
    if not real.is_dir() or not any(real.is_relative_to(root) for root in roots):
        raise SourceRefused("The folder isn't there any more, or isn't under a folder that may be used.")
    taken = _fresh_folder(dataset_id)
    left = min(settings.max_upload_bytes, staging.free_bytes())
    files: list[StagedFile] = []
    for number, path in enumerate(walk(real)):
        if number >= settings.max_archive_entries:
            raise SourceRefused(f"The folder holds more than {settings.max_archive_entries:,} files.")
        name = clean_name(str(path.relative_to(real)))
        if (reason := not_sound_reason(name)) is not None:
            files.append(StagedFile(name, None, reason))
            continue
        file, count = copied(path, name, roots, taken, left)
        left -= count
        files.append(file)
    return _unpacked(files, taken, settings)


def from_chosen(dataset_id: str) -> list[StagedFile]:
    """The takes that were chosen as the dataset was made, and their table."""
    folder = staging.chosen_path(dataset_id)
    return [StagedFile(path.name, path) for path in sorted(folder.iterdir())] if folder.is_dir() else []


def _unpacked(files: list[StagedFile], taken: Path, settings: Settings) -> list[StagedFile]:
    """Parquet files taken apart; everything else as it is."""
    left = min(settings.max_upload_bytes, staging.free_bytes())
    unpacked: list[StagedFile] = []
    for file in files:
        if file.path is None or not parquet.is_parquet(file.path, file.name):
            unpacked.append(file)
            continue
        try:
            inside = parquet.unpack(file.path, file.name, taken, max_bytes=left, settings=settings)
        except parquet.ParquetRefused as refusal:
            unpacked.append(StagedFile(file.name, None, f"Parquet refused: {refusal}"))
            continue
        left -= sum(f.path.stat().st_size for f in inside if f.path is not None)
        unpacked += inside
    return unpacked


def _from_zip(zip_name: str, path: Path, taken: Path, prefix: str, settings: Settings) -> list[StagedFile]:
    try:
        written = archives.extract(
            path,
            lambda name: taken / staged_name(prefix + name),
            limits=archive_limits(settings),
            free_bytes=staging.free_bytes(),
        )
    except archives.ArchiveRefused as refusal:
        return [StagedFile(zip_name, None, f"Archive refused: {refusal}")]
    return [StagedFile(prefix + name, destination) for name, destination in written]


def walk(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root, followlinks=False):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        links = [f for f in folders if (Path(folder) / f).is_symlink()]  # listed, but not gone into
        for name in sorted(names + links):
            if not name.startswith(".") and not is_junk(name):
                yield Path(folder) / name


def copied(path: Path, name: str, roots: list[Path], taken: Path, left: int) -> tuple[StagedFile, int]:
    """Copy one file through an open descriptor, so that it can't be swapped between check and use."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return StagedFile(name, None, f"Can't be opened: {(error.strerror or 'unknown error').lower()}."), 0
    about = os.fstat(descriptor)
    with open(descriptor, "rb") if stat.S_ISREG(about.st_mode) else _closing(descriptor) as source:
        if source is None:
            return StagedFile(name, None, "Not a plain file: folders behind links and pipes aren't read."), 0
        real = _real_path(descriptor, path)
        if not any(real.is_relative_to(root) for root in roots):
            return StagedFile(name, None, "Outside: it is a link to a place that may not be used."), 0
        if about.st_size > left:
            raise StorageFull(f"The folder doesn't fit: no room for {name}. Make room and start it again.")
        destination = taken / staged_name(name)
        with destination.open("xb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
    return StagedFile(name, destination), about.st_size


@contextmanager
def _closing(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)


def _real_path(descriptor: int, path: Path) -> Path:
    link = Path(f"/proc/self/fd/{descriptor}")
    return Path(os.path.realpath(link)) if link.exists() else path.resolve()


def _fresh_folder(dataset_id: str) -> Path:
    taken = staging.taken_path(dataset_id)
    shutil.rmtree(taken, ignore_errors=True)
    taken.mkdir(parents=True)
    return taken


def without_top_folder(files: list[StagedFile]) -> list[StagedFile]:
    """A folder dropped as a whole shows the files in it, not its own name; a split's folder stays."""
    tops = {f.name.partition("/")[0] for f in files if not is_junk(f.name)}
    if len(tops) != 1 or any("/" not in f.name for f in files) or split_of(next(iter(tops))):
        return files
    return [StagedFile(f.name.partition("/")[2], f.path, f.reason) for f in files]
