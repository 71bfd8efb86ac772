"""What of the data folder belongs into a backup, and how it is copied while servers and jobs write to it.

What is written last is copied first. A worker writes its events, checkpoints and adapter, then `result.json`,
and then its row changes; so the database is taken before any of them, a run's `result.json` before the
adapter that it speaks of, and checkpoints before the events that lead up to them. Whatever is copied later
may be newer than what speaks of it, never older.

Checkpoints and adapters are folders that are put in place, and taken away, as a whole. So each folder is
opened once and all its files are read from what was opened; one that was swapped meanwhile is copied again.
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from sqlalchemy import Engine, column, inspect, select, table

from qlora_studio.core.errors import StudioError
from qlora_studio.db.columns import JsonType
from qlora_studio.storage import checkpoints
from qlora_studio.storage.backup_archive import FILES, ArchiveWriter, StoredFile, is_plain

BULK = ("blobs", "models", "adapters", "merged", "generations")  # never changed once they are there
_TRIES = 5
# Received and not yet taken in; made again when asked for; kept for an hour; of processes that live.
_LEFT_OUT = frozenset(
    {"staging", "spectrograms", "trials", "rehearsals", "pushes", "listening", "dictations"}
    | {"rehearsal.slot", "rehearsal.tried"}
)
_SPEAK_OF_OTHERS = frozenset(("exit.json", "result.json", "mlflow.json"))

_Identity = tuple[int, int, int, int]
_Wanted = Callable[[tuple[str, ...]], bool]


class _Copied(NamedTuple):
    file: StoredFile
    identity: _Identity


class Copier:
    """Copies a data folder into a backup; called again, it copies what is new or has changed since.

    `files` is what the backup holds, by name in the data folder. `lost` names what went away while it was
    copied.
    """

    def __init__(self, root: Path, writer: ArchiveWriter, *, but: frozenset[Path]) -> None:
        """Prepare.

        Args:
            root: the data folder.
            but: files in it that are left out: those of the database.
        """
        self.files: dict[str, _Copied] = {}
        self.lost: list[str] = []
        self._root = root
        self._writer = writer
        self._but = frozenset(str(path.relative_to(root)) for path in but if path.is_relative_to(root))
        self._above: set[tuple[int, int]] = set()
        self._log: list[str] = []

    def copy_bulk(self) -> None:
        """Copy what is large and never changes, before the database: little is left to do after it."""
        self._pass(BULK.__contains__, lambda _: True)

    def copy(self) -> None:
        """Copy everything."""
        self.lost = []
        self._pass("runs".__eq__, _speaks_of_others)
        self._pass("runs".__eq__, _is_checkpoint)
        self._pass(lambda _: True, lambda parts: not (_speaks_of_others(parts) or _is_checkpoint(parts)))

    @property
    def has_lost(self) -> bool:
        """Whether something went away that a row may still name: of checkpoints one is enough, the newest."""
        return any(not self._has_other_checkpoint(name) for name in self.lost)

    def _has_other_checkpoint(self, name: str) -> bool:
        parts = name.split("/")
        if not _is_checkpoint(tuple(parts)):
            return False
        start, end = "/".join(parts[:3]) + "/", f"/{checkpoints.MANIFEST}"
        return any(kept.startswith(start) and kept.endswith(end) for kept in self.files)

    # -- folders -------------------------------------------------------------------------------------------

    def _pass(self, is_due: Callable[[str], bool], wanted: _Wanted) -> None:
        """Go through the data folder once; `is_due` chooses among what is at its top."""
        self._above, self._log = set(), []
        with _opened(str(self._root)) as folder:
            self._copy_inside((), filter(is_due, os.listdir(folder)), folder, wanted)

    def _copy_folder(self, parts: tuple[str, ...], above: int, wanted: _Wanted) -> None:
        """Copy a folder from what is opened once; again if it was swapped for another one meanwhile."""
        for _ in range(_TRIES):
            n_before = len(self._log)
            try:
                with _opened(parts[-1], above) as folder:
                    opened = os.fstat(folder)
                    if (opened.st_dev, opened.st_ino) in self._above:
                        return  # a link back to a folder that it is in
                    self._above.add((opened.st_dev, opened.st_ino))
                    try:
                        self._copy_inside(parts, os.listdir(folder), folder, wanted)
                    finally:
                        self._above.discard((opened.st_dev, opened.st_ino))
                now = os.stat(parts[-1], dir_fd=above)
                if (now.st_dev, now.st_ino) == (opened.st_dev, opened.st_ino):
                    return
            except (FileNotFoundError, NotADirectoryError):
                self._forget(n_before)
                break
            self._forget(n_before)
        if wanted(parts):
            self.lost.append("/".join(parts))

    def _copy_inside(
        self, parts: tuple[str, ...], names: Iterable[str], folder: int, wanted: _Wanted
    ) -> None:
        for name in sorted(names, reverse=parts[-1:] == ("checkpoints",)):  # of those the newest first
            inner = (*parts, name)
            if is_left_out(inner) or "/".join(inner) in self._but:
                continue
            try:
                found = os.stat(name, dir_fd=folder)  # of what a link leads to
            except FileNotFoundError:
                if wanted(inner):
                    self.lost.append("/".join(inner))
                continue
            if stat.S_ISDIR(found.st_mode):
                self._copy_folder(inner, folder, wanted)
            elif stat.S_ISREG(found.st_mode) and wanted(inner):
                self._copy_file(inner, folder)

    def _copy_file(self, parts: tuple[str, ...], folder: int) -> None:
        name = "/".join(parts)
        if not is_plain(name):
            raise StudioError(
                f"{self._root}/{name!a} has a name that can't be kept. Rename it or take it away."
            )
        try:
            descriptor = os.open(parts[-1], os.O_RDONLY | os.O_NONBLOCK, dir_fd=folder)
        except FileNotFoundError:
            self.lost.append(name)
            return
        except PermissionError as error:
            raise StudioError(
                f"{self._root / name} can't be read. Make the backup as the account that runs the server."
            ) from error
        with os.fdopen(descriptor, "rb") as file:
            identity = _identity(os.fstat(file.fileno()))
            known = self.files.get(name)
            if known is None or known.identity != identity:
                self.files[name] = _Copied(self._writer.add(FILES + name, file), identity)
                self._log.append(name)

    def _forget(self, n_before: int) -> None:
        """Take back what was copied since: half of a folder that is gone or another one now."""
        for name in self._log[n_before:]:
            self._writer.drop(FILES + name)
            self.files.pop(name, None)
        del self._log[n_before:]


def is_left_out(parts: tuple[str, ...]) -> bool:
    """Whether a path in the data folder is of no use anywhere else, or half written."""
    name = parts[-1]
    is_unfinished = name.startswith(".") and (
        ".partial" in name or name.endswith((".old", ".tmp")) or name == ".reserve"
    )
    return is_unfinished or name.endswith(".lock") or (len(parts) == 1 and name in _LEFT_OUT)


def _speaks_of_others(parts: tuple[str, ...]) -> bool:
    """Whether a file of a run says how far others are: it may be behind them, and never ahead."""
    return parts[:1] == ("runs",) and (parts[-1] in _SPEAK_OF_OTHERS or parts[2:3] == ("tensorboard",))


def _is_checkpoint(parts: tuple[str, ...]) -> bool:
    return parts[:1] == ("runs",) and parts[2:3] == ("checkpoints",)


def _identity(found: os.stat_result) -> _Identity:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@contextmanager
def _opened(name: str, above: int | None = None) -> Iterator[int]:
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=above)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


# -- what the database speaks of ---------------------------------------------------------------------------


def find_named(engine: Engine, root: Path) -> set[str]:
    """The files that a database's rows need, by name in the data folder `root`.

    It is asked in a way that databases of all versions understand, since a backup comes before an upgrade.
    """
    tables = set(inspect(engine).get_table_names())
    named: set[str] = set()

    def rows(name: str, *columns: str) -> Iterator[Any]:
        if name not in tables:
            return
        of_table = table(name, *(column(each, JsonType if each == "details" else None) for each in columns))
        with engine.connect() as connection:
            yield from connection.execute(select(*of_table.columns))

    for sha256, status in rows("clip", "sha256", "status"):
        if sha256 and status == "ok":
            named.add(f"blobs/{sha256[:2]}/{sha256}")
    named |= {
        f"generations/{generation}/{take}.wav" for take, generation in rows("take", "id", "generation_id")
    }
    named |= {f"runs/{job}/{name}" for (job,) in rows("job", "id") for name in ("clips.jsonl", "config.yaml")}
    for (path,) in rows("adapter", "path"):
        folder = _within(path, root)
        named |= {
            f"{folder}/{name}" for name in ("adapter_model.safetensors", "adapter_config.json") if folder
        }
    for path, status, details in rows("model", "path", "status", "details"):
        folder = _within(path, root)
        if folder and status == "ready":
            weights = [str(entry["name"]) for entry in (details or {}).get("files", [])]
            named |= {f"{folder}/{name}" for name in ("config.json", *weights)}
    return named


def _within(path: str, root: Path) -> str:
    found = PurePosixPath(path)
    return found.relative_to(root).as_posix() if path and found.is_relative_to(root) else ""
