"""Fixtures everybody uses: a fresh data folder, a migrated database, people."""

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlmodel import Session

from qlora_studio.contracts.enums import Role
from qlora_studio.db import engine as db_engine
from qlora_studio.db.models import User
from tests.databases import Databases, PostgresDatabases, SqliteDatabases, data_folder_with
from tests.postgresql import TO_INSTALL, find_programs, running_server

POSTGRESQL = "postgresql"


def pytest_addoption(parser: pytest.Parser) -> None:
    named = os.environ.get("QLORA_STUDIO_TEST_DATABASE", "sqlite")
    parser.addoption("--database", choices=("sqlite", POSTGRESQL), default=named, help="what tests run on")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("database") == POSTGRESQL and find_programs() is None:
        raise pytest.UsageError(TO_INSTALL)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("database") == POSTGRESQL:
        for item in items:
            if (mark := item.get_closest_marker("sqlite")) is not None:
                item.add_marker(pytest.mark.skip(reason=f"about SQLite itself: {mark.args[0]}"))


STAYING = ("renderer", "engine", "mail deadline")  # they wait for work, and never ask the database


def _is_working(thread: threading.Thread) -> bool:
    module = getattr(getattr(thread, "_target", None), "__module__", "")
    return module.startswith("qlora_studio.") and not thread.name.startswith(STAYING)


def _let_end(already: set[threading.Thread], seconds: float = 30.0) -> None:
    """Wait for what a test began and leaves: it would open the next test's database, or hand it its own.

    A thread may start another one as its last act, so they are looked for until there are none.
    """
    deadline = time.monotonic() + seconds
    while left := [
        thread for thread in threading.enumerate() if thread not in already and _is_working(thread)
    ]:
        left[0].join(max(0.0, deadline - time.monotonic()))
        assert time.monotonic() < deadline, f"the test left at work: {[thread.name for thread in left]}"


@pytest.fixture(scope="session", autouse=True)
def sql_compiled_once() -> Iterator[None]:
    """Share what SQLAlchemy has compiled between the engines of all tests: a third of a test's time else."""
    make = db_engine.make_engine
    firsts = {"sqlite": make("sqlite://")}
    firsts["sqlite"].connect().close()  # a dialect learns the database's version with its first connection

    def make_sharing(url: str) -> Engine:
        engine = make(url)
        first = firsts.setdefault(engine.dialect.name, engine)
        engine.dialect = engine.pool._dialect = first.dialect
        engine._compiled_cache = first._compiled_cache
        return engine

    db_engine.make_engine = make_sharing
    yield
    db_engine.make_engine = make


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresDatabases]:
    """Databases of a real PostgreSQL server, whatever the other tests run on."""
    programs = find_programs()
    if programs is None:
        pytest.skip(TO_INSTALL)
    with running_server(programs) as server:
        yield PostgresDatabases(server)


@pytest.fixture(scope="session")
def databases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Databases:
    """Where the tests' databases come from: `--database` says which."""
    if request.config.getoption("database") == POSTGRESQL:
        return request.getfixturevalue("postgresql")
    return SqliteDatabases(tmp_path_factory.mktemp("schema"))


@pytest.fixture
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, databases: Databases) -> Iterator[Path]:
    """A data folder of this test's own, with the newest schema."""
    with data_folder_with(databases, tmp_path / "data", monkeypatch) as folder:
        already = set(threading.enumerate())
        yield folder
        _let_end(already)


@pytest.fixture
def database_to_fill(databases: Databases) -> Iterator[str]:
    """The empty database that a backup is restored into, by its URL; "" where it brings its own file."""
    with databases.empty() as url:
        yield url


@pytest.fixture
def session(data_folder: Path) -> Iterator[Session]:
    """An open writing session; the test commits what other sessions should see."""
    with Session(db_engine.get_engine(), expire_on_commit=False) as opened:
        yield opened


@pytest.fixture
def decoding_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take datasets in without child processes: they have their own tests; elsewhere they only cost time."""
    from qlora_studio.audio import decode
    from qlora_studio.ingest import pipeline

    class DecoderHere(pipeline.DecoderPool):
        def __enter__(self) -> "DecoderHere":
            return self

        def inspect_many(self, paths: Sequence[Path]) -> list[decode.ClipFacts | str]:
            return [self._inspected(path) for path in paths]

        def _inspected(self, path: Path) -> decode.ClipFacts | str:
            try:
                return decode.inspect(path, max_clip_s=self._max_clip_s)
            except decode.Unusable as refusal:
                return str(refusal)

    monkeypatch.setattr(pipeline, "DecoderPool", DecoderHere)


def make_user(session: Session, name: str, role: Role = Role.TRAINER) -> User:
    """Store a user who can't sign in (no password)."""
    user = User(
        username=name,
        username_key=name.casefold(),
        email=f"{name}@example.org",
        email_key=f"{name}@example.org".casefold(),
        password_hash="!",
        role=role,
    )
    session.add(user)
    session.commit()
    return user


@pytest.fixture
def user(session: Session) -> User:
    return make_user(session, "ada")


@pytest.fixture
def stranger(session: Session) -> User:
    return make_user(session, "mallory")


@pytest.fixture
def saw(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Say what was measured, for the table of faults or attacks."""

    def note(text: str) -> None:
        record_property("saw", text)

    return note


def pytest_collection_finish() -> None:
    """What was imported stays: the collector needn't look through it again and again."""
    gc.collect()
    gc.freeze()
