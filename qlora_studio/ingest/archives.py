"""Take a zip apart without trusting it.

Everything is checked from the directory before the first byte is written, and counted again while bytes are
written, since a directory may lie. One bad entry refuses the whole archive: a person should see that
something is wrong with it, not half of it.
"""

import re
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from qlora_studio.ingest.names import clean_name, is_junk

MAX_RATIO = 200  # sound packs 2 to 3 times, silence about 1000 times over short stretches
RATIO_FREE_BYTES = 64 << 20  # below this a ratio says nothing
MAX_DEPTH = 32
LOOK_BYTES = 256 << 20  # of labels, when an archive is only looked at
MAX_DIRECTORY_BYTES = 64 << 20
_PIECE = 1 << 20
_TAIL_BYTES = 65_557  # the longest end of a zip: 22 bytes and a comment
_TOO_MANY = "It has {:,} entries; at most {:,} are taken."
_TAR_MAGIC = (257, b"ustar")
_OTHER_ARCHIVES = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!\x1a\x07": "RAR",
    b"\x28\xb5\x2f\xfd": "Zstandard",
}


class ArchiveRefused(Exception):
    """The archive isn't taken; the text says why, in the reader's words."""


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Caps in bytes and entries."""

    max_total_bytes: int
    max_file_bytes: int
    max_entries: int


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """A file to take out: its cleaned name and its place in the zip's directory."""

    name: str
    info: zipfile.ZipInfo


def kind_of(path: Path) -> str | None:
    """Return "zip", the name of another kind of archive, or None for anything else, by content."""
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return "zip"
    offset, magic = _TAR_MAGIC
    if start[offset : offset + len(magic)] == magic:
        return "tar"
    return next((kind for magic, kind in _OTHER_ARCHIVES.items() if start.startswith(magic)), None)


def extract(
    path: Path,
    target: Callable[[str], Path],
    *,
    limits: ArchiveLimits,
    free_bytes: int | None = None,
) -> list[tuple[str, Path]]:
    """Take every file out of a zip.

    Args:
        path: the zip.
        target: gives the path to write for a cleaned name; it must not depend on the name's folders.
        limits: caps on what is written.
        free_bytes: room on the disk; an archive that needs more is refused before anything is written.

    Returns:
        (cleaned name, written path) of each file, a single top folder taken away.

    Raises:
        ArchiveRefused: with the reason. Files written so far are removed.
        OSError: the disk is full or broken. Files written so far are removed.
    """
    written: list[tuple[str, Path]] = []
    try:
        with _open(path, max_entries=limits.max_entries) as archive:
            entries = plan(archive, limits=limits, compressed_bytes=path.stat().st_size)
            needed = sum(entry.info.file_size for entry in entries)
            if free_bytes is not None and needed > free_bytes:
                raise ArchiveRefused(
                    f"It needs {needed / 1e6:,.0f} MB; the disk has {free_bytes / 1e6:,.0f} MB to spare."
                )
            left = limits.max_total_bytes
            for entry in entries:
                destination = target(entry.name)
                written.append((entry.name, destination))
                left -= _write(archive, entry, destination, min(left, limits.max_file_bytes))
    except BaseException:
        for _, destination in written:
            destination.unlink(missing_ok=True)
        raise
    return written


def look(
    path: Path, target: Callable[[str], Path], *, limits: ArchiveLimits, wanted: Callable[[str], bool]
) -> list[tuple[str, Path]]:
    """What `extract` would give, with only the `wanted` files written; the others have the zip's own path.

    Raises:
        ArchiveRefused: as `extract` does.
        OSError: the disk is full or broken.
    """
    with _open(path, max_entries=limits.max_entries) as archive:
        entries = plan(archive, limits=limits, compressed_bytes=path.stat().st_size)
        left = LOOK_BYTES
        found: list[tuple[str, Path]] = []
        for entry in entries:
            is_read = wanted(entry.name) and entry.info.file_size <= left
            found.append((entry.name, target(entry.name) if is_read else path))
            if is_read:
                left -= _write(archive, entry, found[-1][1], left)
    return found


def plan(archive: zipfile.ZipFile, *, limits: ArchiveLimits, compressed_bytes: int) -> list[ArchiveEntry]:
    """Check the whole directory and return what to take out.

    Raises:
        ArchiveRefused: for any entry that no honest archive of recordings holds.
    """
    infos = archive.infolist()
    if len(infos) > limits.max_entries:
        raise ArchiveRefused(_TOO_MANY.format(len(infos), limits.max_entries))
    files = [check_entry(info) for info in infos if not info.is_dir()]
    _refuse_collisions(files)
    _refuse_overlaps([entry.info for entry in files])
    total = sum(entry.info.file_size for entry in files)
    if total > limits.max_total_bytes:
        raise ArchiveRefused(
            f"Unpacked it would be {total / 1e9:.1f} GB; at most {limits.max_total_bytes / 1e9:.1f} GB."
        )
    if total > RATIO_FREE_BYTES and total > MAX_RATIO * max(compressed_bytes, 1):
        raise ArchiveRefused(f"It unpacks to more than {MAX_RATIO} times its size, as zip bombs do.")
    return _without_top_folder([entry for entry in files if not is_junk(entry.name)])


def _open(path: Path, *, max_entries: int) -> zipfile.ZipFile:
    _refuse_huge_directory(path, max_entries=max_entries)
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError) as error:
        raise ArchiveRefused(f"It is damaged or cut short ({str(error)[:80]}).") from error


def _refuse_huge_directory(path: Path, *, max_entries: int) -> None:
    """The directory is read into memory as a whole, many times its size, so it is looked at first.

    How many entries it holds is counted: the number that it gives is read by nobody. Whatever looks like an
    end of the directory is believed, since a false one may stand behind the true one.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _TAIL_BYTES))
        tail = file.read()
        at = [found.start() for found in re.finditer(b"PK\x05\x06", tail)]
        sizes = [int.from_bytes(tail[i + 12 : i + 16], "little") for i in at]
        if 0xFFFFFFFF in sizes:
            at = [found.start() for found in re.finditer(b"PK\x06\x06", tail)]
            sizes = [n for n in sizes if n != 0xFFFFFFFF]
            sizes += [int.from_bytes(tail[i + 40 : i + 48], "little") for i in at]
        if max(sizes, default=0) > MAX_DIRECTORY_BYTES:
            raise ArchiveRefused("Its directory is larger than any honest archive's.")
        file.seek(max(0, size - _TAIL_BYTES - max(sizes, default=0)))
        n_entries, rest = 0, b""
        while piece := file.read(_PIECE):
            n_entries += (rest + piece).count(b"PK\x01\x02")
            rest = piece[-3:]
    if n_entries > max_entries:
        raise ArchiveRefused(_TOO_MANY.format(n_entries, max_entries))


def check_entry(info: zipfile.ZipInfo) -> ArchiveEntry:
    """Look at one line of a zip's directory.

    Raises:
        ArchiveRefused: it leads out of the archive, is no plain file, or is packed in a way that isn't read.
    """
    raw = info.orig_filename.replace("\\", "/")
    shown = clean_name(raw)
    if "\0" in raw:
        raise ArchiveRefused(f"An entry's name holds a zero byte: {shown}")
    if raw.startswith("/") or (len(raw) > 1 and raw[1] == ":"):
        raise ArchiveRefused(f"An entry has an absolute path: {shown}")
    parts = PurePosixPath(raw).parts
    if ".." in parts:
        raise ArchiveRefused(f"An entry points outside the archive (..): {shown}")
    if len(parts) > MAX_DEPTH:
        raise ArchiveRefused(f"Folders are nested more than {MAX_DEPTH} deep: {shown}")
    mode = info.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        kind = "symbolic link" if stat.S_ISLNK(mode) else "special file"
        raise ArchiveRefused(f"An entry is a {kind}: {shown}")
    if info.flag_bits & 0x1:
        raise ArchiveRefused(f"It is encrypted: {shown}")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ArchiveRefused(f"An entry is packed in a way that isn't read here: {shown}")
    return ArchiveEntry(name=shown, info=info)


def _refuse_collisions(entries: list[ArchiveEntry]) -> None:
    seen: dict[str, str] = {}
    for entry in entries:
        key = unicodedata.normalize("NFKC", entry.name).casefold()
        if key in seen:
            raise ArchiveRefused(f"Two entries have the same name: {seen[key]} and {entry.name}")
        seen[key] = entry.name


def _refuse_overlaps(infos: list[zipfile.ZipInfo]) -> None:
    """Entries that share compressed bytes are the trick of the better bombs."""
    end = 0
    for info in sorted(infos, key=lambda i: i.header_offset):
        if info.header_offset < end:
            raise ArchiveRefused("Its entries overlap, as those of zip bombs do.")
        end = info.header_offset + 30 + len(info.orig_filename) + info.compress_size


def _without_top_folder(entries: list[ArchiveEntry]) -> list[ArchiveEntry]:
    tops = {entry.name.partition("/")[0] for entry in entries}
    if len(tops) != 1 or any("/" not in entry.name for entry in entries):
        return entries
    return [ArchiveEntry(entry.name.partition("/")[2], entry.info) for entry in entries]


def _write(archive: zipfile.ZipFile, entry: ArchiveEntry, destination: Path, cap: int) -> int:
    count = 0
    try:
        with archive.open(entry.info) as source, destination.open("xb") as file:
            for piece in _pieces(source):
                count += len(piece)
                if count > min(cap, entry.info.file_size):
                    raise ArchiveRefused(f"An entry is larger than it says or than allowed: {entry.name}")
                file.write(piece)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ArchiveRefused(f"An entry is damaged: {entry.name}") from error
    if kind_of(destination) is not None:
        raise ArchiveRefused(f"It holds another archive; unpack that first: {entry.name}")
    return count


def _pieces(source: object) -> Iterator[bytes]:
    while piece := source.read(_PIECE):  # type: ignore[attr-defined]
        yield piece
