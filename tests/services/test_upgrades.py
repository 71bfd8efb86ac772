"""A data folder is taken to a newer version and back again, as `docs/operations.md` says."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Engine, inspect, text

from qlora_studio.contracts.enums import JobStatus
from qlora_studio.core.errors import Conflict
from qlora_studio.db import migrations
from qlora_studio.db.engine import get_engine, make_engine
from qlora_studio.db.models import Job
from qlora_studio.services import restoring
from qlora_studio.storage import layout
from scripts.running import ROOT
from tests.services.backup_world import Make

BEFORE = "0016"
NEWER = "9999"
_NOT_DATA = re.compile("alembic_version|_search")


def rows(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    """All that the tables hold."""
    names = [name for name in inspect(engine).get_table_names() if not _NOT_DATA.search(name)]
    with engine.connect() as connection:
        return {
            name: sorted(
                (tuple(row) for row in connection.execute(text(f'SELECT * FROM "{name}"'))), key=repr
            )
            for name in names
        }


def set_revision(engine: Engine, revision: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :new"), {"new": revision})


@pytest.fixture
def old(lived_in: Job) -> Iterator[Job]:
    """A folder that an older version has left."""
    command.downgrade(migrations.make_config(), BEFORE)
    yield lived_in
    get_engine().dispose()


@pytest.mark.sqlite("the database is a file of the folder that is restored")
def test_every_row_is_there_after_an_upgrade_and_after_going_back(
    old: Job,
    back_up: Make,
    tmp_path: Path,
) -> None:
    before = rows(get_engine())
    assert sum(map(len, before.values())) > 15
    made = back_up(tmp_path / "before.zip")
    assert made.revision == BEFORE
    migrations.upgrade()
    assert migrations.is_current(get_engine())
    assert rows(get_engine()) == before
    back = restoring.restore_backup(source=made.path, into=tmp_path / "back")
    engine = make_engine(f"sqlite:///{back.folder / 'studio.db'}")
    found = rows(engine)
    assert {name: len(held) for name, held in found.items()} == {
        name: len(held) for name, held in before.items()
    }
    assert found["user"] == before["user"]
    assert found["clip"] == before["clip"]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == BEFORE
        status = connection.execute(text("SELECT status FROM job")).scalar()
        assert str(status).lower() == JobStatus.RUNNING.value, "the next start finds it lost"
    engine.dispose()


def test_a_newer_database_is_left_alone(data_folder: Path) -> None:
    before = rows(get_engine())
    set_revision(get_engine(), NEWER)
    with pytest.raises(Conflict, match=f"newer version .schema {NEWER}.*restore"):
        migrations.upgrade()
    assert rows(get_engine()) == before


@pytest.mark.slow
@pytest.mark.sqlite("the server is started on a folder")
def test_a_server_says_what_to_do_about_a_newer_database(data_folder: Path) -> None:
    set_revision(get_engine(), NEWER)
    get_engine().dispose()
    for arguments in (["-m", "qlora_studio.serve"], ["-m", "qlora_studio.cli", "jobs", "list"]):
        ended = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=os.environ | {"QLORA_STUDIO_DATA": str(layout.data_path()), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,  # the pages may have to be built
            check=False,
        )
        told = ended.stdout + ended.stderr
        assert ended.returncode == 1, told
        assert "of a newer version" in told
        assert "qlora-studio restore" in told
        assert "Traceback" not in told
