"""Killed in a migration, and a new server over an old worker: lines of the table of faults (F22)."""

import os
import shutil
import signal
import sqlite3
import traceback
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import event

from qlora_studio.db import migrations
from qlora_studio.db.engine import make_engine
from tests.conftest import make_user

STRIDE = 1 if os.environ.get("QLORA_STUDIO_LONG_FAULTS") else 12


def schema(database: Path) -> tuple[str, dict[str, str]]:
    """The revision that a database says it has, and what is really in it."""
    with closing(sqlite3.connect(database)) as opened:
        version = opened.execute("SELECT version_num FROM alembic_version").fetchone()[0]
        rows = opened.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        assert opened.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert opened.execute("PRAGMA foreign_key_check").fetchall() == []
        return version, dict(rows)


def upgrade_and_die(database: Path, at: int) -> bool:
    """Upgrade in a child that kills itself before its `at`-th statement; whether it came to that."""
    pid = os.fork()
    if pid == 0:
        try:
            engine = make_engine(f"sqlite:///{database}")
            n = 0

            @event.listens_for(engine, "before_cursor_execute")
            def _count(*_: object) -> None:
                nonlocal n
                n += 1
                if n == at:
                    os.kill(os.getpid(), signal.SIGKILL)

            migrations.upgrade(engine)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return status == signal.SIGKILL


@pytest.mark.slow
@pytest.mark.fault(
    "F22",
    "kill -9 before a statement of the migrations, from the second to the newest",
    "each time the schema is one revision's, whole; the next start ends what was begun",
)
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_f22_killed_in_a_migration(data_folder, session, tmp_path, saw):
    make_user(session, "kept")
    session.close()
    old = tmp_path / "old.db"
    engine = make_engine(f"sqlite:///{old}")
    with closing(sqlite3.connect(data_folder / "studio.db")) as newest, closing(sqlite3.connect(old)) as copy:
        newest.backup(copy)
    whole = {}
    config = migrations.make_config(engine)
    revisions = [r.revision for r in ScriptDirectory.from_config(config).walk_revisions()][
        :-1
    ]  # newest first
    newest_revision = revisions[0]
    for revision in revisions[1:]:
        command.downgrade(config, revision)
    engine.dispose()
    at_revision = tmp_path / "step.db"
    shutil.copyfile(old, at_revision)
    engine = make_engine(f"sqlite:///{at_revision}")
    for revision in reversed(revisions):
        command.upgrade(migrations.make_config(engine), revision)
        engine.dispose()
        whole[revision] = schema(at_revision)[1]
    for n in range(1, 10_000, STRIDE):
        killed = tmp_path / "killed.db"
        for leftover in tmp_path.glob("killed.db*"):
            leftover.unlink()
        shutil.copyfile(old, killed)
        was_killed = upgrade_and_die(killed, n)
        version, found = schema(killed)
        assert found == whole[version], (n, version)
        if not was_killed:
            break
        engine = make_engine(f"sqlite:///{killed}")
        migrations.upgrade(engine)
        engine.dispose()
        assert schema(killed) == (newest_revision, whole[newest_revision]), n
        with closing(sqlite3.connect(killed)) as opened:
            assert opened.execute("SELECT username FROM user").fetchall() == [("kept",)]
    assert version == newest_revision
    assert n > 50
    saw(f"killed {n // STRIDE} times among {n} statements")
