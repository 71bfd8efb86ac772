"""Parquet shards of the `datasets` library taken apart: recordings as files, the other columns as a table.

A column of recordings is a struct of `bytes` and `path`, or plain binary. Batches are small, so that memory
holds a few recordings at a time however large the shard is.
"""

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from qlora_studio.core.settings import Settings
from qlora_studio.ingest import archives
from qlora_studio.ingest.manifests import MAX_BYTES, MAX_ROWS, split_of
from qlora_studio.ingest.matching import StagedFile
from qlora_studio.ingest.names import clean_name, staged_name

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 16
_MAGIC = b"PAR1"
_MAX_COLUMNS = 200
_LOOK_S = 60
_LOOK_BYTES = 4 << 30
_MAX_TEXT = 20_000
_TABLE = "metadata.jsonl"


class ParquetRefused(Exception):
    """The shard isn't taken; the text says why."""


def is_parquet(path: Path, name: str) -> bool:
    """Whether a file is Parquet, by name and content."""
    if not name.lower().endswith(".parquet"):
        return False
    with path.open("rb") as file:
        return file.read(4) == _MAGIC


def unpack(path: Path, name: str, taken: Path, *, max_bytes: int, settings: Settings) -> list[StagedFile]:
    """Write each row's recording and one table with the other columns into `taken`.

    Returns:
        The files, in a folder named after the shard.

    Raises:
        ParquetRefused: it is broken, holds no recordings, or is over a cap. Nothing is left behind.
        OSError: the disk is full. Nothing is left behind.
    """
    folder = str(PurePosixPath(name).with_suffix(""))
    table = taken / staged_name(f"{folder}/{_TABLE}")
    files = [StagedFile(f"{folder}/{_TABLE}", table)]
    left = max_bytes
    try:
        with _TableWriter(table) as rows:
            for record, sound in _rows(path, name):
                rows.add(record)
                if sound is None:
                    continue
                if len(sound) > min(left, settings.max_file_bytes):
                    raise ParquetRefused("its recordings are larger than what may be taken in.")
                left -= len(sound)
                destination = taken / staged_name(f"{folder}/{record['file_name']}")
                files.append(StagedFile(f"{folder}/{record['file_name']}", destination))
                destination.write_bytes(sound)
    except BaseException:
        for file in files:
            if file.path is not None:
                file.path.unlink(missing_ok=True)
        raise
    return files


def look(path: Path, name: str, table: Path, *, max_rows: int) -> list[StagedFile]:
    """The same files as `unpack` would give, without their sound: only the table is written, by a child.

    The child may crash; a server that shows a preview must not.

    Raises:
        ParquetRefused: it is broken or holds no recordings.
    """
    command = [
        sys.executable,
        "-m",
        "qlora_studio.ingest.parquet",
        str(path),
        name,
        str(table),
        str(max_rows),
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_LOOK_S, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise ParquetRefused("it takes too long to read.") from error
    if done.returncode != 0:
        raise ParquetRefused(done.stdout.strip()[:200] or "it can't be read.")
    folder = str(PurePosixPath(name).with_suffix(""))
    with table.open(encoding="utf-8") as lines:
        names = [json.loads(line)["file_name"] for line in lines]
    return [
        StagedFile(f"{folder}/{_TABLE}", table),
        *(StagedFile(f"{folder}/{file_name}", path) for file_name in names),
    ]


def main(arguments: list[str]) -> int:
    """Write the table of a shard: PATH NAME TABLE MAX_ROWS."""
    resource.setrlimit(resource.RLIMIT_AS, (_LOOK_BYTES, _LOOK_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    path, name, table, max_rows = arguments
    try:
        with _TableWriter(Path(table)) as rows:
            for record, _ in _rows(Path(path), name, max_rows=int(max_rows)):
                rows.add(record)
    except ParquetRefused as refusal:
        sys.stdout.write(str(refusal))
        return 1
    return 0


class _TableWriter:
    """Writes rows as JSON Lines, no more than a table of labels may have."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._rows = self._bytes = 0

    def __enter__(self) -> "_TableWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, row: dict[str, Any]) -> None:
        """Write one row.

        Raises:
            ParquetRefused: there are too many.
        """
        line = json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        self._rows, self._bytes = self._rows + 1, self._bytes + len(line)
        if self._rows > MAX_ROWS or self._bytes > MAX_BYTES:
            raise ParquetRefused(f"its table has more than {MAX_ROWS:,} rows or {MAX_BYTES >> 20} MB.")
        self._file.write(line)


def _rows(
    path: Path, name: str, *, max_rows: int | None = None
) -> Iterator[tuple[dict[str, Any], bytes | None]]:
    """Each row as (what the table says, the recording). With `max_rows` recordings aren't read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with (
            path.open("rb") as source,
            pq.ParquetFile(source, buffer_size=1 << 20, pre_buffer=False) as shard,
        ):
            _refuse_bomb(shard.metadata)
            schema = shard.schema_arrow
            sound, others = _columns(schema)
            classes = _class_names(schema)
            wanted = [*others, sound if max_rows is None else f"{sound}.path"]
            number = 0
            for batch in shard.iter_batches(batch_size=BATCH_ROWS, columns=wanted):
                for row in batch.to_pylist():
                    if max_rows is not None and number >= max_rows:
                        return
                    held = row.pop(sound, None)
                    yield _row(row, held, number, name, classes), _bytes_of(held)
                    number += 1
    except (pa.ArrowException, ValueError, KeyError, UnicodeDecodeError, OverflowError) as error:
        raise ParquetRefused(f"it can't be read ({type(error).__name__}).") from error


def _refuse_bomb(metadata: Any) -> None:
    """Sound packs a few times; what packs more than an archive may is made to fill the memory."""
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(column)
            unpacked, packed = chunk.total_uncompressed_size, max(chunk.total_compressed_size, 1)
            if unpacked > archives.RATIO_FREE_BYTES and unpacked > archives.MAX_RATIO * packed:
                raise ParquetRefused(f"it unpacks to more than {archives.MAX_RATIO} times its size.")


def _columns(schema: "pa.Schema") -> tuple[str, list[str]]:
    """The column of recordings, and those that fit into a table.

    Raises:
        ParquetRefused: there is none of the first kind.
    """
    import pyarrow as pa

    if len(schema) > _MAX_COLUMNS:
        raise ParquetRefused(f"it has more than {_MAX_COLUMNS} columns.")
    sounds = [f.name for f in schema if _is_sound(f.type)]
    if not sounds:
        raise ParquetRefused("no column of it holds recordings as bytes.")
    simple = (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_boolean)
    others = [f.name for f in schema if any(is_kind(f.type) for is_kind in simple)]
    return ("audio" if "audio" in sounds else sounds[0]), others


def _is_sound(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        names = {kind.field(i).name: kind.field(i).type for i in range(kind.num_fields)}
        return "bytes" in names and _is_sound(names["bytes"])
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _class_names(schema: "pa.Schema") -> dict[str, list[str]]:
    """Column -> names of its classes, as the `datasets` library notes them in the schema."""
    raw = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = json.loads(raw).get("info", {}).get("features", {})
        return {
            column: [str(n) for n in feature["names"]]
            for column, feature in features.items()
            if isinstance(feature, dict) and isinstance(feature.get("names"), list)
        }
    except (ValueError, AttributeError, RecursionError):
        return {}


def _bytes_of(held: Any) -> bytes | None:
    content = held.get("bytes") if isinstance(held, dict) else held
    return content if isinstance(content, bytes) else None


def _row(
    row: dict[str, Any], held: Any, number: int, name: str, classes: dict[str, list[str]]
) -> dict[str, Any]:
    """What the table says of one row, with the name that its recording gets here."""
    given = held.get("path") if isinstance(held, dict) else None
    last = PurePosixPath(clean_name(str(given or "clip.wav"))).name[-120:]
    record: dict[str, Any] = {"file_name": f"{number:06d}-{last}"}
    split = split_of(PurePosixPath(name).name.partition("-")[0].partition(".")[0])
    if split is not None:
        record["split"] = split.value
    for column, value in row.items():
        names = classes.get(column)
        if names and isinstance(value, int) and 0 <= value < len(names):
            value = names[value]  # noqa: PLW2901
        if column != "file_name":
            record[column] = value[:_MAX_TEXT] if isinstance(value, str) else value
    return record


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
