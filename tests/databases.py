"""The database that a test gets: of SQLite, or of a PostgreSQL server (`pytest --database postgresql`)."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db_engine
from qlora_studio.db import migrations
from tests.postgresql import PostgresServer


class SqliteDatabases:
    """Files, copied from one that was migrated once: migrating costs more than copying."""

    def __init__(self, folder: Path) -> None:
        self._migrated = folder / "studio.db"
        _migrate(f"sqlite:///{self._migrated}")  # the last connection folds the write-ahead log into the file

    @contextmanager
    def fresh(self, folder: Path) -> Iterator[str]:
        """A database of one test's own, by its URL; "" for the one that a data folder has by itself."""
        shutil.copyfile(self._migrated, folder / "studio.db")
        yield ""

    @contextmanager
    def empty(self) -> Iterator[str]:
        """A database without tables, by its URL; "" because a folder's own needs none to be there."""
        yield ""


class PostgresDatabases:
    """Databases of a server, made like one that was migrated once."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._migrated = server.create()
        _migrate(server.url(self._migrated))

    @contextmanager
    def fresh(self, folder: Path) -> Iterator[str]:
        """A database of one test's own, by its URL."""
        with self._dropped(self._server.create(like=self._migrated)) as url:
            yield url

    @contextmanager
    def empty(self) -> Iterator[str]:
        """A database without tables, by its URL."""
        with self._dropped(self._server.create()) as url:
            yield url

    @contextmanager
    def _dropped(self, name: str) -> Iterator[str]:
        try:
            yield self._server.url(name)
        finally:
            self._server.drop(name)


Databases = SqliteDatabases | PostgresDatabases


@contextmanager
def data_folder_with(databases: Databases, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make `folder` the data folder, with a database of its own."""
    folder.mkdir()
    with databases.fresh(folder) as url:
        monkeypatch.setenv("QLORA_STUDIO_DATA", str(folder))
        monkeypatch.setenv("QLORA_STUDIO_DATABASE_URL", url)
        forget_engine()
        yield folder
        forget_engine()


def is_sqlite() -> bool:
    """Whether this test runs on SQLite."""
    return db_engine.get_engine().dialect.name == "sqlite"


def forget_engine() -> None:
    """Have the next one who asks read the settings anew and open the database anew."""
    if db_engine.get_engine.cache_info().currsize:
        db_engine.get_engine().dispose()
    db_engine.get_engine.cache_clear()
    get_settings.cache_clear()


def _migrate(url: str) -> None:
    engine = db_engine.make_engine(url)
    migrations.upgrade(engine)
    engine.dispose()
