"""Pushes to a Hub on loopback, by the Hub's own client: what arrives, what is refused, what survives."""

import json
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from huggingface_hub import metadata_load
from huggingface_hub.utils import _http
from pydantic import SecretStr
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import Role
from qlora_studio.contracts.merging import REPORT
from qlora_studio.core.errors import Conflict, Forbidden, InvalidInput, NotFound, TooLarge
from qlora_studio.db import engine as db
from qlora_studio.db.models import Adapter, BaseAudioModel, HubPush, Job, Notification, User
from qlora_studio.db.models.audit import AuditEvent
from qlora_studio.services import adapters, credentials, hub_upload, pushes
from qlora_studio.services.credentials import HubToken
from qlora_studio.services.pushes import PushCreate
from qlora_studio.storage import layout
from tests.conftest import make_user
from tests.services.hub import Hub, hub
from tests.services.outcomes import make_adapter, make_finished_job
from tests.services.test_merging import REPORT as MERGED
from tests.waiting import wait_for

__all__ = ["hub"]
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # within the Hub's client
TOKEN = "hf_ownerswritetokenownerswrite"
ACCOUNT = {
    "type": "user",
    "name": "anna",
    "orgs": [],
    "auth": {"accessToken": {"role": "write"}},
    "may_write": ["anna", "lab"],
}


class Quickly:
    """The clock of the Hub's client: it does not wait between its own tries."""

    sleep = staticmethod(lambda _: None)
    time = staticmethod(time.time)


@pytest.fixture(autouse=True)
def account(hub: type[Hub], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(_http, "time", Quickly)
    monkeypatch.setattr(pushes, "_TELL_EVERY_S", 0.0)
    hub.accounts = {TOKEN: ACCOUNT}
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("push "):
            thread.join(10)


@pytest.fixture
def job(session: Session, user: User) -> Job:
    return make_finished_job(session, user)


@pytest.fixture
def adapter(session: Session, user: User, job: Job) -> Adapter:
    return make_adapter(session, user, job)


@pytest.fixture
def credential_id(session: Session, user: User) -> str:
    return keep_token(session, user, TOKEN)


def keep_token(session: Session, user: User, token: str) -> str:
    form = HubToken(kind="hub", name="hub", token=SecretStr(token))
    made = credentials.create(session, actor=user, form=form)
    session.commit()
    return made.id


def ask(user: User, adapter: Adapter, credential_id: str, repo_id: str = "anna/prompts", **form) -> str:
    with db.write() as session:
        wanted = PushCreate(repo_id=repo_id, credential_id=credential_id, **form)
        made = pushes.start(session, actor=user, adapter_id=adapter.id, form=wanted, in_background=False)
        return made.id


def look(push_id: str) -> HubPush:
    with db.read() as session:
        return session.get_one(HubPush, push_id)


def push(user: User, adapter: Adapter, credential_id: str, *args: str, **form) -> HubPush:
    push_id = ask(user, adapter, credential_id, *args, **form)
    pushes.run(push_id)
    return look(push_id)


def test_the_adapter_arrives_whole_private_and_with_the_owners_token(
    hub, user, adapter, credential_id, session, tmp_path
):
    done = push(user, adapter, credential_id)
    assert (done.status, done.error) == ("succeeded", "")
    assert done.url.endswith("/anna/prompts")
    assert done.done_bytes == done.total_bytes > 5000
    assert hub.private == {"anna/prompts": True}
    arrived = hub.pushed["anna/prompts"]
    assert set(arrived) == {
        "README.md",
        "adapter_model.safetensors",
        "adapter_config.json",
        "qlora_studio.json",
    }
    assert arrived["adapter_model.safetensors"] == b"\0" * 5000
    (tmp_path / "README.md").write_bytes(arrived["README.md"])
    assert (metadata_load(tmp_path / "README.md") or {})["library_name"] == "peft"
    assert hub.n_commits == 1
    assert set(hub.seen_authorization) == {f"Bearer {TOKEN}"}
    lines = session.exec(select(AuditEvent).where(AuditEvent.action == "adapter.push")).all()
    assert lines[0].details["repo_id"] == "anna/prompts"
    assert TOKEN not in str([line.model_dump() for line in lines])


def test_a_name_alone_is_taken_under_the_tokens_account_and_pushed_to_again(
    hub, user, adapter, credential_id
):
    assert push(user, adapter, credential_id, "prompts", is_private=False).repo_id == "anna/prompts"
    assert hub.private == {"anna/prompts": False}
    again = push(user, adapter, credential_id, "anna/prompts", is_private=False)
    assert (again.status, hub.n_commits) == ("succeeded", 1)  # nothing has changed: no second commit
    hidden = push(user, adapter, credential_id, "anna/prompts", is_private=True)
    assert hidden.status == "failed"
    assert "public by now" in hidden.error


@pytest.mark.slow
def test_the_merged_model_by_choice(hub, user, adapter, credential_id):
    with pytest.raises(Conflict, match="not been merged"):
        ask(user, adapter, credential_id, weights="merged")
    folder = layout.merged_path(adapter.id)
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"whole")
    (folder / REPORT).write_text(MERGED.model_dump_json())
    assert push(user, adapter, credential_id, weights="merged").status == "succeeded"
    assert set(hub.pushed["anna/prompts"]) == {"README.md", "model.safetensors"}
    assert b"library_name: transformers" in hub.pushed["anna/prompts"]["README.md"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trouble", "sentence"),
    [
        ([("whoami", 401)], "does not accept this token"),
        ([("repos/create", 403)], "may not write"),
        ([("repos/create", 404)], "no user or organisation “anna”"),
        ([("commit", 412)], "changed the repository at the same time"),
        ([("repos/create", 400)], "refused the repository's name"),
    ],
)
def test_a_refusal_is_told_with_what_to_do(hub, user, adapter, credential_id, trouble, sentence):
    hub.trouble = trouble
    failed = push(user, adapter, credential_id)
    assert failed.status == "failed"
    assert sentence in failed.error
    assert failed.finished_at is not None


def test_its_owner_is_told_of_a_long_push_and_of_any_that_failed(
    hub, user, adapter, credential_id, monkeypatch
):
    push(user, adapter, credential_id)
    assert told() == []
    monkeypatch.setattr(pushes, "_LONG", timedelta(0))
    done = push(user, adapter, credential_id)
    assert told() == [("push_succeeded", f"“{adapter.name}” is on the Hub", done.url)]
    hub.trouble = [("repos/create", 403)]
    failed = push(user, adapter, credential_id, "anna/other")
    assert told()[1:] == [("push_failed", f"“{adapter.name}” could not be pushed to the Hub", failed.error)]


def told() -> list[tuple[str, str, str]]:
    with db.read() as session:
        found = session.exec(select(Notification).order_by(col(Notification.created_at)))
        return [(notice.kind, notice.title, notice.body) for notice in found]


@pytest.mark.slow
def test_wrong_tokens_and_other_peoples_names_are_refused(hub, user, adapter, session, credential_id):
    hub.accounts["hf_readreadreadreadread"] = ACCOUNT | {"auth": {"accessToken": {"role": "read"}}}
    only_read = keep_token(session, user, "hf_readreadreadreadread")
    assert "may only read" in push(user, adapter, only_read).error
    unknown = keep_token(session, user, "hf_unknownunknownunknown")
    assert "does not accept this token" in push(user, adapter, unknown).error
    assert "may not write there" in push(user, adapter, credential_id, "somebody/prompts").error
    hub.pushed["lab/theirs"], hub.private["lab/theirs"] = {"README.md": b"theirs"}, True
    assert (
        "There is a repository “lab/theirs” already" in push(user, adapter, credential_id, "lab/theirs").error
    )
    assert hub.pushed["lab/theirs"] == {"README.md": b"theirs"}


def test_busy_hubs_and_dropped_connections_are_waited_for(hub, user, adapter, credential_id):
    hub.trouble = [
        ("whoami", 429), ("whoami", 503), ("repos/create", 500), ("preupload", 429), ("/large/", "drop"),
        ("/large/", 503), ("/commit/", 502), ("/commit/", "drop"),
    ]  # fmt: skip
    done = push(user, adapter, credential_id)
    assert (done.status, done.error) == ("succeeded", "")
    assert (hub.trouble, hub.n_commits) == ([], 1)
    assert hub.pushed["anna/prompts"]["adapter_model.safetensors"] == b"\0" * 5000


@pytest.mark.slow
def test_a_hub_that_says_nothing_is_not_waited_for_for_ever(hub, user, adapter, credential_id, monkeypatch):
    monkeypatch.setattr(hub_upload, "_SILENCE_S", 0.2)
    hub_upload._set_up_client.cache_clear()
    try:
        hub.trouble = [("whoami", "silence"), ("/commit/", "silence")]
        assert push(user, adapter, credential_id).status == "succeeded"
    finally:
        hub_upload._set_up_client.cache_clear()


@pytest.mark.slow
def test_patience_ends_with_a_sentence(hub, user, adapter, credential_id, monkeypatch):
    hub.trouble = [("whoami", 429)] * 100
    assert "asks to wait" in push(user, adapter, credential_id).error
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "can't be reached" in push(user, adapter, credential_id).error


def test_a_double_click_makes_one_push(hub, user, adapter, credential_id):
    hub.hold = threading.Event()
    ids = {ask(user, adapter, credential_id) for _ in range(3)}
    assert len(ids) == 1
    threads = [pushes.launch(push_id) for push_id in [*ids] * 3]
    hub.hold.set()
    for thread in threads:
        thread.join(20)
    assert look(ids.pop()).status == "succeeded"
    assert hub.n_commits == 1


def test_cancelled_in_the_middle_nothing_is_committed(hub, user, adapter, credential_id, session):
    hub.hold = threading.Event()
    push_id = ask(user, adapter, credential_id)
    thread = pushes.launch(push_id)
    wait_for(lambda: any("/large/" in path for path in hub.seen_paths))
    with db.write() as writing:
        pushes.cancel(writing, actor=user, push_id=push_id)
    hub.hold.set()
    thread.join(20)
    assert not thread.is_alive()
    assert look(push_id).status == "cancelled"
    assert hub.n_commits == 0
    assert push(user, adapter, credential_id).status == "succeeded"  # into the repository that it has made


def test_a_server_that_died_is_made_up_for_by_the_next(hub, user, adapter, credential_id):
    push_id = ask(user, adapter, credential_id)
    hub.pushed["anna/prompts"], hub.private["anna/prompts"] = {}, True  # made just before the end
    with db.write() as session:
        row = session.get_one(HubPush, push_id)
        row.status, row.has_repo, row.done_bytes = "running", True, 100
        session.add(row)
    pushes.recover()
    wait_for(lambda: look(push_id).status == "succeeded")
    assert "adapter_model.safetensors" in hub.pushed["anna/prompts"]
    wait_for(lambda: not list((layout.data_path() / "pushes").iterdir()))  # after the row


def test_the_base_is_named_as_the_hub_does(hub, user, adapter, credential_id, session):
    model = session.get_one(BaseAudioModel, adapter.base_model_id)
    model.source = {"kind": "hub", "repo_id": "openai/whisper-tiny", "revision": "main"}
    session.commit()
    assert push(user, adapter, credential_id).status == "succeeded"
    config = json.loads(hub.pushed["anna/prompts"]["adapter_config.json"])
    assert config == {"base_model_name_or_path": "openai/whisper-tiny", "peft_type": "LORA"}
    assert b"base_model: openai/whisper-tiny" in hub.pushed["anna/prompts"]["README.md"]


def test_pushes_go_with_their_adapter(hub, user, adapter, credential_id, session):
    push_id = ask(user, adapter, credential_id)
    with db.write() as writing:
        adapters.delete(writing, actor=user, adapter_id=adapter.id)
    pushes.run(push_id)
    assert pushes.list_pushes(session, actor=user)[1] == 0
    assert hub.seen_paths == []


def test_a_credential_or_files_that_are_gone_are_named(hub, user, adapter, credential_id, session):
    push_id = ask(user, adapter, credential_id)
    with db.write() as writing:
        credentials.delete(writing, actor=user, credential_id=credential_id)
    pushes.run(push_id)
    assert "credential was deleted" in look(push_id).error
    assert hub.seen_paths == []


def test_what_can_not_be_asked_for(hub, user, stranger, adapter, credential_id, session):
    theirs = keep_token(session, stranger, TOKEN)
    with pytest.raises(NotFound):
        ask(stranger, adapter, theirs)
    with pytest.raises(InvalidInput, match="credentials"):
        ask(user, adapter, theirs)
    for name in ("a b", "../x", "--flag", "a/b/c", "$(touch x)", "a\nb"):
        with pytest.raises(InvalidInput) as caught:
            ask(user, adapter, credential_id, name)
        assert "repo_id" in caught.value.fields
    viewer = make_user(session, "viewer", Role.VIEWER)
    with pytest.raises(Forbidden):
        ask(viewer, adapter, credential_id)
    for number in range(pushes.MAX_ACTIVE):
        ask(user, adapter, credential_id, f"anna/number-{number}")
    with pytest.raises(TooLarge):
        ask(user, adapter, credential_id, "anna/one-more")
    assert hub.seen_paths == []


def test_a_stranger_sees_and_ends_nothing(hub, user, stranger, adapter, credential_id, session):
    push_id = ask(user, adapter, credential_id)
    with pytest.raises(NotFound):
        pushes.get_push(session, actor=stranger, push_id=push_id)
    with pytest.raises(NotFound):
        pushes.cancel(session, actor=stranger, push_id=push_id)
    assert pushes.list_pushes(session, actor=stranger)[1] == 0
    assert pushes.list_pushes(session, actor=user, adapter_id=adapter.id)[1] == 1
    assert TOKEN not in pushes.PushPublic.of(look(push_id)).model_dump_json()


def test_one_that_has_ended_is_taken_off_the_list(hub, user, adapter, credential_id, session):
    done = push(user, adapter, credential_id)
    with db.write() as writing:
        pushes.cancel(writing, actor=user, push_id=done.id)
    assert pushes.list_pushes(session, actor=user)[1] == 0
