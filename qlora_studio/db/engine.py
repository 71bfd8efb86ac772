"""One engine per process and two ways to open a session.

`read()` never writes, and sees one moment. `write()` is alone: what it has read stays true until it commits,
which compare-and-set, the counting of slots and all tallies rely on. It commits when the block ends well.

SQLite has one writer anyway; `BEGIN IMMEDIATE` takes its lock at once, so that a transaction that has read
never fails half-way for want of it. On PostgreSQL the same is one advisory lock, taken before the first
statement and let go with the transaction, also when its process is killed. Row locks would let more writers
work side by side, but each count would need its own, and `SERIALIZABLE` would need every caller to try again;
writes here take milliseconds, and training writes to files, so one at a time is enough. Isolation is READ
COMMITTED there: a snapshot of the whole transaction would be older than the lock.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from sqlalchemy import URL, Engine, event, make_url
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, create_engine

from qlora_studio.core.errors import StorageFull, StudioError
from qlora_studio.core.settings import get_settings
from qlora_studio.db import psycopg_values

_WRITE = "studio_write"
_ADVISORY_LOCK = int.from_bytes(b"qlora")  # one for each database
_FULL = "53100"
_BUSY = ("40001", "40P01", "53300", "55P03", "57014")  # lost a race, too many at once, waited too long
_AWAY = ("08", "57P")  # what the states begin with when the server is going down or up, or is out of reach
BUSY_TIMEOUT_S = 15
_patience: ContextVar[float] = ContextVar("patience", default=BUSY_TIMEOUT_S)


class DatabaseBusy(StudioError):
    """Another process held the database for longer than the busy timeout; nothing was changed."""

    status = 503
    title = "Busy"


def make_engine(url: str) -> Engine:
    """Return an engine for `url`.

    SQLite gets WAL, foreign keys and explicit transactions. `postgresql://` is served by psycopg 3.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _make_sqlite(parsed)
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    return _make_postgresql(parsed)


def _make_sqlite(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we send BEGIN ourselves
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        is_write = connection.get_execution_options().get(_WRITE, False)
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {round(1000 * _patience.get())}")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")

    return engine


def _make_postgresql(url: URL) -> Engine:
    if url.drivername == "postgresql+psycopg" and find_spec("psycopg") is None:
        raise StudioError("PostgreSQL needs its driver: pip install 'qlora-studio[postgresql]'")
    if "connect_timeout" not in url.query:
        url = url.update_query_dict({"connect_timeout": str(BUSY_TIMEOUT_S)})
    engine = create_engine(
        url,
        pool_pre_ping=True,
        isolation_level="READ COMMITTED",
        json_serializer=psycopg_values.dump_json,
        json_deserializer=psycopg_values.load_json,
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        psycopg_values.register(connection)

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        if connection.get_execution_options().get(_WRITE, False):
            patience = max(1, round(1000 * _patience.get()))  # 0 would be for ever
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {patience}")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")

    return engine


@lru_cache(maxsize=1)
def get_engine() -> Engine:
    """Return the process's engine; the data folder is made if it is missing."""
    settings = get_settings()
    settings.data_path.mkdir(parents=True, exist_ok=True)
    return make_engine(settings.resolved_database_url)


@lru_cache(maxsize=1)
def _reading(engine: Engine) -> Engine:
    """The same engine for reading: PostgreSQL is told, and keeps one moment in view as SQLite does."""
    if engine.dialect.name != "postgresql":
        return engine
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


@contextmanager
def read() -> Iterator[Session]:
    """Open a session for reading."""
    with translated(), Session(_reading(get_engine()), expire_on_commit=False) as session:
        yield session


@contextmanager
def write() -> Iterator[Session]:
    """Open a session for writing and commit at the end; any exception rolls all of it back.

    Raises:
        StorageFull: the database's volume is full.
        DatabaseBusy: the write lock was not free within `BUSY_TIMEOUT_S` seconds (see `waiting_at_most`), or
            the database's server can't be reached.
    """
    engine = get_engine().execution_options(**{_WRITE: True})
    with translated(), Session(engine, expire_on_commit=False) as session:
        yield session
        session.commit()


@contextmanager
def waiting_at_most(seconds: float) -> Iterator[None]:
    """Give up sooner inside this block when another process holds the database; for who can try again."""
    before = _patience.set(seconds)
    try:
        yield
    finally:
        _patience.reset(before)


@contextmanager
def translated() -> Iterator[None]:
    """Raise what a full, busy or unreachable database means instead of its driver's error."""
    try:
        yield
    except OperationalError as error:
        said = _meaning(error)
        if said is None:
            raise
        raise said from error


def _meaning(error: OperationalError) -> StudioError | None:
    """What a failure of the database means to whoever asked; None for a fault of ours."""
    text = str(error.orig).lower()
    state = getattr(error.orig, "sqlstate", None) or ""  # PostgreSQL's; none where no connection was made
    is_sqlite = type(error.orig).__module__.startswith("sqlite3")
    if state == _FULL if not is_sqlite else ("full" in text or "no space" in text):
        return StorageFull("The disk is full. Free some space and try again; nothing was changed.")
    if state in _BUSY if not is_sqlite else ("locked" in text or "busy" in text):
        return DatabaseBusy("The database is busy. Try again in a moment; nothing was changed.")
    if not is_sqlite and (not state or state.startswith(_AWAY)):
        return DatabaseBusy("The database can't be reached. Look again in a moment.")
    return None
