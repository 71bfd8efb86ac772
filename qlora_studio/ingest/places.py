"""Many files from one place elsewhere: list them within bounds, fetch several at once, keep whole ones."""

from collections.abc import Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from qlora_studio.core.errors import StorageFull
from qlora_studio.core.settings import Settings
from qlora_studio.ingest import staging
from qlora_studio.ingest.matching import not_sound_reason
from qlora_studio.ingest.names import clean_name, is_document, is_junk
from qlora_studio.ingest.progress import FetchProgress
from qlora_studio.ingest.refusal import SourceRefused

AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file elsewhere: its name there and here, its bytes, and its checksum if it is known."""

    key: str
    name: str
    size: int
    checksum: str = ""


class Place(Protocol):
    """Somewhere that files can be listed and brought from."""

    def list_files(self) -> Iterable[RemoteFile]:
        """Every file, lazily.

        Raises:
            SourceRefused: there is no such place, it isn't open, or it can't be reached.
        """
        ...

    def bring(self, dataset_id: str, file: RemoteFile, progress: FetchProgress) -> None:
        """Put one file into the dataset's staging, whole.

        Raises:
            SourceRefused: it can't be had, or isn't what was listed.
        """
        ...


def fetch_all(
    dataset_id: str, place: Place, *, settings: Settings, max_bytes: int, progress: FetchProgress
) -> None:
    """Bring everything that may be a recording or labels; what is here already isn't fetched again.

    Raises:
        SourceRefused: it can't be had, holds nothing, or is over a cap.
        StorageFull: the disk hasn't got the room; nothing was fetched.
    """
    wanted = _choose(dataset_id, place, settings, max_bytes)
    held = {item.name: item for item in staging.list_received(dataset_id)}
    for name in set(held) - set(wanted):
        if held[name].reason is None:
            staging.forget(dataset_id, name)
    missing = [f for f in wanted.values() if not _is_held(held.get(f.name), f)]
    needed = sum(f.size for f in missing)
    if needed > staging.free_bytes():
        raise StorageFull(f"The disk has no room for {needed / 1e6:,.0f} MB. Make room and start it again.")
    progress.total = sum(f.size for f in wanted.values())
    progress.done = progress.total - needed
    progress.tell()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        started = [threads.submit(place.bring, dataset_id, file, progress) for file in missing]
        done, _ = wait(started, return_when=FIRST_EXCEPTION)
        threads.shutdown(wait=True, cancel_futures=True)
    for future in done:
        future.result()
    progress.tell()


def _is_held(item: staging.Received | None, file: RemoteFile) -> bool:
    return item is not None and item.is_complete and item.received == file.size


def _choose(dataset_id: str, place: Place, settings: Settings, max_bytes: int) -> dict[str, RemoteFile]:
    """What to fetch, by name. What can't be a recording is noted with its reason instead."""
    wanted: dict[str, RemoteFile] = {}
    total = 0
    for count, file in enumerate(place.list_files()):
        if count >= settings.max_archive_entries:
            raise SourceRefused(f"It holds more than {settings.max_archive_entries:,} files.")
        reason = _why_not(file, wanted, settings)
        if reason == "":
            continue
        if reason is not None:
            staging.refuse(dataset_id, file.name, reason)
            continue
        total += file.size
        if total > max_bytes:
            raise SourceRefused(f"It holds more than the {max_bytes / 1e9:,.1f} GB that may be taken in.")
        wanted[file.name] = file
    if not wanted:
        raise SourceRefused("Nothing that may be a recording is there.")
    return wanted


def _why_not(file: RemoteFile, wanted: dict[str, RemoteFile], settings: Settings) -> str | None:
    """Why a file isn't fetched; empty for what is nobody's data; None if it is fetched."""
    parts = file.key.split("/")
    if is_junk(file.name) or is_document(file.name) or parts[-1].startswith("."):
        return ""
    if ".." in parts:
        return "Outside: its name leads out of its folder (..)."
    if file.name in wanted:
        return "Name taken: another file there is called the same here."
    if file.size > settings.max_file_bytes:
        return f"Too large: {file.size / 1e9:.1f} GB; at most {settings.max_file_bytes / 1e9:.1f} GB a file."
    return not_sound_reason(file.name)


def shown_name(key: str, prefix: str) -> str:
    """What a file is called here: its name there without the folder that was asked for."""
    inner = key.removeprefix(prefix).lstrip("/") if prefix else key
    return clean_name(inner or PurePosixPath(key).name)
