"""Sign-up, log-in, sessions and log-out.

A session's token is shown once, to the client that signed in; the database keeps its SHA-256 only. Tries are
counted before a password is looked at, so that many tries at once cannot slip past the back-off.
"""

import re
import secrets
from collections.abc import Set
from dataclasses import dataclass
from datetime import datetime, timedelta

from email_validator import EmailNotValidError, validate_email
from sqlalchemy import delete, func
from sqlmodel import Session, col, or_, select

from qlora_studio.contracts.enums import Role, TokenScope
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import Conflict, InvalidInput, NotAuthenticated, TooManyTries
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db
from qlora_studio.db.models.user import AuthSession, LoginFailure, User
from qlora_studio.services import audit
from qlora_studio.services.passwords import find_weakness, hash_password, token_hash, verify_password

DISABLED = "This account is disabled. Ask an admin."
WRONG_CREDENTIALS = "That name and password do not match."
IDLE_LIMIT = timedelta(days=7)
_SEEN_EVERY = timedelta(minutes=5)
_WINDOW = timedelta(minutes=30)
_FREE_TRIES = {"account": 5, "peer": 30}
_MAX_WAIT_S = 300
_USERNAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{1,30})[A-Za-z0-9]")
_RESERVED = frozenset("admin administrator root system support qlora-studio nobody null".split())


@dataclass(frozen=True)
class SignedIn:
    """A live session and whose it is; or a token for scripts, that has no session and a `scope`."""

    user: User
    session_id: str
    expires_at: datetime | None
    scope: TokenScope = TokenScope.ALL


@dataclass(frozen=True)
class NewSession:
    """A session just made. `token` is the only copy of the secret."""

    token: str
    user: User
    expires_at: datetime


def check_fields(session: Session, *, username: str = "", email: str = "") -> dict[str, str]:
    """Return a sentence for each of the given fields that is malformed or taken; blanks are not."""
    problems: dict[str, str] = {}
    if username:
        if message := _username_problem(username):
            problems["username"] = message
        elif find_by(session, username_key=username.casefold()):
            problems["username"] = "This username is taken."
    if email:
        try:
            address = normal_email(email)
        except InvalidInput as error:
            problems |= error.fields
        else:
            if find_by(session, email_key=address.casefold()):
                problems["email"] = "There is an account with this e-mail address."
    return problems


def sign_up(session: Session, *, username: str, email: str, password: str, peer: str = "") -> User:
    """Make an account; it becomes admin if there is none yet.

    Args:
        peer: the client's address: a script is not to make accounts without end from one.

    Raises:
        TooManyTries: many accounts were made from this peer a short while ago.
        InvalidInput: a field is malformed or the password is weak; `fields` says which and why.
        Conflict: the username or the e-mail address is taken.
    """
    username, email = username.strip(), email.strip()
    fields: dict[str, str] = {}
    if message := _username_problem(username):
        fields["username"] = message
    try:
        email = normal_email(email)
    except InvalidInput as error:
        fields |= error.fields
    if message := find_weakness(password, username=username, email=email):
        fields["password"] = message
    if fields:
        raise InvalidInput("Check the marked fields.", fields=fields)
    if taken := check_fields(session, username=username, email=email):
        error = Conflict(next(iter(taken.values())))
        error.fields = taken  # type: ignore[attr-defined]
        raise error
    if peer:
        count_try(session, [f"signup:{peer[:64]}"])
    # The command line may have made a user of its own before anyone signed up, so count admins, not people.
    is_first = session.exec(select(func.count()).where(User.role == Role.ADMIN)).one() == 0
    user = User(
        username=username,
        username_key=username.casefold(),
        email=email,
        email_key=email.casefold(),
        password_hash=hash_password(password),
        role=Role.ADMIN if is_first else Role.TRAINER,
    )
    session.add(user)
    session.flush()
    audit.record(
        session,
        actor=user,
        action="account.create",
        object_type="user",
        object_id=user.id,
        object_name=username,
    )
    return user


def log_in(*, login: str, password: str, peer: str, user_agent: str = "") -> NewSession:
    """Check a password and start a session. Opens its own transactions: hashing must not hold the write lock.

    Args:
        login: e-mail address or username, any case.
        peer: the client's address, as the socket tells it.

    Raises:
        NotAuthenticated: no such account or wrong password; the two look and cost the same.
        TooManyTries: the back-off of this account or peer has not passed.
    """
    key = login.strip().casefold()
    with db.write() as session:
        user = find_by(session, username_key=key) or find_by(session, email_key=key)
        keys = [f"account:{user.id if user else '?' + key[:250]}", f"peer:{peer[:64]}"]
        count_try(session, keys)
    if not verify_password(password[:1024], user.password_hash if user else None) or user is None:
        raise NotAuthenticated(WRONG_CREDENTIALS)
    with db.write() as session:
        forgive_try(session, keys)
        user = session.get_one(User, user.id)
        if user.disabled_at is not None:
            raise NotAuthenticated(DISABLED)
        return start_session(session, user=user, peer=peer, user_agent=user_agent)


def count_try(session: Session, keys: list[str]) -> None:
    """Note a try before its password is looked at, or an account is made; `keys` say by whom, and for what.

    Raises:
        TooManyTries: the back-off of one of them has not passed.
    """
    _refuse_if_too_soon(session, keys)
    session.add_all([LoginFailure(key=k) for k in keys])


def forgive_try(session: Session, keys: list[str]) -> None:
    """The password was right: the account's tries are forgotten, and the peer's newest."""
    session.exec(delete(LoginFailure).where(col(LoginFailure.key) == keys[0]))
    for key in keys[1:]:
        newest = select(func.max(LoginFailure.id)).where(LoginFailure.key == key).scalar_subquery()
        session.exec(delete(LoginFailure).where(col(LoginFailure.id) == newest))


def start_session(session: Session, *, user: User, peer: str = "", user_agent: str = "") -> NewSession:
    """Make a session with a fresh token, and forget sessions and tries that are past."""
    now = utc_now()
    session.exec(
        delete(AuthSession).where(
            or_(col(AuthSession.expires_at) < now, col(AuthSession.last_seen_at) < now - IDLE_LIMIT)
        )
    )
    session.exec(delete(LoginFailure).where(col(LoginFailure.at) < now - _WINDOW))
    token = secrets.token_urlsafe(32)
    expires_at = now + timedelta(days=get_settings().session_days)
    session.add(
        AuthSession(
            token_hash=token_hash(token),
            user_id=user.id,
            user_agent=user_agent[:255],
            peer=peer[:64],
            expires_at=expires_at,
        )
    )
    audit.record(
        session,
        actor=user,
        action="account.log_in",
        object_type="user",
        object_id=user.id,
        object_name=user.username,
    )
    return NewSession(token=token, user=user, expires_at=expires_at)


def find_signed_in(session: Session, *, token: str) -> SignedIn | None:
    """Return the live session that `token` belongs to, or None."""
    return find_all_signed_in(session, tokens={token}).get(token)


def find_all_signed_in(session: Session, *, tokens: Set[str]) -> dict[str, SignedIn]:
    """Return the live sessions by their tokens; those that name none are left out."""
    by_hash = {token_hash(token): token for token in tokens if token and len(token) <= 200}
    found: dict[str, SignedIn] = {}
    now = utc_now()
    query = (
        select(AuthSession, User)
        .where(col(AuthSession.token_hash).in_(by_hash))
        .where(col(User.id) == col(AuthSession.user_id))
    )
    for row, user in session.exec(query) if by_hash else ():
        is_over = row.expires_at <= now or row.last_seen_at + IDLE_LIMIT <= now
        if user.disabled_at is None and not is_over:
            found[by_hash[row.token_hash]] = SignedIn(user, row.id, row.expires_at)
    return found


def authenticate(token: str) -> SignedIn:
    """Return the session of `token`, noting now and then that it was used. Opens its own transactions.

    Raises:
        NotAuthenticated: there is no such session, or it has ended.
    """
    signed_in = authenticate_all({token})[token]
    if signed_in is None:
        raise NotAuthenticated("Your session has ended. Sign in again.")
    return signed_in


def authenticate_all(tokens: Set[str]) -> dict[str, SignedIn | None]:
    """Return the session of each token or None, as `authenticate` does of one."""
    with db.read() as session:
        found = find_all_signed_in(session, tokens=tokens)
        rows = [session.get(AuthSession, one.session_id) for one in found.values()]
        stale = [row.id for row in rows if row is not None and row.last_seen_at + _SEEN_EVERY < utc_now()]
    if stale:
        with db.write() as session:
            for session_id in stale:
                if (row := session.get(AuthSession, session_id)) is not None:
                    row.last_seen_at = utc_now()
    return {token: found.get(token) for token in tokens}


def log_out(session: Session, *, token: str) -> None:
    """End the session of `token` at once. A token that names none is no error."""
    signed_in = find_signed_in(session, token=token)
    session.exec(delete(AuthSession).where(col(AuthSession.token_hash) == token_hash(token)))
    if signed_in is not None:
        user = signed_in.user
        audit.record(
            session,
            actor=user,
            action="account.log_out",
            object_type="user",
            object_id=user.id,
            object_name=user.username,
        )


def set_theme(session: Session, *, actor: User, theme: str) -> None:
    """Remember the actor's choice of light, dark or the system's.

    Raises:
        InvalidInput: it is none of the three.
    """
    if theme not in {"light", "dark", "system"}:
        raise InvalidInput("Choose light, dark or system.", fields={"theme": "Choose light, dark or system."})
    if (user := session.get(User, actor.id)) is not None:
        user.theme = theme


def find_by(session: Session, **key: str) -> User | None:
    """Return the account with this `username_key` or `email_key`."""
    return session.exec(select(User).filter_by(**key)).first()


def _username_problem(username: str) -> str | None:
    if not _USERNAME.fullmatch(username):
        return (
            "Use 3 to 32 letters, digits, dots, dashes or underscores, "
            "starting and ending with a letter or digit."
        )
    if username.casefold() in _RESERVED:
        return "This username is reserved."
    return None


def normal_email(email: str) -> str:
    """Return an e-mail address as it is kept.

    Raises:
        InvalidInput: it is none.
    """
    try:
        return validate_email(email.strip(), check_deliverability=False).normalized
    except EmailNotValidError:
        text = "Enter an e-mail address such as name@example.org."
        raise InvalidInput(text, fields={"email": text}) from None


def _refuse_if_too_soon(session: Session, keys: list[str]) -> None:
    now = utc_now()
    for key in keys:
        query = select(func.count(), func.max(LoginFailure.at)).where(
            LoginFailure.key == key, LoginFailure.at >= now - _WINDOW
        )
        n_failed, last = session.exec(query).one()
        kind = key.partition(":")[0]
        n_free = get_settings().sign_ups_per_half_hour if kind == "signup" else _FREE_TRIES[kind]
        over = n_failed - n_free
        if over < 0 or last is None:
            continue
        wait_s = min(_MAX_WAIT_S, 2 ** min(over, 10)) - (now - last).total_seconds()
        if wait_s > 0:
            raise TooManyTries(
                f"Too many tries. Wait {_wait_text(wait_s)} and try again.",
                retry_after_s=max(1, round(wait_s + 0.5)),
            )


def _wait_text(wait_s: float) -> str:
    seconds = max(1, round(wait_s + 0.5))
    return f"{seconds} seconds" if seconds < 90 else f"{round(seconds / 60)} minutes"
