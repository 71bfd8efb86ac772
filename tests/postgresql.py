"""A real PostgreSQL server for tests: private, in a folder of its own, without a port, gone afterwards."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg.sql import SQL, Composed, Identifier

TO_INSTALL = "no PostgreSQL server was found: apt-get install postgresql"
# Words are sorted as most installations do, not by their bytes as in SQLite.
_INITDB = "-U studio -A trust -E UTF8 -N --locale=C.UTF-8 --locale-provider=icu --icu-locale=en-US"
# Nothing has to outlive a test, and all of it is in the folder.
_POSTGRES = (
    "-F -c synchronous_commit=off -c full_page_writes=off -c autovacuum=off -c listen_addresses= "
    "-c dynamic_shared_memory_type=mmap"
)


def find_programs() -> Path | None:
    """The folder of the newest server installed; Debian keeps them off the path."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    on_path = shutil.which("postgres")
    newest = max(found, key=lambda path: int(path.parent.name), default=None)
    return Path(on_path).parent if on_path else newest


class PostgresServer:
    """A running server: makes databases, one like another, and drops them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count(1)

    def url(self, name: str) -> str:
        """As somebody would write it into `QLORA_STUDIO_DATABASE_URL`."""
        return f"postgresql://studio@/{name}?host={quote(str(self._folder), safe='')}"

    def create(self, *, like: str = "template0") -> str:
        """Make a database and return its name. Nobody may be in the one that it is made like."""
        name = f"studio_{next(self._numbers)}"
        self._run(SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), Identifier(like)))
        return name

    def drop(self, name: str) -> None:
        """Drop a database, whoever is still in it."""
        self._run(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))

    def connect(self, name: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(self.url(name), autocommit=True)

    def _run(self, statement: Composed) -> None:
        with self.connect() as connection:
            connection.execute(statement)


@contextmanager
def running_server(programs: Path) -> Iterator[PostgresServer]:
    """Start a server and stop it at the end; it ends by itself if this process is killed."""
    folder = Path(tempfile.mkdtemp(prefix="studio-pg-"))
    data, log = folder / "data", folder / "log"
    account = _unprivileged()
    if account:
        os.chown(folder, account["user"], account["group"])
    with_us = ["setpriv", "--pdeathsig", "QUIT"] if shutil.which("setpriv") else []
    with log.open("wb") as output:
        how: dict[str, Any] = {"cwd": folder, "stdout": output, "stderr": output, **account}
        try:
            made = subprocess.run([programs / "initdb", "-D", data, *_INITDB.split()], **how)
            assert made.returncode == 0, log.read_text()
            settings = [*_POSTGRES.split(), "-c", f"unix_socket_directories={folder}"]
            process = subprocess.Popen([*with_us, programs / "postgres", "-D", data, *settings], **how)
            try:
                yield _waited_for(PostgresServer(folder), process, log)
            finally:
                process.send_signal(signal.SIGQUIT)  # at once
                process.wait(30)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _waited_for(server: PostgresServer, process: subprocess.Popen[bytes], log: Path) -> PostgresServer:
    deadline = time.monotonic() + 60
    while True:
        try:
            server.connect().close()
            return server
        except psycopg.OperationalError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "the server doesn't answer"
            time.sleep(0.05)


def _unprivileged() -> dict[str, Any]:
    """Who the server runs as where the tests are root's: it refuses to be root."""
    if os.geteuid() != 0:
        return {}
    found = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = found.get("postgres") or found["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
