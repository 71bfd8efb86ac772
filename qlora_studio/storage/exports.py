"""Zip archives made while they are sent: no temporary file, and memory for one piece only."""

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

_PIECE = 1 << 18  # the server holds eight of them for a reader that is slow
_STORED = frozenset((".safetensors", ".flac", ".ogg", ".mp3", ".zip", ".png"))


@dataclass(frozen=True)
class Entry:
    """One file of an archive: `content` is a path to read, bytes, or pieces of bytes."""

    name: str
    content: Path | bytes | Iterable[bytes]


def stream_zip(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Yield the bytes of a zip archive with these entries."""
    sink = _Sink()
    with zipfile.ZipFile(cast(IO[bytes], sink), "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:
        for entry in entries:
            info = zipfile.ZipInfo(entry.name, date_time=(2026, 1, 1, 0, 0, 0))
            is_packed = Path(entry.name).suffix in _STORED
            info.compress_type = zipfile.ZIP_STORED if is_packed else zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            with archive.open(info, "w", force_zip64=True) as file:
                for piece in _pieces(entry.content):
                    file.write(piece)
                    yield from sink.take()
            yield from sink.take()
    yield from sink.take()


def folder_entries(folder: Path, prefix: str = "") -> Iterator[Entry]:
    """The regular files of a folder, sorted; links are left out."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield Entry(prefix + path.relative_to(folder).as_posix(), path)


def _pieces(content: Path | bytes | Iterable[bytes]) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
    elif isinstance(content, Path):
        with content.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece
    else:
        yield from content


class _Sink:
    """What a ZipFile writes to: only forward, and taken away as it goes."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self) -> Iterator[bytes]:
        parts, self._parts = self._parts, []
        yield from parts
