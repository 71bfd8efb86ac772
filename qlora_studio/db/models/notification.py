"""What a person is told of, where else they want to be told, and whether that has arrived."""
# pyright: reportAssignmentType=false

from datetime import datetime
from typing import Any

from sqlmodel import Field, SQLModel

from qlora_studio.core.clock import utc_now
from qlora_studio.core.ids import new_id
from qlora_studio.db.columns import JsonType, UtcDateTime


class Notification(SQLModel, table=True):
    """One piece of news for one person. `kind` is what happened, `href` the page that shows it.

    `data` is what webhooks are told beside the text: the `job` as it was when this was written.
    """

    __tablename__ = "notification"

    id: str = Field(default_factory=lambda: new_id("ntf"), primary_key=True, max_length=32)
    user_id: str = Field(foreign_key="user.id", ondelete="CASCADE", index=True, max_length=32)
    job_id: str | None = Field(default=None, foreign_key="job.id", ondelete="SET NULL", max_length=32)
    kind: str = Field(max_length=32)
    title: str = Field(max_length=200)
    body: str = Field(default="", max_length=2000)
    href: str = Field(default="", max_length=200)
    data: dict[str, Any] = Field(default_factory=dict, sa_type=JsonType)  # type: ignore[arg-type]
    created_at: datetime = Field(default_factory=utc_now, index=True, sa_type=UtcDateTime)
    read_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class NotificationChannel(SQLModel, table=True):
    """A way to reach a person beside the bell. `kind` is webhook or email.

    `target` is a webhook's address; e-mail goes to the account's own address, whichever that is then.
    `ciphertext` holds a webhook's secret, sealed. `kinds` are what is told over it, all if there are none.
    `n_failures` counts the tries that failed since the last that didn't; `last_error` is of the last one.
    """

    __tablename__ = "notification_channel"

    id: str = Field(default_factory=lambda: new_id("chn"), primary_key=True, max_length=32)
    user_id: str = Field(foreign_key="user.id", ondelete="CASCADE", index=True, max_length=32)
    kind: str = Field(max_length=32)
    target: str = Field(default="", max_length=2000)
    ciphertext: str = Field(default="", max_length=2000)
    kinds: list[str] = Field(default_factory=list, sa_type=JsonType)  # type: ignore[arg-type]
    is_on: bool = Field(default=True)
    last_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_error: str = Field(default="", max_length=500)
    n_failures: int = Field(default=0)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class Delivery(SQLModel, table=True):
    """One notification on its way over one channel. `next_at` is when it is tried again.

    Whoever sends it has until `next_at`; then it is taken to have died, and another one sends it.
    """

    __tablename__ = "delivery"

    notification_id: str = Field(
        foreign_key="notification.id", ondelete="CASCADE", primary_key=True, max_length=32
    )
    channel_id: str = Field(
        foreign_key="notification_channel.id", ondelete="CASCADE", primary_key=True, max_length=32
    )
    status: str = Field(default="waiting", index=True, max_length=32)
    n_tries: int = Field(default=0)
    next_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    error: str = Field(default="", max_length=500)


class MailSent(SQLModel, table=True):
    """One mail that an account caused, kept for a day, so that there is a bound."""

    __tablename__ = "mail_sent"

    id: int | None = Field(default=None, primary_key=True)
    user_id: str = Field(foreign_key="user.id", ondelete="CASCADE", index=True, max_length=32)
    is_test: bool = Field(default=False)
    at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
