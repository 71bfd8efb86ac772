"""Administration: roles, limits, disabling, one-time links, deleting, and the log of it all."""

import csv
import io
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import insert
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import Role, Sharing, TokenScope
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import Conflict, Forbidden, InvalidInput, NotAuthenticated, NotFound, TooLarge
from qlora_studio.db import engine as db
from qlora_studio.db.models import (
    ApiToken,
    AuditEvent,
    Credential,
    Dataset,
    Generation,
    Job,
    PromptTally,
    Rating,
    User,
)
from qlora_studio.ingest import quota
from qlora_studio.services import accounts, audit, generations, passwords, people, profile, tokens
from qlora_studio.services.audit import AuditFilter
from qlora_studio.services.people import UserUpdate
from qlora_studio.services.tokens import TokenCreate
from qlora_studio.storage import layout
from tests.conftest import make_user
from tests.services.test_ratings import add_takes, rate

PASSWORD, OTHER = "blue-harbour-42-rain", "green-station-17-snow"


@pytest.fixture(autouse=True)
def _quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    from argon2 import PasswordHasher

    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    passwords._nobody_hash.cache_clear()


@pytest.fixture
def admin(session: Session) -> User:
    return make_user(session, "root-of-all", Role.ADMIN)


def change(admin: User, user: User, **values: object) -> User:
    with db.write() as session:
        form = UserUpdate.model_validate(values)
        return people.update(session, actor=admin, user_id=user.id, form=form)


def sign_up(name: str) -> User:
    with db.write() as session:
        return accounts.sign_up(session, username=name, email=f"{name}@example.org", password=PASSWORD)


def log_in(name: str, password: str = PASSWORD, agent: str = "") -> str:
    return accounts.log_in(login=name, password=password, peer="127.0.0.1", user_agent=agent).token


def make_token(actor: User, **values: object) -> tokens.NewToken:
    with db.write() as session:
        return tokens.create(session, actor=actor, form=TokenCreate.model_validate({"name": "t"} | values))


def test_only_admins_administer_and_the_last_one_stays(session: Session, admin: User, user: User) -> None:
    session.expunge_all()
    with pytest.raises(Forbidden):
        people.list_people(session, actor=user)
    for doing in (
        lambda: change(user, admin, role="viewer"),
        lambda: people.make_reset_link(session, actor=user, user_id=admin.id),
        lambda: people.delete_user(session, actor=user, user_id=admin.id),
    ):
        with pytest.raises(Forbidden):
            doing()
    for refused in ({"role": "trainer"}, {"is_disabled": True}):
        with pytest.raises(Conflict, match="last admin"):
            change(admin, admin, **refused)
    user = change(admin, user, role="admin")
    assert user.role is Role.ADMIN
    change(user, admin, is_disabled=True)
    with pytest.raises(Conflict, match="last admin"):  # a disabled admin is of no use
        change(user, user, role="viewer")
    with pytest.raises(Conflict, match="signed in with"), db.write() as writing:
        people.delete_user(writing, actor=user, user_id=user.id)
    session.rollback()
    found, total = people.list_people(session, actor=user, query="ADA", role=Role.ADMIN)
    assert ([one.user.username for one in found], total) == (["ada"], 1)
    found, total = people.list_people(session, actor=user, disabled=True, sort="-created_at")
    assert [one.user.username for one in found] == ["root-of-all"]


def test_who_is_disabled_is_out_at_once_and_may_come_back(data_folder: object, admin: User) -> None:
    ada = sign_up("Ada")
    token, script = log_in("Ada"), make_token(ada).secret
    assert accounts.authenticate(token).user.id == tokens.authenticate_bearer(script).user.id == ada.id
    change(admin, ada, is_disabled=True)
    for refused in (lambda: accounts.authenticate(token), lambda: tokens.authenticate_bearer(script)):
        with pytest.raises(NotAuthenticated):
            refused()
    with pytest.raises(NotAuthenticated, match="do not match"):  # a stranger learns nothing
        log_in("Ada", OTHER)
    with pytest.raises(NotAuthenticated, match="disabled"):
        log_in("Ada")
    change(admin, ada, is_disabled=False)
    with pytest.raises(NotAuthenticated):
        accounts.authenticate(token)
    assert tokens.authenticate_bearer(script).user.id == accounts.authenticate(log_in("Ada")).user.id


def test_a_token_reads_or_does_all_ends_and_is_kept_as_a_hash(session: Session, user: User) -> None:
    made = make_token(user, scope="read", days=1)
    found = tokens.authenticate_bearer(made.secret)
    assert (found.scope, found.session_id, found.user.id) == (TokenScope.READ, "", user.id)
    kept = session.exec(select(ApiToken)).one()
    assert kept.last_used_at is not None
    assert made.secret.startswith(kept.hint)
    assert made.secret not in str(kept.model_dump())
    with pytest.raises(NotAuthenticated):  # never as a cookie
        accounts.authenticate(made.secret)
    kept.expires_at = utc_now() - timedelta(seconds=1)
    session.commit()
    with pytest.raises(NotAuthenticated, match="expired"):
        tokens.authenticate_bearer(made.secret)
    with pytest.raises(NotFound), db.write() as writing:
        tokens.revoke(writing, actor=make_user(session, "eve"), token_id=kept.id)
    with db.write() as writing:
        tokens.revoke(writing, actor=user, token_id=kept.id)
    with pytest.raises(NotAuthenticated, match="revoked"):
        tokens.authenticate_bearer(made.secret)
    for _ in range(tokens.MAX_PER_USER):
        tokens.create(session, actor=user, form=TokenCreate(name="many", days=None))
    with pytest.raises(TooLarge):
        tokens.create(session, actor=user, form=TokenCreate(name="one more"))


def test_a_new_password_ends_other_sessions_and_needs_the_old_one(data_folder: object) -> None:
    ada = sign_up("Ada")
    firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    here, there = log_in("Ada", agent=firefox), log_in("Ada", agent="curl/8.5")
    this = accounts.authenticate(here).session_id
    with db.read() as session:
        places = profile.list_places(session, actor=ada, session_id=this)
    assert [(p.browser, p.is_this) for p in places] == [("Firefox on Linux", True), ("curl", False)]

    def set_to(current: str, new: str) -> int:
        return profile.change_password(actor=ada, session_id=this, current=current, new=new)

    for current, new, wrong in ((OTHER, OTHER, "current"), (PASSWORD, "short", "new")):
        with pytest.raises(InvalidInput) as refused:
            set_to(current, new)
        assert set(refused.value.fields) == {wrong}
    assert set_to(PASSWORD, OTHER) == 1
    assert accounts.authenticate(here).user.id == ada.id
    with pytest.raises(NotAuthenticated):
        accounts.authenticate(there)
    log_in("Ada", OTHER)
    with pytest.raises(InvalidInput):
        profile.update(actor=ada, form=profile.ProfileUpdate(email="new@example.org", password=PASSWORD))
    form = profile.ProfileUpdate(
        email="New@example.org", name=" Ada  Lovelace ", theme="dark", password=OTHER
    )
    changed = profile.update(actor=ada, form=form)
    assert (changed.email_key, changed.name, changed.theme) == ("new@example.org", "Ada Lovelace", "dark")
    eve = sign_up("Eve")
    with pytest.raises(Conflict, match="this e-mail"):
        profile.update(actor=eve, form=profile.ProfileUpdate(email="new@EXAMPLE.org", password=PASSWORD))
    with db.write() as session:
        assert profile.end_others(session, actor=ada, session_id=this) == 1
        with pytest.raises(NotFound):
            profile.end_session(session, actor=eve, session_id=this)
        profile.end_session(session, actor=ada, session_id=this)
    with pytest.raises(NotAuthenticated):
        accounts.authenticate(here)


def test_a_link_sets_a_password_once_and_a_newer_one_replaces_it(data_folder: object, admin: User) -> None:
    ada = sign_up("Ada")
    token = log_in("Ada")

    def link() -> str:
        with db.write() as session:
            return people.make_reset_link(session, actor=admin, user_id=ada.id).token

    old, new = link(), link()
    with pytest.raises(NotAuthenticated, match="newer one"):
        profile.reset_password(token=old, new=OTHER)
    with pytest.raises(InvalidInput):
        profile.reset_password(token=new, new="ada-ada-ada-1")
    profile.reset_password(token=new, new=OTHER)
    with pytest.raises(NotAuthenticated):
        profile.reset_password(token=new, new=PASSWORD)
    with pytest.raises(NotAuthenticated):
        accounts.authenticate(token)
    log_in("Ada", OTHER)
    with db.read() as session:
        lines = session.exec(select(AuditEvent)).all()
    assert new not in str([line.model_dump() for line in lines])


def test_limits_of_an_account_take_the_place_of_the_settings(
    session: Session, admin: User, user: User, submit: Callable
) -> None:
    submit()
    change(admin, user, max_queued_jobs=1, max_bytes=1000)
    user = session.get_one(User, user.id, populate_existing=True)
    with pytest.raises(TooLarge, match="over the limit of 1"):
        submit()
    quota.require_room(session, user.id, 999)
    with pytest.raises(TooLarge):
        quota.require_room(session, user.id, 1001)
    person = people.get_person(session, actor=admin, user_id=user.id)
    assert (person.limit_bytes, person.n_queued, person.limit_jobs) == (1000, 1, 1)
    assert person.belongings.counts == {"dataset": 1, "model": 1, "job": 1}
    assert person.belongings.n_bytes["model"] == 8_000_000
    session.expunge_all()
    session.rollback()
    change(admin, user, max_bytes=None)
    with db.read() as fresh:
        assert quota.limit_bytes(fresh, user.id) > 1000
        assert fresh.get_one(User, user.id).max_queued_jobs == 1, "what isn't sent stays"


def test_what_a_deleted_account_owned_goes_to_an_heir(
    session: Session, admin: User, user: User, stranger: User, submit: Callable
) -> None:
    job = submit()
    session.add(Credential(owner_id=user.id, name="k", kind="hub", ciphertext="x"))
    session.commit()
    with pytest.raises(Conflict, match="Say who gets them") as refused:
        people.delete_user(session, actor=admin, user_id=user.id)
    assert refused.value.users_of == ["1 dataset", "1 model", "1 job"]
    people.delete_user(session, actor=admin, user_id=user.id, heir_id=stranger.id)
    session.commit()
    assert session.get_one(Job, job.id).owner_id == stranger.id
    assert session.exec(select(Dataset.owner_id)).one() == stranger.id
    assert session.exec(select(Credential)).all() == []
    assert people.list_people(session, actor=admin, query="ada")[1] == 0
    with pytest.raises(NotFound):
        people.get_person(session, actor=admin, user_id=user.id)
    make_user(session, "ada")  # the name is free again
    last = session.exec(select(AuditEvent).order_by(col(AuditEvent.id).desc())).first()
    assert last is not None
    assert (last.action, last.object_name, last.details) == ("user.delete", "ada", {"given_to": "mallory"})


def test_what_only_a_deleted_account_could_hear_goes_with_its_files(
    session: Session, admin: User, user: User, stranger: User
) -> None:
    (private, _), (shared, other) = add_takes(user), add_takes(user, prompt="wind", sharing=Sharing.USE)
    (of_test, _) = add_takes(user, prompt="bells")
    in_test = session.get_one(Generation, of_test.generation_id)
    in_test.listening_test_id = "lis_1"
    session.add(in_test)
    session.commit()
    for take in (private, shared, of_test):
        path = layout.take_path(take.generation_id, take.id)
        path.parent.mkdir(parents=True)
        path.write_bytes(b"RIFF")
    rate(user, private, 5)
    rate(stranger, shared, 5)
    with db.write() as writing:
        people.delete_user(writing, actor=admin, user_id=user.id)
    session.rollback()
    for take, is_left in ((private, False), (shared, True), (of_test, True)):
        assert layout.generation_path(take.generation_id).is_dir() is is_left
        assert (session.get(Generation, take.generation_id) is not None) is is_left
    assert [rating.take_id for rating in session.exec(select(Rating))] == [shared.id]
    counts = select(PromptTally.prompt, PromptTally.n_takes, PromptTally.n_rated)
    tallied = session.exec(counts.where(PromptTally.prompt != "bells")).all()  # which became a test's later
    assert tallied == [("wind", 2, 1)], "the rest counts as before"
    rate(stranger, other, 3)  # what was shared can be rated on


def test_the_takes_of_accounts_deleted_before_go_with_the_next_start(session: Session, user: User) -> None:
    (take, _) = add_takes(user)
    generations.recover()
    session.rollback()
    assert session.get(Generation, take.generation_id) is not None
    user.deleted_at = utc_now()
    session.add(user)
    session.commit()
    generations.recover()
    session.rollback()
    assert session.get(Generation, take.generation_id) is None


def test_the_log_is_filtered_and_written_as_inert_csv(session: Session, admin: User, user: User) -> None:
    for actor, action, kind, name in (
        (user, "dataset.create", "dataset", "=HYPERLINK(1)"),
        (user, "dataset.delete", "dataset", "calls"),
        (admin, "model.create", "model", "small"),
    ):
        audit.record(
            session, actor=actor, action=action, object_type=kind, object_id=f"{kind}_1", object_name=name
        )
    session.commit()

    def n(**wanted: object) -> int:
        return audit.list_events(session, actor=admin, wanted=AuditFilter.model_validate(wanted))[1]

    now = utc_now()
    assert (n(), n(who="ada"), n(action="dataset"), n(action="dataset.delete"), n(action="data")) == (
        3,
        2,
        2,
        1,
        0,
    )
    assert (n(object="model"), n(query="CALL"), n(query="%"), n(who="ada", object="model")) == (1, 1, 0, 0)
    assert (n(until=now + timedelta(1)), n(since=now + timedelta(1)), n(until=now - timedelta(1))) == (
        3,
        0,
        0,
    )
    text = b"".join(audit.write_csv(actor=admin, wanted=AuditFilter(who="ada"))).decode()
    rows = list(csv.reader(io.StringIO(text)))
    assert [row[2] for row in rows] == ["action", "dataset.delete", "dataset.create"]
    assert rows[2][5] == "'=HYPERLINK(1)"
    with pytest.raises(Forbidden):
        audit.write_csv(actor=user, wanted=AuditFilter())
    assert audit.list_choices(session, actor=admin)[1] == ["dataset", "model"]


@pytest.mark.slow
def test_a_hundred_thousand_lines_are_paged_filtered_and_written_quickly(
    session: Session, admin: User
) -> None:
    lines = [
        {
            "at": utc_now() - timedelta(minutes=i),
            "actor_id": f"usr_{i % 40}",
            "actor_name": f"person-{i % 40}",
            "action": ("dataset.create", "job.stop", "account.log_in")[i % 3],
            "object_type": ("dataset", "job", "user")[i % 3],
            "object_id": f"x_{i}",
            "object_name": f"thing {i}",
            "details": {},
        }
        for i in range(100_000)
    ]
    session.connection().execute(insert(AuditEvent), lines)
    session.commit()
    for wanted, page in (
        (AuditFilter(), 4000),
        (AuditFilter(who="person-7"), 90),
        (AuditFilter(action="job"), 1000),
        (AuditFilter(query="thing 99"), 2),
        (AuditFilter(since=utc_now() - timedelta(days=3)), 5),
    ):
        began = time.perf_counter()
        found, total = audit.list_events(session, actor=admin, wanted=wanted, page=page)
        assert time.perf_counter() - began < 1.0, wanted
        assert total >= len(found) > 0
    began = time.perf_counter()
    assert len(audit.list_choices(session, actor=admin)[0]) == 3
    assert time.perf_counter() - began < 0.2
    assert sum(piece.count(b"\n") for piece in audit.write_csv(actor=admin, wanted=AuditFilter())) == 100_001
