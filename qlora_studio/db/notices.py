"""The one place that writes a notification down, in the transaction of what it tells of.

So it is there exactly if that happened, and exactly once. With it go rows for each way that the person wants
to be reached; `services.deliveries` sends them.
"""

import re
import unicodedata
from typing import Any

from sqlmodel import Session, col, select

from qlora_studio.contracts.notices import NoticeKind
from qlora_studio.core import bell
from qlora_studio.db.commits import after_commit
from qlora_studio.db.models import Delivery, Job, Notification, NotificationChannel

MAX_TITLE, MAX_BODY = 200, 2000
_TURNS_TEXT_ROUND = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_HREF = re.compile(r"/(?:[A-Za-z0-9_\-./?=&#%]{0,199})")


def add(
    session: Session,
    *,
    user_id: str,
    kind: NoticeKind,
    title: str,
    body: str = "",
    href: str = "",
    job_id: str | None = None,
) -> Notification:
    """Tell a person something, once the transaction is committed.

    Args:
        title: one line: what happened, with the thing's name.
        body: the result, or the reason and what to do; cut at 2,000 characters.
        href: the page that shows it, a path of this site.
        job_id: the job it is about; webhooks are told how it is now.

    Raises:
        ValueError: `href` is no path of this site.
    """
    if href and (not _HREF.fullmatch(href) or href.startswith("//")):
        raise ValueError(f"not a path of this site: {href!r}")
    made = Notification(
        user_id=user_id,
        job_id=job_id,
        kind=kind.value,
        title=" ".join(plain(title).split())[:MAX_TITLE],
        body=plain(body).strip()[:MAX_BODY],
        href=href,
        data={"job": _as_it_is(session, job_id)} if job_id else {},
    )
    session.add(made)
    session.flush()
    for channel in _channels_for(session, user_id, kind):
        session.add(Delivery(notification_id=made.id, channel_id=channel.id))
    after_commit(session, lambda: bell.ring(user_id))
    return made


def _as_it_is(session: Session, job_id: str) -> dict[str, Any] | None:
    """A job as webhooks are told of it: now, since by the time of sending it may have been resumed."""
    session.flush()
    job = session.get(Job, job_id, populate_existing=True)
    if job is None:
        return None
    return {
        "id": job.id,
        "name": job.name,
        "status": job.status.value,
        "reason": job.reason.value if job.reason is not None else None,
        "metrics": {"best": job.best_metrics, "base": job.base_metrics},
    }


def plain(text: str) -> str:
    """Text without control characters, which would act on terminals and mails, or turn it round."""
    return "".join(c if c == "\n" or not _acts(c) else " " for c in text)


def _acts(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs") or character in _TURNS_TEXT_ROUND


def _channels_for(session: Session, user_id: str, kind: NoticeKind) -> list[NotificationChannel]:
    query = select(NotificationChannel).where(
        col(NotificationChannel.user_id) == user_id, col(NotificationChannel.is_on)
    )
    return [channel for channel in session.exec(query) if not channel.kinds or kind.value in channel.kinds]
