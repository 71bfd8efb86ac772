"""One engine per process and two ways to open a session.

`read()` never writes. `write()` takes SQLite's write lock at once (`BEGIN IMMEDIATE`), so that a transaction
that has read never fails half-way for want of the lock, and commits when the block ends well.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, create_engine

from qlora_studio.core.errors import StorageFull, StudioError
from qlora_studio.core.settings import get_settings

_WRITE = "studio_write"
BUSY_TIMEOUT_S = 15
_patience: ContextVar[float] = ContextVar("patience", default=BUSY_TIMEOUT_S)


class DatabaseBusy(StudioError):
    """Another process held the database for longer than the busy timeout; nothing was changed."""

    status = 503
    title = "Busy"


def make_engine(url: str) -> Engine:
    """Return an engine for `url`. SQLite gets WAL, foreign keys and explicit transactions."""
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True)
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


@lru_cache(maxsize=1)
def get_engine() -> Engine:
    """Return the process's engine; the data folder is made if it is missing."""
    settings = get_settings()
    settings.data_path.mkdir(parents=True, exist_ok=True)
    return make_engine(settings.resolved_database_url)


@contextmanager
def read() -> Iterator[Session]:
    """Open a session for reading."""
    with _translated(), Session(get_engine(), expire_on_commit=False) as session:
        yield session


@contextmanager
def write() -> Iterator[Session]:
    """Open a session for writing and commit at the end; any exception rolls all of it back.

    Raises:
        StorageFull: the database's volume is full.
        DatabaseBusy: the write lock was not free within `BUSY_TIMEOUT_S` seconds (see `waiting_at_most`).
    """
    engine = get_engine().execution_options(**{_WRITE: True})
    with _translated(), Session(engine, expire_on_commit=False) as session:
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
def _translated() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        text = str(error.orig).lower()
        if "full" in text or "no space" in text:
            raise StorageFull(
                "The disk is full. Free some space and try again; nothing was changed."
            ) from error
        if "locked" in text or "busy" in text:
            raise DatabaseBusy("The database is busy. Try again in a moment; nothing was changed.") from error
        raise
