"""Killed in a migration, and a new server over an old worker: lines of the table of faults (F22)."""

import fcntl
import json
import os
import shutil
import signal
import sqlite3
import traceback
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import event

from qlora_studio.contracts.enums import ExitReason, JobStatus
from qlora_studio.db import migrations
from qlora_studio.db.engine import make_engine, write
from qlora_studio.jobs import ingest, transitions
from qlora_studio.jobs.supervisor import Supervisor
from qlora_studio.launchers.local import LocalLauncher
from qlora_studio.storage import layout
from tests.conftest import make_user
from tests.faults.harness import load, loss_steps

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


@pytest.mark.fault(
    "F22",
    "a server that is older or newer than the worker it finds",
    "adopted; what both know is read; what a newer protocol says is left alone, and the page says so",
)
def test_f22_a_server_of_another_version_adopts_the_worker(data_folder, launch):
    job = launch(10)
    attempt = layout.attempt_path(job.id, 1)
    attempt.mkdir()
    with (attempt / "shim.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # somebody is alive
        (attempt / "shim.json").write_text(json.dumps({"v": 7, "shim_pid": 1, "unknown": True}))
        with write() as session:
            transitions.move(
                session, job_id=job.id, attempt=1, from_=[JobStatus.QUEUED], to=JobStatus.STARTING
            )
        write_events(
            attempt,
            {"v": 1, "type": "started", "pid": 12, "device": "cpu", "colour": "blue"},
            {"v": 1, "type": "dream", "of": "sheep"},
            {"type": "metric", "step": 1, "values": {"loss": 2.0, "unheard_of": 1.0}},
        )
        supervisor = Supervisor(LocalLauncher("toy"))
        supervisor.tick(review=True)
        assert (load(job.id).status, load(job.id).attempt) == (JobStatus.RUNNING, 1)
        assert loss_steps(job.id) == [1]

        write_events(attempt, {"v": 2, "type": "metric", "step": "two", "values": {"loss": [1.0]}}, seq=4)
        write_events(attempt, {"v": 2, "type": "finished", "reason": "ok"}, seq=5)
        supervisor.tick(review=True)
        left_alone = load(job.id)
        assert (left_alone.status, left_alone.phase) == (JobStatus.RUNNING, ingest.NEWER)
        assert loss_steps(job.id) == [1]
    (attempt / "result.json").write_text(json.dumps({"v": 2, "reason": "ok", "step": 10, "new": []}))
    supervisor.tick(review=True)
    assert (load(job.id).status, load(job.id).reason) == (JobStatus.SUCCEEDED, ExitReason.OK)


def write_events(attempt: Path, *events: dict[str, Any], seq: int = 1) -> None:
    with (attempt / "events.jsonl").open("a") as file:
        for number, event in enumerate(events, start=seq):
            file.write(json.dumps({"seq": number, "ts": 1.0, **event}) + "\n")
