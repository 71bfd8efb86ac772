"""How much mail one account may cause. Its address was never confirmed, so it may be a stranger's.

Counted by account and not by channel: removing a channel and adding it again changes nothing.
"""

from datetime import timedelta

from sqlalchemy import func
from sqlmodel import Session, col, delete, select

from qlora_studio.core.clock import utc_now
from qlora_studio.db.models import MailSent

PER_DAY = 50
TEST_EVERY_S = 300.0
USED_UP = f"{PER_DAY} mails were sent to you within a day, the most for one account. The bell has everything."
_DAY = timedelta(days=1)


def is_left(session: Session, *, user_id: str) -> bool:
    """Whether one more mail may be sent to this account now."""
    mine = (col(MailSent.user_id) == user_id, col(MailSent.at) > utc_now() - _DAY)
    return session.exec(select(func.count()).select_from(MailSent).where(*mine)).one() < PER_DAY


def wait_for_test_s(session: Session, *, user_id: str) -> int:
    """Seconds until the account may have another test mailed; 0 is now."""
    mine = (col(MailSent.user_id) == user_id, col(MailSent.is_test))
    last = session.exec(select(func.max(col(MailSent.at))).where(*mine)).one()
    return 0 if last is None else max(0, round(TEST_EVERY_S - (utc_now() - last).total_seconds()))


def take(session: Session, *, user_id: str, is_test: bool = False) -> MailSent:
    """Count one mail, before it is sent."""
    made = MailSent(user_id=user_id, is_test=is_test)
    session.add(made)
    session.flush()
    return made


def prune(session: Session) -> None:
    """Forget what counts no more."""
    session.execute(delete(MailSent).where(col(MailSent.at) < utc_now() - _DAY))
