"""Sessions: what is written is there, what failed is not, times stay aware."""

import math
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, text
from sqlalchemy.exc import IntegrityError
from sqlmodel import select

from qlora_studio.contracts.enums import Role, Task
from qlora_studio.core.errors import StorageFull, StudioError
from qlora_studio.db import engine as db_engine
from qlora_studio.db.engine import DatabaseBusy
from qlora_studio.db.models import Clip, Dataset, User
from tests.conftest import make_user


def test_an_exception_rolls_everything_back(data_folder):
    with pytest.raises(RuntimeError), db_engine.write() as session:
        session.add(User(username="a", username_key="a", email="a@b.c", email_key="a@b.c", password_hash="!"))
        session.flush()
        raise RuntimeError
    with db_engine.read() as session:
        assert session.exec(select(User)).all() == []


def test_times_come_back_aware_and_enums_are_stored_by_value(session):
    make_user(session, "grace", Role.ADMIN)
    with db_engine.read() as other:
        user = other.exec(select(User)).one()
        assert user.created_at.utcoffset() is not None
        assert other.exec(text('SELECT role FROM "user"')).one()[0] == "admin"


def test_foreign_keys_hold(data_folder):
    with pytest.raises(IntegrityError), db_engine.write() as session:
        session.add(Dataset(owner_id="usr_nobody", name="lost", task=Task.SPEECH_TO_TEXT))


@pytest.mark.sqlite("its journal")
def test_readers_and_a_writer_do_not_wait_for_each_other(data_folder):
    with db_engine.read() as session:
        assert session.exec(text("PRAGMA journal_mode")).one()[0] == "wal"


@pytest.mark.sqlite("its lock")
def test_a_writer_takes_the_lock_at_once(data_folder):
    with db_engine.write() as session:
        session.connection()
        other = sqlite3.connect(data_folder / "studio.db", timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()


def test_who_waits_for_another_writer_gives_up_in_time_and_changes_nothing(user):
    with db_engine.write() as session:
        session.connection()
        started = time.monotonic()
        with db_engine.waiting_at_most(0.2), pytest.raises(DatabaseBusy), db_engine.write() as other:
            other.add(Dataset(owner_id=user.id, name="late", task=Task.SPEECH_TO_TEXT))
        assert time.monotonic() - started < 5
    with db_engine.read() as session:
        assert session.exec(select(Dataset)).all() == []


def test_what_a_writer_has_read_stays_true_until_it_commits(user):
    """Each adds one to what it has read; none of them is lost."""

    def add_one(_: int) -> None:
        for _ in range(5):
            with db_engine.write() as session:
                session.get_one(User, user.id).max_queued_jobs += 1

    with db_engine.write() as session:
        session.get_one(User, user.id).max_queued_jobs = 0
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add_one, range(4)))
    with db_engine.read() as session:
        assert session.get_one(User, user.id).max_queued_jobs == 20


def test_a_reader_sees_one_moment(user):
    with db_engine.read() as reader:
        assert reader.exec(select(func.count()).select_from(Dataset)).one() == 0
        with db_engine.write() as session:
            session.add(Dataset(owner_id=user.id, name="new", task=Task.SPEECH_TO_TEXT))
        assert reader.exec(select(func.count()).select_from(Dataset)).one() == 0
    with db_engine.read() as reader:
        assert reader.exec(select(func.count()).select_from(Dataset)).one() == 1


def test_numbers_may_be_big_and_their_sums_are_whole_numbers(user):
    with db_engine.write() as session:
        for name in "ab":
            sizes = {"size_bytes": 2**52 + 1, "duration_s": 0.5, "n_clips": 3}
            session.add(Dataset(owner_id=user.id, name=name, task=Task.SPEECH_TO_TEXT, **sizes))
    with db_engine.read() as session:
        total, seconds, mean = session.exec(
            select(func.sum(Dataset.size_bytes), func.sum(Dataset.duration_s), func.avg(Dataset.n_clips))
        ).one()
    assert (total, type(total)) == (2**53 + 2, int)
    assert (seconds, mean, type(mean)) == (1.0, 3.0, float)


def test_values_come_back_as_they_were(user):
    odd = {
        "nan": math.nan,
        "most": math.inf,
        "least": -math.inf,
        "NaN": 'say "NaN" \\',
        "zero": -0.0,
        "é": [1e300],
    }
    with db_engine.write() as session:
        session.add(Dataset(owner_id=user.id, name="a", task=Task.SPEECH_TO_TEXT, source=odd))
        session.add(
            Clip(dataset_id=session.exec(select(Dataset.id)).one(), position=0, filename="a\0b", sha256="")
        )
    with db_engine.read() as session:
        found = session.exec(select(Dataset.source)).one()
        assert repr(found) == repr(odd)
        assert session.exec(select(Clip.filename)).one() in ("a\0b", "a\ufffdb")


@pytest.mark.sqlite("how its file grows")
def test_a_full_disk_is_said_and_nothing_is_kept(data_folder):
    with db_engine.read() as session:
        pages = session.exec(text("PRAGMA page_count")).one()[0]
    with pytest.raises(StorageFull), db_engine.write() as session:
        session.exec(text(f"PRAGMA max_page_count={pages}"))
        for i in range(200):
            make_user_row = User(
                username=f"u{i}",
                username_key=f"u{i}",
                email=f"{i}@b.c",
                email_key=f"{i}@b.c",
                password_hash="x" * 250,
            )
            session.add(make_user_row)
        session.flush()
    db_engine.get_engine().dispose()
    with db_engine.read() as session:
        assert session.exec(select(User)).all() == []


def test_a_driver_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(db_engine, "find_spec", lambda name: None)
    with pytest.raises(StudioError, match=r"qlora-studio\[postgresql\]"):
        db_engine.make_engine("postgresql://ada@localhost/studio")
