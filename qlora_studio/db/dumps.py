"""The whole database as one file, as it was at one moment, taken while others write; and back again."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Engine, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DatabaseError

from qlora_studio.core.errors import Conflict, StudioError, Unavailable
from qlora_studio.db.engine import BUSY_TIMEOUT_S, make_engine

_TOLD = 400  # characters of what a tool complains about


def sqlite_path(url: str) -> Path | None:
    """The file of an SQLite database; None for another kind."""
    parsed = make_url(url)
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:")
    return Path(str(parsed.database)).absolute() if is_file else None


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    """An engine for as long as the block runs; what goes wrong with it is told in a sentence.

    Raises:
        Unavailable: the database can't be reached or asked.
    """
    engine = make_engine(url)
    try:
        yield engine
    except DatabaseError as error:
        why = " ".join(str(error.orig).split())[:_TOLD]
        raise Unavailable(
            f"The database can't be asked ({why}). Check QLORA_STUDIO_DATABASE_URL, and try again."
        ) from error
    finally:
        engine.dispose()


def take(url: str, path: Path) -> None:
    """Write the database of `url` to the file `path`, readable by its owner only.

    Raises:
        Unavailable: PostgreSQL's tools are missing.
        StudioError: the database can't be read; the text says why.
    """
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    source = sqlite_path(url)
    if source is None:
        _run_tool("pg_dump", make_url(url), "--format=custom", f"--file={path}")
    else:
        _copy_sqlite(source, path)


def _copy_sqlite(source: Path, path: Path) -> None:
    """SQLite's online backup in one step: a read transaction, which holds up no writer."""
    try:
        with (
            closing(sqlite3.connect(f"{source.as_uri()}?mode=rw", uri=True, timeout=BUSY_TIMEOUT_S)) as live,
            closing(sqlite3.connect(path)) as copy,
        ):
            live.backup(copy, pages=-1)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
    except sqlite3.Error as error:
        raise StudioError(f"The database {source} can't be copied ({error}).") from error


def put_back(url: str, path: Path) -> None:
    """Fill the empty PostgreSQL database of `url` with what `take` wrote; all of it or nothing.

    Raises:
        Conflict: there is something in it already.
        Unavailable: PostgreSQL's tools are missing.
        StudioError: it could not be filled.
    """
    _run_tool("pg_restore", make_url(url), "--single-transaction", "--exit-on-error", str(path))


def refuse_filled(engine: Engine) -> None:
    """Make sure that a database holds nothing yet.

    Raises:
        Conflict: it does.
    """
    if inspect(engine).get_table_names():
        raise Conflict(
            "The database of QLORA_STUDIO_DATABASE_URL holds tables already. Make an empty one (createdb), "
            "name it there, and restore again."
        )


def read_revision(engine: Engine) -> str:
    """The newest migration that a database has; empty if it was never set up."""
    try:
        with engine.connect() as connection:
            return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")
    except DatabaseError:
        return ""


def find_damage(engine: Engine) -> str | None:
    """What is wrong with an SQLite database: a damaged page or index, or a row that names none."""
    if engine.dialect.name != "sqlite":
        return None
    try:
        with engine.connect() as connection:
            found = connection.execute(text("PRAGMA integrity_check")).scalar()
            if found != "ok":
                return str(found)[:_TOLD]
            row = connection.execute(text("PRAGMA foreign_key_check")).first()
    except DatabaseError as error:
        return str(error.orig)[:_TOLD]
    return f"a row of {row[0]} names one of {row[2]} that isn't there" if row else None


def _run_tool(name: str, url: URL, *arguments: str) -> None:
    """Run one of PostgreSQL's tools; the password goes by the environment, where other users can't see it."""
    tool = shutil.which(name)
    if tool is None:
        raise Unavailable(
            f"{name} isn't installed, which a PostgreSQL database is copied with. Install PostgreSQL's "
            "client tools (Debian: apt install postgresql-client), of the server's version or newer, and try "
            "again."
        )
    password = {"PGPASSWORD": url.password} if isinstance(url.password, str) else {}
    address = URL.create(
        "postgresql", url.username, None, url.host, url.port, url.database, url.query
    ).render_as_string()
    done = subprocess.run(
        [tool, "--no-password", "--no-owner", "--no-privileges", f"--dbname={address}", *arguments],
        env=os.environ | password,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode != 0:
        lines = " ".join(done.stderr.split())
        raise StudioError(f"{name} failed: {lines[-_TOLD:] or f'status {done.returncode}'}")
