"""Everybody's accounts, as an admin sees and changes them.

There is always an admin who can sign in: the last one is neither demoted, disabled nor deleted.
"""

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import delete, func
from sqlmodel import Session, col, or_, select

from qlora_studio.contracts.enums import JobStatus, Role
from qlora_studio.contracts.spec import Strict
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import Conflict, InvalidInput, NotFound
from qlora_studio.core.settings import get_settings
from qlora_studio.db.commits import after_commit
from qlora_studio.db.models import ApiToken, AuthSession, Job, PasswordReset, User
from qlora_studio.ingest import quota
from qlora_studio.services import access, audit, generations
from qlora_studio.services.access import Action
from qlora_studio.services.belongings import Belongings
from qlora_studio.services.passwords import token_hash

LINK_LIFE = timedelta(hours=24)
MAX_BYTES = 2**53  # what a number in JSON holds exactly
_SORTS: dict[str, Any] = {
    "username": col(User.username_key),
    "role": col(User.role),
    "created_at": col(User.created_at),
}


class UserUpdate(Strict):
    """What an admin changes of an account. A limit of null is the one of the settings."""

    role: Role | None = None
    is_disabled: bool | None = None
    max_bytes: Annotated[int, Field(ge=0, le=MAX_BYTES)] | None = None
    max_queued_jobs: Annotated[int, Field(ge=0, le=100_000)] | None = None


@dataclass(frozen=True)
class Person:
    """An account with what it keeps. `held_bytes` count towards `limit_bytes`; jobs towards `limit_jobs`."""

    user: User
    last_seen_at: datetime | None
    held_bytes: int
    limit_bytes: int
    n_queued: int
    limit_jobs: int
    belongings: Belongings = field(default_factory=Belongings)


@dataclass(frozen=True)
class ResetLink:
    """A link that sets a new password, once. `token` is the only copy of it."""

    token: str
    path: str
    expires_at: datetime


def list_people(
    session: Session,
    *,
    actor: User,
    query: str = "",
    role: Role | None = None,
    disabled: bool | None = None,
    sort: str = "username",
    page: int = 1,
    page_size: int = 25,
) -> tuple[list[Person], int]:
    """Return one page of the accounts and how many there are.

    Args:
        query: part of the username, name or e-mail address.
        disabled: only those that are, or only the others.

    Raises:
        Forbidden: the actor is no admin.
        InvalidInput: `sort` isn't a column that can be sorted by.
    """
    access.require_role(actor, Action.ADMINISTER)
    where: list[Any] = [col(User.deleted_at).is_(None)]
    if words := query.strip():
        columns = (col(User.username), col(User.name), col(User.email))
        where.append(or_(*(one.icontains(words, autoescape=True) for one in columns)))
    if role is not None:
        where.append(col(User.role) == role)
    if disabled is not None:
        where.append(col(User.disabled_at).is_not(None) == disabled)
    column = _SORTS.get(sort.removeprefix("-"))
    if column is None:
        sentence = f"Sort by one of {', '.join(_SORTS)}, with - in front for descending."
        raise InvalidInput(sentence, fields={"sort": sentence})
    total = session.exec(select(func.count()).select_from(User).where(*where)).one()
    order = column.desc() if sort.startswith("-") else column.asc()
    rows = select(User).where(*where).order_by(order, col(User.id))
    users = list(session.exec(rows.offset((page - 1) * page_size).limit(page_size)))
    return _people(session, users), total


def get_person(session: Session, *, actor: User, user_id: str) -> Person:
    """Return an account.

    Raises:
        Forbidden: the actor is no admin.
        NotFound: it isn't there.
    """
    access.require_role(actor, Action.ADMINISTER)
    return _people(session, [_get(session, user_id)])[0]


def update(session: Session, *, actor: User, user_id: str, form: UserUpdate) -> User:
    """Change an account's role or limits, disable it or let it in again.

    Whoever is disabled is out at once, everywhere; jobs that run go on.

    Raises:
        Forbidden: the actor is no admin.
        NotFound: it isn't there.
        Conflict: it is the last admin who can sign in.
    """
    access.require_role(actor, Action.ADMINISTER)
    user = _get(session, user_id)
    changes = form.model_dump(mode="json", exclude_unset=True)
    if (form.role is not None and form.role is not Role.ADMIN) or form.is_disabled:
        _keep_an_admin(session, user)
    if form.role is not None:
        user.role = form.role
    if form.is_disabled is not None and form.is_disabled != (user.disabled_at is not None):
        user.disabled_at = utc_now() if form.is_disabled else None
        if form.is_disabled:
            _sign_out(session, user)
    for name in ("max_bytes", "max_queued_jobs"):
        if name in form.model_fields_set:
            setattr(user, name, getattr(form, name))
    session.add(user)
    _audit(session, actor, "user.update", user, **changes)
    return user


def make_reset_link(session: Session, *, actor: User, user_id: str) -> ResetLink:
    """Make a link by which somebody sets a new password, once, within a day. An older link ends.

    The present password works until then.

    Raises:
        Forbidden: the actor is no admin.
        NotFound: the account isn't there.
        Conflict: it is disabled.
    """
    access.require_role(actor, Action.ADMINISTER)
    user = _get(session, user_id)
    if user.disabled_at is not None:
        raise Conflict(f"{user.username} is disabled. Enable the account first.")
    token, expires_at = secrets.token_urlsafe(32), utc_now() + LINK_LIFE
    session.exec(delete(PasswordReset).where(col(PasswordReset.user_id) == user.id))
    session.add(PasswordReset(user_id=user.id, token_hash=token_hash(token), expires_at=expires_at))
    _audit(session, actor, "user.reset_link", user)
    # behind the hash sign, which no browser sends to a server and no log keeps
    return ResetLink(token=token, path=f"/reset#{token}", expires_at=expires_at)


def delete_user(session: Session, *, actor: User, user_id: str, heir_id: str = "") -> None:
    """Delete an account. What it owns goes to `heir_id`; without an heir it must own nothing.

    The takes that it shares, and its ratings, stay where they count, under no name. Other takes, credentials,
    tokens and sessions go.

    Raises:
        Forbidden: the actor is no admin.
        NotFound: the account, or the heir, isn't there.
        Conflict: it is the actor's own, the last admin's, owns things and there is no heir, or runs jobs.
    """
    access.require_role(actor, Action.ADMINISTER)
    user = _get(session, user_id)
    if user.id == actor.id:
        raise Conflict("You can't delete the account that you are signed in with. Ask another admin.")
    _keep_an_admin(session, user)
    owned = Belongings.of(session, [user.id])[user.id]
    heir = _get(session, heir_id) if heir_id else None
    if heir is not None and heir.id == user.id:
        raise InvalidInput("Choose somebody else.", fields={"heir_id": "Choose somebody else."})
    if owned.names() and heir is None:
        raise Conflict(
            f"{user.username} owns {', '.join(owned.names())}. Say who gets them.", users_of=owned.names()
        )
    if heir is not None:
        owned.hand_over(session, user, heir)
    _audit(session, actor, "user.delete", user, given_to=heir.username if heir else "")
    _forget(session, user)
    after_commit(session, lambda: generations.remove_of_deleted(user.id))


def _get(session: Session, user_id: str) -> User:
    user = session.get(User, user_id)
    if user is None or user.deleted_at is not None:
        raise NotFound("There is no such account.")
    return user


def _people(session: Session, users: list[User]) -> list[Person]:
    ids = [user.id for user in users]
    seen = select(AuthSession.user_id, func.max(AuthSession.last_seen_at)).group_by(col(AuthSession.user_id))
    last_seen = dict(session.exec(seen.where(col(AuthSession.user_id).in_(ids))).all())
    queued = select(Job.owner_id, func.count()).where(col(Job.status) == JobStatus.QUEUED)
    n_queued = dict(session.exec(queued.where(col(Job.owner_id).in_(ids)).group_by(col(Job.owner_id))).all())
    owned = Belongings.of(session, ids)
    settings = get_settings()
    return [
        Person(
            user=user,
            last_seen_at=last_seen.get(user.id),
            held_bytes=quota.held_bytes(session, user.id),
            limit_bytes=settings.max_bytes_per_user if user.max_bytes is None else user.max_bytes,
            n_queued=n_queued.get(user.id, 0),
            limit_jobs=settings.max_queued_jobs if user.max_queued_jobs is None else user.max_queued_jobs,
            belongings=owned[user.id],
        )
        for user in users
    ]


def _keep_an_admin(session: Session, user: User) -> None:
    if user.role is not Role.ADMIN or user.disabled_at is not None:
        return
    # locked, so that two admins who demote each other don't both succeed
    admins = select(User).where(col(User.role) == Role.ADMIN, col(User.disabled_at).is_(None))
    if not [one for one in session.exec(admins.with_for_update()) if one.id != user.id]:
        raise Conflict(f"{user.username} is the last admin. Make somebody else an admin first.")


def _sign_out(session: Session, user: User) -> None:
    for table in (AuthSession, PasswordReset):
        session.exec(delete(table).where(col(table.user_id) == user.id))


def _forget(session: Session, user: User) -> None:
    """Leave a row that nobody can sign in to, for what refers to it; its name and address are free again."""
    _sign_out(session, user)
    session.exec(delete(ApiToken).where(col(ApiToken.user_id) == user.id))
    Belongings.remove_private(session, user)
    mark = f"deleted-{user.id.removeprefix('usr_')}"
    user.username = user.username_key = mark
    user.email = user.email_key = f"{mark}@deleted.invalid"
    user.name, user.password_hash, user.role = "deleted account", "!", Role.VIEWER
    user.deleted_at = user.disabled_at = utc_now()
    session.add(user)


def _audit(session: Session, actor: User, action: str, user: User, **details: Any) -> None:
    audit.record(
        session,
        actor=actor,
        action=action,
        object_type="user",
        object_id=user.id,
        object_name=user.username,
        details=details,
    )
