"""`backup` and `restore` as people type them."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlmodel import Session

from qlora_studio.db.models import User
from qlora_studio.storage import layout
from tests.commands.conftest import Run, answer, problem
from tests.databases import forget_engine
from tests.jobs.workbench import make_dataset


@pytest.fixture
def choose_empty_database(database_to_fill: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Set an empty database for the next command, as somebody does who restores."""

    def choose() -> None:
        monkeypatch.setenv("QLORA_STUDIO_DATABASE_URL", database_to_fill)
        forget_engine()

    return choose


def test_a_backup_is_made_checked_and_restored(
    run: Run,
    session: Session,
    choose_empty_database: Callable[[], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (layout.data_path() / "secret.key").write_bytes(b"k" * 32)
    made = run("backup")
    path = next(tmp_path.glob("qlora-studio-*.zip"))
    assert str(path) in made.stdout
    assert "is whole" in run("restore", str(path), "--check").stdout
    choose_empty_database()
    told = run("restore", str(path), "--into", "there").stdout
    assert f"QLORA_STUDIO_DATA={tmp_path / 'there'}" in told
    assert (tmp_path / "there" / "secret.key").read_bytes() == b"k" * 32


def test_json_and_exit_codes_are_for_scripts(
    run: Run, session: Session, user: User, choose_empty_database: Callable[[], None], tmp_path: Path
) -> None:
    (layout.data_path() / "secret.key").write_bytes(b"k" * 32)
    make_dataset(session, user)
    target = tmp_path / "b.zip"
    made = answer(run("backup", str(target), "--json"))
    assert made["path"] == str(target)
    assert len(made["missing"]) == 9, "the recordings of this dataset were never there"
    assert "9 files that the database names" in run("backup", str(target), "--replace").stderr
    assert "--replace" in problem(run("backup", str(target), "--json", code=1))["error"]
    assert answer(run("restore", str(target), "--check", "--json"))["ok"]
    choose_empty_database()
    done = answer(run("restore", str(target), "--replace", "--json"))
    assert done["folder"] == str(layout.data_path())
    assert (Path(done["aside"]) / "secret.key").is_file()
    assert "--replace" in run("restore", str(target), code=1).stderr
    assert "no file" in run("restore", str(tmp_path / "none.zip"), code=2).stderr
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as other:
        other.writestr("a.txt", json.dumps({}))
    assert "no backup" in run("restore", str(tmp_path / "other.zip"), code=2).stderr
