"""What is done once a transaction is on disk, and not at all when it is rolled back."""

from collections.abc import Callable

from sqlalchemy import event
from sqlmodel import Session

_WAITING = "after_commit"


def after_commit(session: Session, act: Callable[[], object]) -> None:
    """Call `act` when what the session has written is committed; forget it if that is rolled back.

    A session's own `after_commit` listener outlives a rollback: it would act upon the next commit, for
    something that was never written.
    """
    if _WAITING not in session.info:
        session.info[_WAITING] = []
        event.listen(session, "after_commit", _act)
        event.listen(session, "after_rollback", _forget)
    session.info[_WAITING].append(act)


def _act(session: Session) -> None:
    waiting, session.info[_WAITING] = session.info[_WAITING], []
    for act in waiting:
        act()


def _forget(session: Session) -> None:
    session.info[_WAITING] = []
