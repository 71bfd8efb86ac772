"""The file that a backup is: a zip of the database, of everything in the data folder, and a list of it all.

    studio.db or studio.pgdump   the database as it was at one moment
    files/…                      the data folder, by its own names
    MANIFEST.json                last: who made it from what, and size, SHA-256 and mode of every file above

Recordings and weights are stored as they are: packing saves little of them and would cost the jobs their
processor. The file is readable by its owner only, since secrets are in it.
"""

import hashlib
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal, Self

from pydantic import AwareDatetime, BaseModel, Field

from qlora_studio.storage import atomic

MANIFEST = "MANIFEST.json"
FILES = "files/"
DATABASES = {"sqlite": "studio.db", "postgresql": "studio.pgdump"}
PIECE = 1 << 20
_TEXTS = frozenset((".db", ".json", ".jsonl", ".log", ".csv", ".yaml", ".md", ".txt"))


def is_plain(name: str) -> bool:
    """Whether a name in the data folder is text, is written in one way only, and leads nowhere else."""
    inner = PurePosixPath(name)
    is_text = not any(c < " " or c == "\\" or "\ud800" <= c <= "\udfff" for c in name)
    is_tidy = name == str(inner)
    return is_text and is_tidy and not inner.is_absolute() and inner.parts != () and ".." not in inner.parts


class StoredFile(BaseModel):
    """One file of a backup. `name` is that in the zip; times are in nanoseconds since 1970."""

    name: str
    size_bytes: int = Field(ge=0)
    sha256: str
    mode: int
    mtime_ns: int


class Manifest(BaseModel):
    """What a backup says of itself. `missing` names files that the database knew and that were not there."""

    v: Literal[1] = 1
    made_at: AwareDatetime
    product_version: str
    revision: str
    database: Literal["sqlite", "postgresql"]
    data_path: str
    folder_mode: int = 0o755
    missing: list[str] = []
    files: list[StoredFile]

    @property
    def database_name(self) -> str:
        return DATABASES[self.database]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


class ArchiveWriter:
    """Writes a backup under a temporary name; `finish` puts it in place, whole."""

    def __init__(self, path: Path, *, on_bytes: Callable[[int], None]) -> None:
        """Begin.

        Args:
            path: where it will be.
            on_bytes: told of every so many bytes that were read.

        Raises:
            OSError: nothing can be written there.
        """
        self._path = path
        self._on_bytes = on_bytes
        self.partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        self._file = os.fdopen(os.open(self.partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b")
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED, allowZip64=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._zip.fp = None  # its destructor would write the end of a zip that is not wanted
        self._file.close()
        self.partial.unlink(missing_ok=True)

    def add(self, name: str, source: BinaryIO) -> StoredFile:
        """Copy an open file, as long as it is now: one that is being written may grow meanwhile.

        A file of that name that was added before is no longer in the backup.

        Raises:
            OSError: it can't be read, or the disk is full.
        """
        self.drop(name)
        stat = os.fstat(source.fileno())
        info = zipfile.ZipInfo(name, date_time=_date(stat.st_mtime))
        info.external_attr = stat.st_mode << 16
        info.file_size = stat.st_size  # so that it knows whether it must count in 64 bits
        is_text = PurePosixPath(name).suffix in _TEXTS
        info.compress_type = zipfile.ZIP_DEFLATED if is_text else zipfile.ZIP_STORED
        digest, left = hashlib.sha256(), stat.st_size
        with self._zip.open(info, "w") as target:
            while left and (piece := source.read(min(PIECE, left))):
                target.write(piece)
                digest.update(piece)
                left -= len(piece)
                self._on_bytes(len(piece))
        return StoredFile(
            name=name,
            size_bytes=stat.st_size - left,
            sha256=digest.hexdigest(),
            mode=stat.st_mode & 0o777,
            mtime_ns=stat.st_mtime_ns,
        )

    def drop(self, name: str) -> None:
        """Take a file off the zip's list; its bytes stay where they are, and nobody reads them."""
        info = self._zip.NameToInfo.pop(name, None)
        if info is not None:
            self._zip.filelist.remove(info)

    def finish(self, manifest: Manifest) -> int:
        """Write the list, wait until all is on the disk, and give it its name; returns the size in bytes.

        Raises:
            OSError: the disk is full.
        """
        text = manifest.model_dump_json(indent=1)
        self._zip.writestr(MANIFEST, text, zipfile.ZIP_DEFLATED)
        self._zip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        size = self._file.seek(0, os.SEEK_END)
        self._file.close()
        os.replace(self.partial, self._path)
        atomic.sync_folder(self._path.parent)
        return size


def _date(seconds: float) -> tuple[int, int, int, int, int, int]:
    """A time as zips keep it: they begin with 1980."""
    year, *rest = time.localtime(max(0.0, seconds))[:6]
    return (year, *rest) if 1980 <= year < 2108 else (1980, 1, 1, 0, 0, 0)  # type: ignore[return-value]
