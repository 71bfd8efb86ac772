"""What a restore refuses, and where it puts what was there."""

import json
import os
import sqlite3
import stat
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from qlora_studio.core.errors import Conflict, InvalidInput, NotFound, StudioError, Unavailable
from qlora_studio.db import dumps, migrations
from qlora_studio.db.engine import make_engine
from qlora_studio.db.models import BaseAudioModel, Job, User
from qlora_studio.modelfiles import prepare
from qlora_studio.services import backups, models, restoring
from qlora_studio.storage import holding, layout
from qlora_studio.storage.backup_archive import MANIFEST
from tests.services.backup_world import Make, Restore, opened, sha, tree, write

Refused = Callable[[Path, Path, str], None]


def changed(source: Path, target: Path, change: Callable[[str, bytes], tuple[Any, bytes] | None]) -> Path:
    """A copy of a backup in which each member is what `change` makes of it."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            member = change(name, old.read(name))
            if member is not None:
                new.writestr(*member)
    return target


def json_with(data: bytes, **values: Any) -> bytes:
    return json.dumps(json.loads(data) | values).encode()


def with_manifest(source: Path, target: Path, **values: Any) -> Path:
    return changed(
        source,
        target,
        lambda name, data: (
            name,
            json_with(data, **values) if name == MANIFEST else data,
        ),
    )


@pytest.fixture
def refused(restore: Restore) -> Refused:
    def check(source: Path, into: Path, match: str) -> None:
        with pytest.raises(InvalidInput, match=match):
            restore(source, into)
        assert not into.exists()
        assert not [p for p in into.parent.iterdir() if p.name.startswith(f".{into.name}")]

    return check


def test_a_changed_a_short_and_a_strange_file_are_refused(
    lived_in: Job, back_up: Make, refused: Refused, tmp_path: Path
) -> None:
    made, into = back_up().path, tmp_path / "there"
    flipped = bytearray(made.read_bytes())
    at = flipped.find(b"w" * 100)
    flipped[at] ^= 1
    (tmp_path / "flipped.zip").write_bytes(flipped)
    refused(tmp_path / "flipped.zip", into, "weights.bin is damaged")
    (tmp_path / "short.zip").write_bytes(made.read_bytes()[:-4000])
    refused(tmp_path / "short.zip", into, "cut short")
    other = changed(
        made, tmp_path / "o.zip", lambda n, d: (n, b"v" * 5000 if n.endswith("weights.bin") else d)
    )
    refused(other, into, "not as it was")
    refused(changed(made, tmp_path / "l.zip", lambda n, d: None if "weights" in n else (n, d)), into, "list")
    refused(
        changed(made, tmp_path / "m.zip", lambda n, d: None if n == MANIFEST else (n, d)), into, "no backup"
    )
    with pytest.raises(NotFound):
        restoring.restore_backup(source=tmp_path / "none.zip", into=into)


@pytest.mark.parametrize(
    "name", ["files/../out", "/out", "files//out", "files/./out", "files/studio.db-wal", "out"]
)
def test_names_that_lead_elsewhere_are_refused(
    lived_in: Job, back_up: Make, refused: Refused, tmp_path: Path, name: str
) -> None:
    made = back_up().path
    file = {"name": name, "size_bytes": 1, "sha256": sha(b"x"), "mode": 0o644, "mtime_ns": 0}
    manifest = json.loads(zipfile.ZipFile(made).read(MANIFEST))
    bad = with_manifest(made, tmp_path / "bad.zip", files=[*manifest["files"], file])
    with zipfile.ZipFile(bad, "a") as archive:
        archive.writestr(name, b"x")
    refused(bad, tmp_path / "there", "bad.zip can't be restored")
    assert not (tmp_path / "out").exists()


def test_links_in_the_zip_are_refused(lived_in: Job, back_up: Make, refused: Refused, tmp_path: Path) -> None:
    def link(name: str, data: bytes) -> tuple[Any, bytes]:
        info = zipfile.ZipInfo(name)
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        return (info, data) if name.endswith("weights.bin") else (name, data)

    refused(changed(back_up().path, tmp_path / "l.zip", link), tmp_path / "there", "symbolic link")


def test_a_newer_schema_is_refused_and_says_what_to_install(
    lived_in: Job, back_up: Make, refused: Refused, tmp_path: Path
) -> None:
    newer = with_manifest(back_up().path, tmp_path / "n.zip", revision="9999", product_version="7.0")
    refused(newer, tmp_path / "there", "Install 7.0 or newer")


@pytest.mark.sqlite("elsewhere the database refuses such rows itself")
def test_rows_that_name_nothing_are_damage(
    lived_in: Job, back_up: Make, refused: Refused, session: Session, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(layout.data_path() / "studio.db")) as connection:
        connection.execute("UPDATE job SET model_id = 'mod_none'")
        connection.commit()
    refused(back_up().path, tmp_path / "there", "damaged: a row of job")


def test_an_older_schema_is_restored_and_brought_up_to_date_by_the_next_start(
    data_folder: Path, tmp_path: Path
) -> None:
    from alembic import command

    old = tmp_path / "old"
    old.mkdir()
    url = f"sqlite:///{old / 'studio.db'}"
    engine = make_engine(url)
    command.upgrade(migrations.make_config(engine), "0001")
    engine.dispose()
    made = backups.make_backup(target=tmp_path / "old.zip", data_path=old, database_url=url)
    assert made.revision == "0001"
    done = restoring.restore_backup(source=made.path, into=tmp_path / "there")
    engine = make_engine(f"sqlite:///{done.folder / 'studio.db'}")
    migrations.upgrade(engine)
    assert migrations.is_current(engine)
    engine.dispose()


def test_a_folder_that_holds_something_is_moved_aside_and_only_when_asked(
    lived_in: Job, back_up: Make, restore: Restore, database_to_fill: str, tmp_path: Path
) -> None:
    made, there = back_up().path, tmp_path / "there"
    write(there / "mine.txt", b"mine")
    with pytest.raises(Conflict, match="--replace"):
        restore(made, there)
    assert tree(there) == {"mine.txt": b"mine"}
    done = restore(made, there, replace=True)
    assert done.aside is not None
    assert tree(done.aside) == {"mine.txt": b"mine"}
    assert (there / "secret.key").is_file()
    with opened(done, database_to_fill) as engine:
        assert dumps.read_revision(engine) == migrations.newest()
    assert not (there / "mine.txt").exists()


def test_a_folder_in_use_is_refused(lived_in: Job, back_up: Make, data_folder: Path, tmp_path: Path) -> None:
    made = back_up().path
    before = tree(data_folder)

    def refuse(match: str) -> None:
        with pytest.raises(Conflict, match=match):
            restoring.restore_backup(source=made, into=data_folder, replace=True)

    with held_elsewhere(data_folder / "server.lock"):
        refuse("Stop it, and restore again")
    with held_elsewhere(data_folder / "supervisor.lock"):
        refuse("supervisor")
    with held_elsewhere(layout.attempt_path(lived_in.id, 1) / "shim.lock"):
        refuse(f"jobs stop {lived_in.id}")
    for name in ("server.lock", "supervisor.lock"):
        (data_folder / name).unlink()
        before.pop(name, None)
    assert tree(data_folder) == before
    holding.hold(data_folder, port=1)  # nobody holds it now
    holding.let_go(data_folder)


class held_elsewhere:
    """A lock that another open file holds, as another process would."""

    def __init__(self, path: Path) -> None:
        import fcntl

        self._file = path.open("a")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._file.close()


# -- PostgreSQL --------------------------------------------------------------------------------------------


def test_without_its_tools_postgresql_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="postgresql-client"):
        dumps.take("postgresql+psycopg://ada:secret@nowhere/studio", tmp_path / "d")


def test_the_password_of_postgresql_goes_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = write(tmp_path / "bin" / "pg_dump", b'#!/bin/sh\necho "$@ [$PGPASSWORD]" >&2\nexit 1\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    with pytest.raises(StudioError) as caught:
        dumps.take("postgresql+psycopg://ada:se%20cret@host:5433/studio", tmp_path / "d")
    assert "postgresql://ada@host:5433/studio" in caught.value.message
    assert "[se cret]" in caught.value.message


@pytest.mark.sqlite("both kinds are made of one of it")
def test_a_backup_goes_into_the_kind_of_database_that_it_holds(
    lived_in: Job, back_up: Make, tmp_path: Path
) -> None:
    made = back_up().path
    with pytest.raises(Conflict, match="Unset it"):
        restoring.restore_backup(source=made, into=tmp_path / "a", database_url="postgresql://host/x")
    postgres = changed(
        made,
        tmp_path / "p.zip",
        lambda n, d: ("studio.pgdump" if n == "studio.db" else n, d.replace(b"studio.db", b"studio.pgdump")),
    )
    postgres = with_manifest(postgres, tmp_path / "q.zip", database="postgresql")
    with pytest.raises(Conflict, match="createdb"):
        restoring.restore_backup(source=postgres, into=tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_the_worlds_models_can_be_used_at_once(
    lived_in: Job,
    back_up: Make,
    restore: Restore,
    database_to_fill: str,
    tmp_path: Path,
    session: Session,
    user: User,
) -> None:
    """The starter as the product adds it, checked by the product in its new place."""
    starter = models.add_starter(session, actor=user)
    session.commit()
    done = restore(back_up().path, tmp_path / "there")
    with opened(done, database_to_fill) as engine, Session(engine) as there:
        row = there.get_one(BaseAudioModel, starter.id)
        prepare.check_unchanged(Path(row.path), row.details["files"], row.content_hash)
        assert Path(row.path).is_relative_to(done.folder)
