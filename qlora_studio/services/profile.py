"""What people change of their own account: name, e-mail address, password; and where they are signed in."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints
from sqlalchemy import delete
from sqlmodel import Session, col, select

from qlora_studio.contracts.spec import Strict
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import Conflict, InvalidInput, NotAuthenticated, NotFound
from qlora_studio.db import engine as db
from qlora_studio.db.models import AuthSession, PasswordReset, User
from qlora_studio.services import accounts, audit
from qlora_studio.services.passwords import find_weakness, hash_password, token_hash, verify_password

_WRONG_PASSWORD = "This is not your present password."
_BAD_LINK = (
    "This link was used already, has expired, or was replaced by a newer one. Ask an admin for another."
)


class ProfileUpdate(Strict):
    """What is sent is changed. Another e-mail address needs the present password: one can sign in by it."""

    name: Annotated[str, StringConstraints(strip_whitespace=True, max_length=120)] | None = None
    email: Annotated[str, Field(max_length=254)] | None = None
    theme: str | None = None
    password: Annotated[str, Field(max_length=1024)] = ""


@dataclass(frozen=True)
class Place:
    """Where a person is signed in."""

    id: str
    browser: str
    peer: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    is_this: bool


def update(*, actor: User, form: ProfileUpdate, peer: str = "") -> User:
    """Change the actor's name, e-mail address or theme. Opens its own transactions: hashing takes long.

    Raises:
        InvalidInput: a field is wrong, the present password too.
        Conflict: the e-mail address is somebody else's.
        TooManyTries: the back-off of this account or peer has not passed.
    """
    email = accounts.normal_email(form.email) if form.email is not None else actor.email
    is_moved = email.casefold() != actor.email_key
    if is_moved:
        _check_password(actor, form.password, peer, field="password")
    with db.write() as session:
        user = session.get_one(User, actor.id)
        if is_moved:
            other = accounts.find_by(session, email_key=email.casefold())
            if other is not None and other.id != user.id:
                sentence = "There is an account with this e-mail address."
                error = Conflict(sentence)
                error.fields = {"email": sentence}  # type: ignore[attr-defined]
                raise error
        user.email, user.email_key = email, email.casefold()
        if form.name is not None:
            user.name = " ".join(form.name.split())
        if form.theme is not None:
            accounts.set_theme(session, actor=user, theme=form.theme)
        session.add(user)
        changed = sorted(form.model_fields_set - {"password"})
        _audit(session, user, "account.update", fields=", ".join(changed))
    return user


def change_password(*, actor: User, session_id: str, current: str, new: str, peer: str = "") -> int:
    """Set another password and end the actor's other sessions; returns how many. Opens its own transactions.

    Raises:
        InvalidInput: the present password is wrong, or the new one weak.
        TooManyTries: the back-off of this account or peer has not passed.
    """
    _check_password(actor, current, peer, field="current")
    hashed = _hashed(actor, new)
    with db.write() as session:
        user = session.get_one(User, actor.id)
        user.password_hash = hashed
        session.add(user)
        n_ended = _end(session, user, keep=session_id)
        session.exec(delete(PasswordReset).where(col(PasswordReset.user_id) == user.id))
        _audit(session, user, "account.change_password", sessions_ended=n_ended)
    return n_ended


def reset_password(*, token: str, new: str) -> User:
    """Set a password by a link that an admin gave out, once; every session ends. Opens its own transactions.

    Raises:
        NotAuthenticated: the link was used, or is too old.
        InvalidInput: the password is weak.
    """
    with db.read() as session:
        user = _of_link(session, token)
    hashed = _hashed(user, new)
    with db.write() as session:
        user = _of_link(session, token)
        user.password_hash = hashed
        session.add(user)
        n_ended = _end(session, user)
        session.exec(delete(PasswordReset).where(col(PasswordReset.user_id) == user.id))
        _audit(session, user, "account.reset_password", sessions_ended=n_ended)
    return user


def list_places(session: Session, *, actor: User, session_id: str = "") -> list[Place]:
    """Where the actor is signed in now: this place first, then the latest used."""
    now = utc_now()
    query = select(AuthSession).where(
        col(AuthSession.user_id) == actor.id,
        col(AuthSession.expires_at) > now,
        col(AuthSession.last_seen_at) > now - accounts.IDLE_LIMIT,
    )
    found = session.exec(query.order_by(col(AuthSession.last_seen_at).desc(), col(AuthSession.id))).all()
    ordered = sorted(found, key=lambda one: one.id != session_id)
    return [
        Place(
            id=one.id,
            browser=name_browser(one.user_agent),
            peer=one.peer,
            created_at=one.created_at,
            last_seen_at=one.last_seen_at,
            expires_at=one.expires_at,
            is_this=one.id == session_id,
        )
        for one in ordered
    ]


def end_session(session: Session, *, actor: User, session_id: str) -> None:
    """Sign the actor out in one place, at once.

    Raises:
        NotFound: it isn't the actor's.
    """
    found = session.get(AuthSession, session_id)
    if found is None or found.user_id != actor.id:
        raise NotFound("There is no such session; it may have ended already.")
    session.delete(found)
    _audit(session, actor, "account.end_session")


def end_others(session: Session, *, actor: User, session_id: str) -> int:
    """Sign the actor out everywhere else; returns in how many places."""
    n_ended = _end(session, actor, keep=session_id)
    _audit(session, actor, "account.end_sessions", sessions_ended=n_ended)
    return n_ended


def name_browser(agent: str) -> str:
    """Name a browser and its system for people, from what it says of itself."""
    browsers = (
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("HeadlessChrome/", "Chrome"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
        ("curl/", "curl"),
        ("httpx", "Python"),
        ("requests", "Python"),
    )
    systems = (
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android"),
        ("Windows", "Windows"),
        ("Mac OS", "macOS"),
        ("Linux", "Linux"),
    )
    browser = next((name for mark, name in browsers if mark in agent), "")
    system = next((name for mark, name in systems if mark in agent), "")
    if browser and system:
        return f"{browser} on {system}"
    return browser or system or "Unknown program"


def _check_password(actor: User, password: str, peer: str, *, field: str) -> None:
    keys = [f"account:{actor.id}", f"peer:{peer[:64]}"]
    with db.write() as session:
        accounts.count_try(session, keys)
        stored = session.get_one(User, actor.id).password_hash
    if not verify_password(password[:1024], stored):
        raise InvalidInput(_WRONG_PASSWORD, fields={field: _WRONG_PASSWORD})
    with db.write() as session:
        accounts.forgive_try(session, keys)


def _hashed(user: User, password: str) -> str:
    if message := find_weakness(password, username=user.username, email=user.email):
        raise InvalidInput(message, fields={"new": message})
    return hash_password(password)


def _of_link(session: Session, token: str) -> User:
    found = session.exec(
        select(PasswordReset).where(col(PasswordReset.token_hash) == token_hash(token[:200]))
    ).first()
    user = session.get(User, found.user_id) if found is not None and found.expires_at > utc_now() else None
    if user is None or user.disabled_at is not None:
        raise NotAuthenticated(_BAD_LINK)
    return user


def _end(session: Session, user: User, *, keep: str = "") -> int:
    ended = delete(AuthSession).where(col(AuthSession.user_id) == user.id, col(AuthSession.id) != keep)
    return session.exec(ended).rowcount


def _audit(session: Session, user: User, action: str, **details: object) -> None:
    audit.record(
        session,
        actor=user,
        action=action,
        object_type="user",
        object_id=user.id,
        object_name=user.username,
        details=details,
    )
