"""On a real PostgreSQL server, whatever the other tests run on: schema, a working day, two at once, faults.

`make test-postgresql` runs the other tests there as well.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from alembic import command
from sqlalchemy import inspect, text, update
from sqlmodel import select

from qlora_studio.contracts.enums import ACTIVE_STATUSES, JobStatus, Task
from qlora_studio.core.errors import StorageFull
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db
from qlora_studio.db import migrations
from qlora_studio.db.engine import DatabaseBusy
from qlora_studio.db.models import Dataset, Job, User
from qlora_studio.jobs import supervisor
from qlora_studio.jobs.supervisor import Supervisor
from qlora_studio.launchers.local import LocalLauncher
from qlora_studio.services import accounts, clips, datasets, jobs
from qlora_studio.storage import layout
from scripts.running import sign_up, start_server
from tests.conftest import make_user
from tests.databases import PostgresDatabases, data_folder_with
from tests.jobs.workbench import make_dataset, make_model, make_spec

PASSWORD = "blue-harbour-42-rain"
pytestmark = pytest.mark.slow


_NO_ROOM = "DO $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = '53100'; END $$"
# as a restart of the server does to those that wait in the pool
_END_OTHERS = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid != pg_backend_pid() AND datname = current_database()"""


@pytest.fixture
def data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgresql: PostgresDatabases
) -> Iterator[Path]:
    with data_folder_with(postgresql, tmp_path / "data", monkeypatch) as folder:
        yield folder


@pytest.fixture
def queued(data_folder: Path) -> list[str]:
    """Two people's jobs, for one slot."""
    made = []
    for name in ("ada", "grace"):
        with db.write() as session:
            person = make_user(session, name)
            spec = make_spec(make_dataset(session, person), make_model(session, person))
            made.append(jobs.submit(session, actor=person, spec=spec).id)
    return made


def test_a_plain_address_is_served_by_psycopg(data_folder: Path) -> None:
    with db.read() as session:
        assert session.connection().dialect.driver == "psycopg"
        assert session.connection().dialect.server_version_info >= (15,)


def test_the_schema_goes_down_and_up_again(data_folder: Path) -> None:
    before = set(inspect(db.get_engine()).get_table_names())
    command.downgrade(migrations.make_config(), "base")
    assert set(inspect(db.get_engine()).get_table_names()) == {"alembic_version"}
    assert not migrations.is_current(db.get_engine())
    migrations.upgrade()
    assert set(inspect(db.get_engine()).get_table_names()) == before


def test_from_the_first_account_to_a_queued_job(data_folder: Path) -> None:
    with db.write() as session:
        ada = accounts.sign_up(
            session, username="Ada", email="ada@example.org", password="blue-harbour-42-rain"
        )
    with db.write() as session:
        dataset, model = make_dataset(session, ada), make_model(session, ada)
    with db.read() as session:
        assert datasets.list_datasets(session, actor=ada, query="CENTRE")[1] == 1
        assert datasets.list_datasets(session, actor=ada, query="centres")[1] == 0
        found, n = clips.list_clips(session, actor=ada, dataset_id=dataset.id, query="press 3")
        assert (n, [clip.filename for clip in found]) == (1, ["3.flac"])
    with db.write() as session:
        job = jobs.submit(session, actor=ada, spec=make_spec(dataset, model), launch_key="once")
    with db.write() as session:
        assert jobs.submit(session, actor=ada, spec=make_spec(dataset, model), launch_key="once").id == job.id
        assert session.get_one(Job, job.id).status is JobStatus.QUEUED


class _Nowhere:
    def launch(self, attempt_path: Path) -> None:
        """Nothing is started: only who is let out of the queue is looked at."""


def test_one_slot_is_never_given_twice_when_several_look_at_once(queued: list[str]) -> None:
    for _ in range(20):
        at_once = threading.Barrier(4)

        def look(one: Supervisor, at_once: threading.Barrier = at_once) -> None:
            at_once.wait(30)
            one.tick(review=True)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(look, [Supervisor(_Nowhere()) for _ in range(4)]))
        with db.write() as session:
            statuses = [session.get_one(Job, job_id).status for job_id in queued]
            assert sum(status in ACTIVE_STATUSES for status in statuses) == 1, statuses
            session.exec(update(Job).values(status=JobStatus.QUEUED))


def test_a_killed_writer_leaves_nothing_and_holds_up_nobody(data_folder: Path, user: User) -> None:
    with pytest.raises(DatabaseBusy), db.read() as watching, db.write() as session:
        session.add(Dataset(owner_id=user.id, name="half", task=Task.SPEECH_TO_TEXT))
        session.flush()
        own = session.connection().execute(text("SELECT pg_backend_pid()")).scalar_one()
        watching.connection().execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": own})
        session.exec(select(Dataset)).all()
    with db.write() as session:
        assert session.exec(select(Dataset)).all() == []


def test_a_job_is_followed_to_its_end_though_connections_break_all_the_time(
    data_folder: Path, queued: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QLORA_STUDIO_TOY_STEP_S", "0.2")
    job_id, other_id = queued
    with db.write() as session:
        session.get_one(Job, other_id).status = JobStatus.STOPPED
    end = threading.Event()
    thread = threading.Thread(target=supervisor.run, args=(end, LocalLauncher("toy")))
    thread.start()
    breaking = db.make_engine(get_settings().resolved_database_url)
    n_broken = 0
    try:
        deadline = time.monotonic() + 60
        while not layout.attempt_path(job_id, 1).joinpath("exit.json").exists():
            assert time.monotonic() < deadline
            with breaking.connect() as connection:
                n_broken += len(connection.execute(text(_END_OTHERS)).all())
            time.sleep(0.02)
        while True:
            with breaking.connect() as connection:
                status, step = connection.execute(select(Job.status, Job.step).where(Job.id == job_id)).one()
            if status not in ACTIVE_STATUSES:
                break
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        end.set()
        supervisor.wake()
        thread.join(30)
        breaking.dispose()
    assert (status, step) == (JobStatus.SUCCEEDED, 8)
    assert n_broken > 10


def test_a_server_that_is_killed_goes_on_with_it(data_folder: Path) -> None:
    server = start_server(data_folder)
    try:
        headers = {"Authorization": f"Bearer {sign_up(server)}"}
        before = server.serving.pid
        os.kill(before, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while True:
            with suppress(httpx.TransportError):
                answer = httpx.get(f"{server.base}/api/v1/datasets", headers=headers, timeout=5)
                break
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert (answer.status_code, answer.json()["total"]) == (200, 0)
        assert server.serving.pid != before
    finally:
        server.stop()
    assert not (data_folder / "studio.db").exists()


def test_a_full_disk_is_said(data_folder: Path) -> None:
    with pytest.raises(StorageFull), db.write() as session:
        session.connection().execute(
            text("DO $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = '53100'; END $$")
        )


def test_a_server_that_is_not_there_is_said_and_found_again(
    data_folder: Path, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = db.make_engine("postgresql://studio@127.0.0.1:1/nothing")
    with monkeypatch.context() as patch, pytest.raises(DatabaseBusy, match="reached"):
        patch.setattr(db, "get_engine", lambda: gone)
        with db.read() as session:
            session.exec(select(User)).all()
    with pytest.raises(DatabaseBusy, match="reached"):
        migrations.upgrade(gone)
    with db.read() as session:
        session.exec(select(User)).one()
        session.connection().execute(text(_END_OTHERS))
    with db.read() as session:
        assert session.exec(select(User)).one().id == user.id


def test_reading_can_not_write(data_folder: Path, user: User) -> None:
    with pytest.raises(Exception, match="read-only"), db.read() as session:
        session.add(Dataset(owner_id=user.id, name="no", task=Task.SPEECH_TO_TEXT))
        session.flush()
