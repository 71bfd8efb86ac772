"""Accounts, their sessions and tokens, and the tries that failed."""
# pyright: reportAssignmentType=false

from datetime import datetime

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel

from qlora_studio.contracts.enums import Role, TokenScope
from qlora_studio.core.clock import utc_now
from qlora_studio.core.ids import new_id
from qlora_studio.db.columns import UtcDateTime, enum_type


class User(SQLModel, table=True):
    """A person. `username_key` and `email_key` are the case-folded forms that must be unique.

    `name` is what others read; without one it is the username. `max_bytes` and `max_queued_jobs` are limits
    of this account's own; None: those of the settings. One that is disabled can't
    sign in. Of a deleted one only the row stays, for what it rated: `deleted_at` says so.
    """

    __tablename__ = "user"

    id: str = Field(default_factory=lambda: new_id("usr"), primary_key=True, max_length=32)
    username: str = Field(max_length=64)
    username_key: str = Field(max_length=64, unique=True)
    email: str = Field(max_length=254)
    email_key: str = Field(max_length=254, unique=True)
    password_hash: str = Field(max_length=255)
    role: Role = Field(default=Role.TRAINER, sa_type=enum_type(Role))  # type: ignore[arg-type]
    theme: str = Field(default="system", max_length=16)
    name: str = Field(default="", max_length=120)
    disabled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    deleted_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    max_bytes: int | None = Field(default=None, sa_type=BigInteger)
    max_queued_jobs: int | None = Field(default=None)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class AuthSession(SQLModel, table=True):
    """A signed-in browser or client. Only the SHA-256 of its token is kept."""

    __tablename__ = "auth_session"

    id: str = Field(default_factory=lambda: new_id("ses"), primary_key=True, max_length=32)
    token_hash: str = Field(max_length=64, unique=True)
    user_id: str = Field(foreign_key="user.id", index=True, ondelete="CASCADE", max_length=32)
    user_agent: str = Field(default="", max_length=255)
    peer: str = Field(default="", max_length=64)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    last_seen_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)


class ApiToken(SQLModel, table=True):
    """A token for scripts, under a name. Only its SHA-256 is kept; `hint` is how it begins."""

    __tablename__ = "api_token"

    id: str = Field(default_factory=lambda: new_id("tok"), primary_key=True, max_length=32)
    token_hash: str = Field(max_length=64, unique=True)
    hint: str = Field(max_length=16)
    user_id: str = Field(foreign_key="user.id", index=True, ondelete="CASCADE", max_length=32)
    name: str = Field(max_length=120)
    scope: TokenScope = Field(sa_type=enum_type(TokenScope))  # type: ignore[arg-type]
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class PasswordReset(SQLModel, table=True):
    """A link by which a person sets a new password, once. There is one at most for each account."""

    __tablename__ = "password_reset"

    user_id: str = Field(foreign_key="user.id", primary_key=True, ondelete="CASCADE", max_length=32)
    token_hash: str = Field(max_length=64, unique=True)
    expires_at: datetime = Field(sa_type=UtcDateTime)


class LoginFailure(SQLModel, table=True):
    """A failed try, kept for the back-off. `key` is `account:<name>` or `peer:<address>`."""

    __tablename__ = "login_failure"

    id: int | None = Field(default=None, primary_key=True)
    key: str = Field(max_length=300, index=True)
    at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
