"""What is done after a commit, and not after a rollback."""

from sqlmodel import Session

from qlora_studio.db import engine as db
from qlora_studio.db.commits import after_commit


def test_it_is_done_once_and_in_order(data_folder) -> None:
    done: list[str] = []
    with db.write() as session:
        after_commit(session, lambda: done.append("first"))
        after_commit(session, lambda: done.append("second"))
        assert done == []
    assert done == ["first", "second"]


def test_what_is_rolled_back_is_forgotten_by_the_next_commit(data_folder) -> None:
    done: list[str] = []
    with Session(db.get_engine()) as session:
        session.connection()
        after_commit(session, lambda: done.append("lost"))
        session.rollback()
        session.connection()
        after_commit(session, lambda: done.append("kept"))
        session.commit()
        session.connection()
        session.commit()
    assert done == ["kept"]
