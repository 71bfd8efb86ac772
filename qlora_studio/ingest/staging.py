"""Files that were received for a dataset and aren't taken in yet.

Each is kept under a generated name (`ingest.names.staged_name`), with its own name, size and completeness in
a small JSON file beside it:

    staging/<dataset id>/files/<32 hex>         bytes
    staging/<dataset id>/files/<32 hex>.json    {"name": …, "size": …, "is_complete": …}
    staging/<dataset id>/taken/                 files unpacked from archives or copied from a server folder
    staging/<dataset id>/chosen/                takes that people rated or compared, and their table
    staging/<dataset id>/update.json            what becomes of the clips that are there already
    staging/<dataset id>/ingest.lock            held by the process that takes them in
"""

import errno
import fcntl
import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from qlora_studio.core.errors import Conflict, StorageFull, TooLarge
from qlora_studio.ingest.names import staged_name
from qlora_studio.storage import atomic, layout

RESERVE_BYTES = 256 << 20  # kept free for the database and for running jobs


@dataclass(frozen=True, slots=True)
class Received:
    """A file in staging: its name, the bytes held so far, the bytes it should have (None: not known).

    With a `reason` it is only noted: it can't be used, and its bytes weren't asked for.
    """

    name: str
    received: int
    size: int | None
    is_complete: bool
    reason: str | None = None


class OffsetMismatch(Conflict):
    """A piece doesn't begin where the file ends. `received` says how many bytes are held."""

    def __init__(self, received: int) -> None:
        super().__init__(f"{received} bytes are here; send the rest from there.")
        self.received = received


def files_path(dataset_id: str) -> Path:
    return layout.staging_path(dataset_id) / "files"


def taken_path(dataset_id: str) -> Path:
    return layout.staging_path(dataset_id) / "taken"


def chosen_path(dataset_id: str) -> Path:
    return layout.staging_path(dataset_id) / "chosen"


def update_path(dataset_id: str) -> Path:
    return layout.staging_path(dataset_id) / "update.json"


def free_bytes() -> int:
    """Room on the data folder's disk beyond the reserve, never negative."""
    path = layout.data_path()
    path.mkdir(parents=True, exist_ok=True)
    return max(0, shutil.disk_usage(path).free - RESERVE_BYTES)


def list_received(dataset_id: str) -> list[Received]:
    """Every file in staging, by name."""
    folder = files_path(dataset_id)
    if not folder.is_dir():
        return []
    found = []
    for note in folder.glob("*.json"):
        data = note.with_suffix("")
        try:
            content = json.loads(note.read_text())
        except ValueError:
            continue  # cut short by a power loss before anything was acknowledged
        held = data.stat().st_size if data.exists() else 0
        reason = content.get("reason")
        found.append(Received(content["name"], held, content["size"], content["is_complete"], reason))
    return sorted(found, key=lambda item: item.name)


def forget(dataset_id: str, name: str) -> None:
    """Remove one received file, whole or not; one that isn't there is not an error.

    Raises:
        Conflict: it is being received right now.
    """
    path = files_path(dataset_id) / staged_name(name)
    if path.exists():
        with path.open("rb+") as file:
            _lock(file.fileno(), name)
            path.unlink(missing_ok=True)
    path.with_name(path.name + ".json").unlink(missing_ok=True)


def adopt(dataset_id: str, name: str, path: Path) -> None:
    """Take a whole file that lies on the same disk into staging; `path` is gone afterwards.

    Raises:
        OSError: the disk is full or broken.
    """
    data = files_path(dataset_id) / staged_name(name)
    data.parent.mkdir(parents=True, exist_ok=True)
    with path.open("rb") as file:
        os.fsync(file.fileno())
        size = os.fstat(file.fileno()).st_size
    os.replace(path, data)
    note = {"name": name, "size": size, "is_complete": True}
    atomic.write_text(data.with_name(data.name + ".json"), json.dumps(note))


def refuse(dataset_id: str, name: str, reason: str) -> None:
    """Note a file that can't be used, so that it is listed with its reason."""
    data = files_path(dataset_id) / staged_name(name)
    data.parent.mkdir(parents=True, exist_ok=True)
    note = {"name": name, "size": None, "is_complete": False, "reason": reason}
    data.with_name(data.name + ".json").write_text(json.dumps(note))  # not worth a sync: it is told anew


def discard(dataset_id: str) -> None:
    """Remove everything in staging for a dataset; nothing there is not an error."""
    shutil.rmtree(layout.staging_path(dataset_id), ignore_errors=True)


def sweep() -> None:
    """Remove the notes that killed processes were in the middle of writing."""
    for partial in (layout.data_path() / "staging").glob("*/files/.*.partial"):
        if not atomic.is_being_written(partial):
            with suppress(OSError):
                partial.unlink()


class Receiver:
    """Writes one file into staging. Use as a context manager; `finish` acknowledges, nothing else does.

    What has come before an error stays, so that the sender can go on from there.

    Args:
        dataset_id: whose staging.
        name: the cleaned name.
        start: where this piece begins; 0 starts the file anew.
        size: the whole file's bytes if known.
        max_bytes: cap on the whole file.

    Raises:
        OffsetMismatch: `start` isn't where the file ends.
        Conflict: another request is writing this file.
        StorageFull: the disk hasn't got the room.
        TooLarge: the file is over the cap.
    """

    def __init__(self, dataset_id: str, name: str, *, start: int, size: int | None, max_bytes: int) -> None:
        self._name, self._start, self._size, self._max_bytes = name, start, size, max_bytes
        self._path = files_path(dataset_id) / staged_name(name)
        self._note = self._path.with_name(self._path.name + ".json")
        self.received = start

    def __enter__(self) -> "Receiver":
        if self._size is not None and self._size > self._max_bytes:
            raise TooLarge(_over_cap(self._name, self._max_bytes))
        if self._size is not None and self._size - self._start > free_bytes():
            raise StorageFull(f"The disk has no room for {self._name}. What was received before is kept.")
        with _full_disk_named(self._name):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def write(self, piece: bytes | bytearray) -> None:
        """Append bytes.

        Raises:
            TooLarge: the file would be over the cap or larger than announced.
            StorageFull: the disk is full.
        """
        cap = self._max_bytes if self._size is None else self._size
        if self.received + len(piece) > cap:
            raise TooLarge(_over_cap(self._name, cap))
        with _full_disk_named(self._name):
            view = memoryview(piece)
            while view:
                count = os.write(self._descriptor, view)
                self.received += count
                view = view[count:]

    def finish(self) -> int:
        """Make what was received durable and return how many bytes are held."""
        is_complete = self._size is None or self.received == self._size
        with _full_disk_named(self._name):
            os.fsync(self._descriptor)
            size = self.received if self._size is None else self._size
            atomic.write_text(self._note, self._note_text(size=size, is_complete=is_complete))
        return self.received

    def _open(self) -> int:
        if self._start == 0:
            return self._open_anew()
        try:
            descriptor = os.open(self._path, os.O_WRONLY)
        except FileNotFoundError:
            raise OffsetMismatch(0) from None
        try:
            _lock(descriptor, self._name)
            held = os.fstat(descriptor).st_size
            if self._is_complete() or self._start > held:
                raise OffsetMismatch(held)
            os.ftruncate(descriptor, self._start)
            os.lseek(descriptor, self._start, os.SEEK_SET)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _open_anew(self) -> int:
        """A new file each time: the old one's bytes may already be shared with the blobs."""
        if self._path.exists():
            old = os.open(self._path, os.O_WRONLY)
            try:
                _lock(old, self._name)
                self._path.unlink(missing_ok=True)
            finally:
                os.close(old)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            _lock(descriptor, self._name)
            self._note.write_text(self._note_text(size=self._size, is_complete=False))
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _is_complete(self) -> bool:
        return self._note.exists() and json.loads(self._note.read_text())["is_complete"]

    def _note_text(self, *, size: int | None, is_complete: bool) -> str:
        return json.dumps({"name": self._name, "size": size, "is_complete": is_complete})


def _lock(descriptor: int, name: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Conflict(f"{name} is being received already. Try again in a moment.") from None


class _full_disk_named:
    """Turns "no space left" and "quota exceeded" into StorageFull."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(
                f"The disk is full, so {self._name} isn't whole. What came is kept: make room and go on."
            ) from error


def _over_cap(name: str, cap: int) -> str:
    return f"{name} is over the limit of {cap:,} bytes."


def as_json(item: Received) -> dict[str, object]:
    """The shape the API gives."""
    values = {name: value for name, value in asdict(item).items() if name != "reason" or value}
    return {"filename": values.pop("name"), **values}


def count(dataset_id: str) -> tuple[int, int]:
    """How many files staging holds for a dataset, and their bytes; cheap, asked before each upload."""
    folder = files_path(dataset_id)
    if not folder.is_dir():
        return 0, 0
    with os.scandir(folder) as entries:
        sizes = [entry.stat().st_size for entry in entries if not entry.name.endswith((".json", ".partial"))]
    return len(sizes), sum(sizes)
