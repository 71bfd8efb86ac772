from datetime import timedelta

import pytest
from sqlmodel import Session, select

from qlora_studio.contracts.enums import Role
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import Conflict, InvalidInput, NotAuthenticated, TooManyTries
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db
from qlora_studio.db.models import AuditEvent, AuthSession, LoginFailure, User
from qlora_studio.services import accounts, passwords

PASSWORD = "blue-harbour-42-rain"


@pytest.fixture(autouse=True)
def _quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    from argon2 import PasswordHasher

    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    passwords._nobody_hash.cache_clear()


def sign_up(name: str = "Ada", password: str = PASSWORD) -> User:
    with db.write() as session:
        return accounts.sign_up(session, username=name, email=f"{name}@Example.org", password=password)


@pytest.fixture
def ada(data_folder: object) -> User:
    return sign_up()


def test_first_account_is_admin_and_the_next_is_not(data_folder: object) -> None:
    assert sign_up("first").role == Role.ADMIN
    assert sign_up("second").role == Role.TRAINER


def test_one_address_makes_many_accounts_and_not_endlessly_many(
    data_folder: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    def come(number: int, peer: str) -> User:
        with db.write() as session:
            account = {"username": f"user{number}", "email": f"u{number}@example.org", "password": PASSWORD}
            return accounts.sign_up(session, **account, peer=peer)

    monkeypatch.setenv("QLORA_STUDIO_SIGN_UPS_PER_HALF_HOUR", "5")
    get_settings.cache_clear()
    for number in range(5):
        come(number, "10.0.0.1")
    with pytest.raises(TooManyTries):
        come(30, "10.0.0.1")
    assert come(31, "10.0.0.2").role == Role.TRAINER, "another address is not held back"
    with db.write() as session:
        for made in session.exec(select(LoginFailure).where(LoginFailure.key == "signup:10.0.0.1")):
            made.at = utc_now() - timedelta(hours=1)
    assert come(30, "10.0.0.1").username == "user30"


@pytest.mark.parametrize(
    ("username", "email", "password", "field"),
    [
        ("a", "a@example.org", PASSWORD, "username"),
        ("admin", "a@example.org", PASSWORD, "username"),
        ("has space", "a@example.org", PASSWORD, "username"),
        ("ada", "nobody", PASSWORD, "email"),
        ("ada", "a@example.org", "short", "password"),
        ("ada", "a@example.org", "password123", "password"),
        ("ada", "a@example.org", "aaaaaaaaaaaa", "password"),
        ("marianne", "a@example.org", "xx-marianne-42", "password"),
        ("ada", "a@example.org", "x" * 300, "password"),
    ],
)
def test_bad_fields_are_named(
    data_folder: object, username: str, email: str, password: str, field: str
) -> None:
    with pytest.raises(InvalidInput) as caught, db.write() as session:
        accounts.sign_up(session, username=username, email=email, password=password)
    assert set(caught.value.fields) == {field}


def test_taken_names_ignore_case(ada: User) -> None:
    with db.read() as session:
        problems = accounts.check_fields(session, username="ADA", email="ada@EXAMPLE.org")
    assert set(problems) == {"username", "email"}
    with pytest.raises(Conflict):
        sign_up("ADA")


@pytest.mark.parametrize("login", ["ada", "ADA", " ada ", "ada@example.org"])
def test_log_in_by_name_or_address(ada: User, login: str) -> None:
    new = accounts.log_in(login=login, password=PASSWORD, peer="127.0.0.1")
    assert accounts.authenticate(new.token).user.id == ada.id


def test_nothing_usable_is_stored(ada: User, session: Session) -> None:
    new = accounts.log_in(login="ada", password=PASSWORD, peer="127.0.0.1")
    stored = session.exec(select(AuthSession)).one()
    assert stored.token_hash == passwords.token_hash(new.token) != new.token
    assert session.get(User, ada.id).password_hash.startswith("$argon2id$")
    everything = " ".join(str(e.model_dump()) for e in session.exec(select(AuditEvent)))
    assert PASSWORD not in everything
    assert new.token not in everything


def test_same_text_for_unknown_account_and_wrong_password(ada: User) -> None:
    texts = set()
    for login in ("ada", "nobody-of-that-name"):
        with pytest.raises(NotAuthenticated) as caught:
            accounts.log_in(login=login, password="wrong", peer="10.0.0.1")
        texts.add(caught.value.message)
    assert texts == {accounts.WRONG_CREDENTIALS}


def test_back_off_by_account_leaves_live_sessions_alone(ada: User) -> None:
    live = accounts.log_in(login="ada", password=PASSWORD, peer="127.0.0.1")
    with pytest.raises(TooManyTries) as caught:
        for i in range(20):
            try:
                accounts.log_in(login="ada", password="wrong", peer=f"10.0.0.{i}")
            except NotAuthenticated:
                continue
    assert caught.value.retry_after_s >= 1
    with pytest.raises(TooManyTries):  # the right password has to wait too, or it could be guessed
        accounts.log_in(login="Ada@example.org", password=PASSWORD, peer="10.9.9.9")
    assert accounts.authenticate(live.token).user.id == ada.id


def test_back_off_by_peer_stops_spraying(data_folder: object) -> None:
    with pytest.raises(TooManyTries):
        for i in range(60):
            try:
                accounts.log_in(login=f"user{i}", password="wrong", peer="10.0.0.1")
            except NotAuthenticated:
                continue


def test_the_wait_passes(ada: User) -> None:
    past = utc_now() - timedelta(minutes=20)
    with db.write() as session:
        session.add_all([LoginFailure(key=f"account:{ada.id}", at=past) for _ in range(8)])
    assert accounts.log_in(login="ada", password=PASSWORD, peer="127.0.0.1").token


def test_log_out_ends_the_session_at_once(ada: User) -> None:
    new = accounts.log_in(login="ada", password=PASSWORD, peer="127.0.0.1")
    with db.write() as session:
        accounts.log_out(session, token=new.token)
    with pytest.raises(NotAuthenticated):
        accounts.authenticate(new.token)


@pytest.mark.parametrize("moved", ["expires_at", "last_seen_at"])
def test_old_and_idle_sessions_are_dead(ada: User, moved: str) -> None:
    new = accounts.log_in(login="ada", password=PASSWORD, peer="127.0.0.1")
    with db.write() as session:
        stored = session.exec(select(AuthSession)).one()
        setattr(stored, moved, utc_now() - timedelta(days=31))
    with pytest.raises(NotAuthenticated):
        accounts.authenticate(new.token)


@pytest.mark.parametrize("token", ["", "x", "x" * 5000, "' or 1=1 --"])
def test_odd_tokens_are_nobody(data_folder: object, token: str) -> None:
    with pytest.raises(NotAuthenticated):
        accounts.authenticate(token)
