"""Makes what was restored fit where it is now: other paths, and nothing that would go on by itself.

Rows and run folders hold absolute paths. Jobs that ran are marked as of another boot, as after a restart of
the machine: the next supervisor ends them as lost, each with what can be resumed, and holds the queue.
Everything here speaks to databases of all versions, since migrations come with the next start.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from sqlalchemy import Connection, Engine, TableClause, column, inspect, table

from qlora_studio.contracts.enums import ACTIVE_STATUSES
from qlora_studio.core.clock import utc_now
from qlora_studio.db.columns import JsonType, UtcDateTime
from qlora_studio.jobs.liveness import RESTORED

_NOT_SENT = "It was on its way when the backup was made that was restored here. It was not sent again."


def settle(engine: Engine, *, old: str, new: Path, folder: Path) -> int:
    """Change the rows of a restored database.

    Args:
        old: where the data folder was when the backup was made.
        new: where it will be.
        folder: where its files are for the moment.

    Returns:
        How many jobs were running.
    """
    tables = set(inspect(engine).get_table_names())
    with engine.begin() as connection:
        if "adapter" in tables:
            _move_adapters(connection, old=old, new=new)
        if "model" in tables:
            _move_models(connection, old=old, new=new, folder=folder)
        if "hub_push" in tables:
            _end_sending(connection, _table("hub_push", "status", "error", finished_at=UtcDateTime()))
        if "delivery" in tables:
            _end_sending(connection, _table("delivery", "status", "error"))
        if "queue_state" in tables:
            _hold_queue(connection)
        return _mark_jobs(connection) if "job" in tables else 0


def _move_adapters(connection: Connection, *, old: str, new: Path) -> None:
    adapters = _table("adapter", "id", "path")
    for adapter_id, path in connection.execute(adapters.select()).all():
        moved = adapters.update().where(adapters.c.id == adapter_id).values(path=_moved(path, old, new))
        connection.execute(moved)


def _move_models(connection: Connection, *, old: str, new: Path, folder: Path) -> None:
    """Weights that were linked to from the old folder lie in the new one, and are known by their place."""
    models = _table("model", "id", "path", details=JsonType)
    for model_id, path, details in connection.execute(models.select()).all():
        moved = _moved(path, old, new)
        entries = (details or {}).get("files", [])
        for entry in entries:
            place = Path(moved) / str(entry["name"])
            is_here = place.is_relative_to(new) and (folder / place.relative_to(new)).is_file()
            entry["path"] = str(place) if is_here else _moved(str(entry.get("path", "")), old, new)
        values: dict[str, Any] = {"path": moved}
        if entries:
            values["details"] = details
        connection.execute(models.update().where(models.c.id == model_id).values(**values))


def _end_sending(connection: Connection, rows: TableClause) -> None:
    """What was on its way was sent by the server that the backup is of, or waits for a person's wish."""
    values: dict[str, Any] = {"status": "failed", "error": _NOT_SENT}
    if "finished_at" in rows.c:
        values["finished_at"] = utc_now()
    under_way = rows.c.status.in_(("waiting", "running", "sending"))
    connection.execute(rows.update().where(under_way).values(**values))


def _hold_queue(connection: Connection) -> None:
    state = _table("queue_state", "id", "is_paused", "note", "boot_id", changed_at=UtcDateTime())
    if connection.execute(state.update().values(boot_id=RESTORED)).rowcount == 0:
        fresh = {"id": 1, "is_paused": False, "note": "", "boot_id": RESTORED, "changed_at": utc_now()}
        connection.execute(state.insert().values(**fresh))


def _mark_jobs(connection: Connection) -> int:
    jobs = _table("job", "status", "boot_id")
    ran = jobs.c.status.in_([status.value for status in ACTIVE_STATUSES])
    return connection.execute(jobs.update().where(ran).values(boot_id=RESTORED)).rowcount


def _table(name: str, *columns: str, **typed: Any) -> TableClause:
    return table(name, *map(column, columns), *(column(key, kind) for key, kind in typed.items()))


def _moved(path: str, old: str, new: Path) -> str:
    found = PurePosixPath(path)
    return str(new / found.relative_to(old)) if path and found.is_relative_to(old) else path


def move_runs(folder: Path, *, old: str, new: Path) -> None:
    """Change the paths in what a worker reads (`clips.jsonl`) and in what it left to be read.

    Raises:
        OSError: the disk is full.
    """
    if old == str(new):
        return
    pairs = {
        json.dumps(f"{old}/", ensure_ascii=escaped)[:-1].encode(): json.dumps(
            f"{new}/", ensure_ascii=escaped
        )[:-1].encode()
        for escaped in (True, False)
    }
    for pattern in ("clips.jsonl", "attempt-*/spec.json", "attempt-*/result.json"):
        for path in folder.glob(f"runs/*/{pattern}"):
            _replace_in(path, pairs)


def _replace_in(path: Path, pairs: Mapping[bytes, bytes]) -> None:
    """Replace the beginnings of JSON strings, line by line, keeping mode and time."""
    partial = path.with_name(f".{path.name}.partial")
    with path.open("rb") as source, partial.open("wb") as target:
        for line in source:
            moved = line
            for old, new in pairs.items():
                moved = moved.replace(old, new)
            target.write(moved)
    shutil.copystat(path, partial)
    os.replace(partial, path)
