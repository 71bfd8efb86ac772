"""What accounts own, how much room it takes, and how it goes to somebody else."""

from dataclasses import dataclass, field
from typing import Any, Self

from sqlalchemy import delete, func, update
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import ACTIVE_STATUSES
from qlora_studio.core.errors import Conflict
from qlora_studio.db.models import (
    Adapter,
    BaseAudioModel,
    Credential,
    Dataset,
    Dictation,
    HubPush,
    IdempotencyKey,
    Job,
    JobGroup,
    ListeningTest,
    Notification,
    NotificationChannel,
    PromptTemplate,
    User,
    WizardDraft,
)

_KINDS: dict[str, Any] = {
    "dataset": Dataset,
    "model": BaseAudioModel,
    "job": Job,
    "adapter": Adapter,
    "listening test": ListeningTest,
}
_GIVEN = (*_KINDS.values(), JobGroup, Dictation, HubPush)
_PRIVATE = (Notification, NotificationChannel, WizardDraft, IdempotencyKey)


@dataclass
class Belongings:
    """How many things of each kind an account owns, and their bytes on the disk."""

    counts: dict[str, int] = field(default_factory=dict)
    n_bytes: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, session: Session, user_ids: list[str]) -> dict[str, Self]:
        """Count for several accounts at once."""
        found = {user_id: cls() for user_id in user_ids}
        for kind, table in _KINDS.items():
            size = _size(table)
            query = select(table.owner_id, func.count(), func.coalesce(func.sum(size), 0))
            rows = session.exec(query.where(table.owner_id.in_(user_ids)).group_by(table.owner_id))
            for user_id, n, n_bytes in rows:
                found[user_id].counts[kind] = n
                if n_bytes:
                    found[user_id].n_bytes[kind] = int(n_bytes)
        return found

    def names(self) -> list[str]:
        """`3 datasets`, `1 job`, … for people; only kinds of which there are some."""
        return [f"{n:,} {kind}{'' if n == 1 else 's'}" for kind, n in self.counts.items() if n]

    @staticmethod
    def hand_over(session: Session, user: User, heir: User) -> None:
        """Give all of it to somebody else, shared as it is.

        Raises:
            Conflict: a job of it runs now.
        """
        running = select(func.count()).where(
            col(Job.owner_id) == user.id, col(Job.status).in_(ACTIVE_STATUSES)
        )
        if session.exec(running).one():
            raise Conflict(f"A job of {user.username} is running. Stop it, or wait until it has ended.")
        # the heir's own default adapter of a model stays the default
        session.exec(update(Adapter).where(col(Adapter.owner_id) == user.id).values(is_active=False))
        for table in _GIVEN:
            session.exec(update(table).where(table.owner_id == user.id).values(owner_id=heir.id))
        session.expire_all()

    @staticmethod
    def remove_private(session: Session, user: User) -> None:
        """Delete what is of no use to anybody else."""
        for table in _PRIVATE:
            session.exec(delete(table).where(table.user_id == user.id))
        for table in (Credential, PromptTemplate):
            session.exec(delete(table).where(table.owner_id == user.id))


def _size(table: Any) -> Any:
    """A row's bytes on the disk: a job has a run folder, a listening test nothing of its own."""
    if table is Job:
        return Job.actual["disk_bytes"].as_integer()  # type: ignore[index, attr-defined]
    return table.size_bytes if hasattr(table, "size_bytes") else 0
