"""Sessions: what is written is there, what failed is not, times stay aware."""

import sqlite3

import pytest
from sqlalchemy import text
from sqlmodel import select

from qlora_studio.contracts.enums import Role
from qlora_studio.core.errors import StorageFull
from qlora_studio.db import engine as db_engine
from qlora_studio.db.models import User
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
        assert other.exec(text("SELECT role FROM user")).one()[0] == "admin"


def test_foreign_keys_hold(data_folder):
    with db_engine.read() as session:
        assert session.exec(text("PRAGMA foreign_keys")).one()[0] == 1
        assert session.exec(text("PRAGMA journal_mode")).one()[0] == "wal"


def test_a_writer_takes_the_lock_at_once(data_folder):
    with db_engine.write() as session:
        session.connection()
        other = sqlite3.connect(data_folder / "studio.db", timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()


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
