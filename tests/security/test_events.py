"""Every event handler, called by hand over a raw socket: signed out, as a stranger, with nonsense."""

import inspect
import json
from collections.abc import Callable, Collection, Iterator
from typing import Any

import httpx
import pytest
import reflex as rx
from sqlmodel import Session, SQLModel, select, text

from qlora_studio.contracts.enums import DatasetStatus, JobStatus, ModelStatus, Role, Task, TrainingType
from qlora_studio.contracts.notices import NoticeKind
from qlora_studio.db.engine import make_engine
from qlora_studio.db.models import (
    Adapter,
    BaseAudioModel,
    Clip,
    Dataset,
    Job,
    JobGroup,
    Notification,
    NotificationChannel,
    User,
)
from scripts.running import Server, sign_up, start_server
from tests.security.socket_client import EventSocket, handlers, handshake_status, name_of

pytestmark = pytest.mark.slow
SECRET = "zirconium"  # in the name of everything that is the owner's
TOKEN = "11111111-2222-4333-8444-555555555555"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = start_server(
        tmp_path_factory.mktemp("server"), QLORA_STUDIO_SLOTS="0", QLORA_STUDIO_EVENTS_PER_S="10000"
    )
    yield started
    started.stop()


@pytest.fixture(scope="module")
def database(server: Server) -> Iterator[Any]:
    engine = make_engine(f"sqlite:///{server.data_path / 'studio.db'}")
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def owner(server: Server) -> str:
    """A session's token of the person who owns things."""
    return sign_up(server, "owner")


@pytest.fixture(scope="module")
def ids(server: Server, database: Any, owner: str) -> dict[str, str]:
    """One dataset, clip, model, job and adapter of the owner's."""
    with Session(database, expire_on_commit=False) as session:
        user = session.exec(select(User).where(User.username == "owner")).one()
        dataset = Dataset(
            owner_id=user.id, name=SECRET, task=Task.SPEECH_TO_TEXT, status=DatasetStatus.READY, n_clips=1
        )
        model = BaseAudioModel(
            owner_id=user.id, name=SECRET, task=Task.SPEECH_TO_TEXT, status=ModelStatus.READY
        )
        session.add_all([dataset, model])
        session.flush()
        group = JobGroup(owner_id=user.id, name=SECRET)
        session.add(group)
        session.flush()
        job = Job(
            owner_id=user.id, name=SECRET, training_type=TrainingType.QLORA, dataset_id=dataset.id,
            model_id=model.id, status=JobStatus.QUEUED, group_id=group.id,
        )  # fmt: skip
        clip = Clip(dataset_id=dataset.id, position=0, filename=SECRET, text=SECRET)
        session.add_all([job, clip])
        session.flush()
        adapter = Adapter(owner_id=user.id, name=SECRET, job_id=job.id, base_model_id=model.id, path=SECRET)
        session.add(adapter)
        notice = Notification(user_id=user.id, kind=NoticeKind.JOB_FAILED.value, title=SECRET, body=SECRET)
        channel = NotificationChannel(user_id=user.id, kind="webhook", target=f"https://{SECRET}.example/")
        session.add_all([notice, channel])
        session.commit()
    return {
        "dataset_id": dataset.id,
        "clip_id": clip.id,
        "model_id": model.id,
        "job_id": job.id,
        "adapter_id": adapter.id,
        "notice_id": notice.id,
        "channel_id": channel.id,
        "sweep_id": group.id,
    }


WRITTEN = ("prompt", "object_name")


def rows_of(database: Any, about: Collection[str] = ()) -> dict[str, list[str]]:
    """All rows of the tables that people fill, as text; with `about`, those that name one of these ids.

    Texts are left out: a stranger may write an id into one of his own, and the audit log names it so.
    """
    found: dict[str, list[str]] = {}
    with Session(database) as session:
        for name in SQLModel.metadata.tables:
            if name not in {"auth_session", "login_failure"}:
                given = session.execute(text(f"select * from {name}")).mappings()
                rows = [
                    str(tuple(value for key, value in row.items() if key not in WRITTEN)) for row in given
                ]
                found[name] = sorted(r for r in rows if not about or any(i in r for i in about))
    return found


def arguments_for(handler: Any, value: str) -> dict[str, Any]:
    """Arguments that fit the handler, with `value` wherever a text is wanted."""
    made: dict[str, Any] = {}
    for name, parameter in list(inspect.signature(handler).parameters.items())[1:]:
        if parameter.kind in {parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL}:
            continue
        kind = str(parameter.annotation)
        if "dict" in kind or "TypedDict" in kind:
            made[name] = {"id": value, "name": "taken over", "text": "taken over"}
        elif "list" in kind:
            made[name] = [value]
        elif "bool" in kind:
            made[name] = True
        elif "int" in kind or "float" in kind:
            made[name] = 1
        else:
            made[name] = value
    return made


PAGES = {
    "dataset_id": "/datasets/[dataset_id]",
    "clip_id": "/datasets/[dataset_id]",
    "model_id": "/models/[model_id]",
    "job_id": "/training/[job_id]",
    "adapter_id": "/adapters/[adapter_id]",
    "notice_id": "/notifications",
    "channel_id": "/settings/notifications",
    "sweep_id": "/training/sweeps/[sweep_id]",
}
ONLY = {
    "notice_id": ("bell_state", "notifications_state"),
    "channel_id": ("channels_state",),
}  # who takes them


def call_everything(socket: EventSocket, ids: dict[str, str]) -> None:
    for kind, page in PAGES.items():
        value = ids[kind]
        query = {"dataset_id": ids["dataset_id"]} if kind == "clip_id" else {kind: value}
        path = page.replace("[" + next(iter(query)) + "]", next(iter(query.values())))
        for name, handler in handlers().items():
            if any(state in name for state in ONLY.get(kind, ("",))):
                socket.send(name, arguments_for(handler, value), path, **query)


@pytest.mark.attack(
    "S1", "every registered event handler over a raw socket, signed out", "nothing read, nothing changed"
)
def test_signed_out_nothing_is_read_and_nothing_changes(
    server: Server, database: Any, ids: dict[str, str]
) -> None:
    before = rows_of(database)
    socket = EventSocket(server, token=TOKEN)
    call_everything(socket, ids)
    seen = socket.collect(quiet_s=4)
    socket.close()
    assert SECRET not in seen
    assert "Traceback" not in seen
    assert rows_of(database) == before


@pytest.mark.attack(
    "S1",
    "every registered event handler, as a stranger, with the owner's ids",
    "nothing read, nothing changed",
)
def test_a_stranger_reads_and_changes_nothing_of_the_owners(
    server: Server, database: Any, ids: dict[str, str]
) -> None:
    with Session(database) as session:
        owner_id = session.exec(select(User.id).where(User.username == "owner")).one()
    about = [owner_id, *ids.values()]
    before = rows_of(database, about)
    socket = EventSocket(server, token=TOKEN, cookie=sign_up(server, "stranger"))
    call_everything(socket, ids)
    seen = socket.collect(quiet_s=6)
    socket.close()
    assert SECRET not in seen
    assert "Traceback" not in seen
    assert rows_of(database, about) == before


def test_the_owner_does_see_it(server: Server, owner: str, ids: dict[str, str]) -> None:
    """The control: the same calls that show a stranger nothing show the owner something."""
    socket = EventSocket(server, token=TOKEN, cookie=owner)
    load = name_of("datasets_state.load")
    socket.send(load, {}, "/datasets")
    assert SECRET in socket.collect(quiet_s=3)
    socket.close()


@pytest.mark.attack(
    "S3",
    "another browser with the token of a tab, during the session and after",
    "an empty state without the session's cookie",
)
def test_a_stolen_tab_token_opens_an_empty_state(server: Server, owner: str, ids: dict[str, str]) -> None:
    load = name_of("datasets_state.load")
    hydrate = "reflex___state____state.hydrate"
    first = EventSocket(server, token=TOKEN, cookie=owner)
    first.send(load, {}, "/datasets")
    assert SECRET in first.collect(quiet_s=3)
    for during in (True, False):
        thief = EventSocket(server, token=TOKEN)
        thief.send(hydrate, {}, "/datasets")
        assert SECRET not in thief.collect(quiet_s=2)
        thief.close()
        if during:
            first.close()


@pytest.mark.attack("S2", "setvar, and the framework's own event that writes variables", "state unchanged")
def test_framework_events_cannot_write_state(server: Server, ids: dict[str, str]) -> None:
    names = list(handlers())
    shell = next(n for n in names if n.endswith("shell_state.load")).removesuffix(".load")
    socket = EventSocket(server, token=TOKEN)
    socket.send(f"{shell}.setvar", {"var_name": "username", "value": "intruder"})
    update = "reflex___state____state.reflex___state____update_vars_internal_state.update_vars_internal"
    socket.send(update, {"vars": {f"{shell}.username": "intruder", f"{shell}.is_admin": True}})
    socket.send("reflex___state____state.hydrate", {})
    assert "intruder" not in socket.collect(quiet_s=3)
    socket.close()


def undecorated() -> list[str]:
    """Full names of what no page may call: `setvar`, and methods of states that are no handlers."""
    found = [name for name in handlers() if name.endswith(".setvar")]
    waiting = [rx.State]
    while waiting:
        state = waiting.pop()
        waiting += state.__subclasses__()
        methods = [name for kind in state.__mro__ for name, value in vars(kind).items() if callable(value)]
        found += [f"{state.get_full_name()}.{name}" for name in set(methods)]
    return [name for name in found if name not in handlers() or name.endswith(".setvar")]


@pytest.mark.attack(
    "S2",
    "every method of every state that is no handler, called by name",
    "dropped; state and rows unchanged",
)
def test_undecorated_methods_cannot_be_called(
    server: Server, database: Any, owner: str, saw: Callable[[str], None]
) -> None:
    names = undecorated()
    assert any(name.endswith("._shown") or name.endswith(".get_state") for name in names)
    before = rows_of(database)
    socket = EventSocket(server, token=TOKEN, cookie=owner)
    for name in names:
        socket.send(name, {"var_name": "username", "name": "username", "value": "intruder"})
    seen = socket.collect(quiet_s=3)
    socket.close()
    assert "intruder" not in seen
    assert "Traceback" not in seen
    assert rows_of(database) == before
    saw(f"{len(names)} names")


@pytest.mark.attack("S1", "handlers that ask for no session", "the framework's own; none of ours")
def test_what_is_open_to_all_is_known() -> None:
    """Whatever is added here was looked at: it reads nothing and changes nothing."""
    ours = {n: fn for n, fn in handlers().items() if not fn.__module__.startswith("tests.")}
    closed = [fn for fn in ours.values() if isinstance(getattr(fn, "_studio_access", None), Role)]
    opened = {n.rpartition(".")[2] for n, fn in ours.items() if fn not in closed}
    assert opened == {
        "setvar", "hydrate", "set_is_hydrated", "hydrate_and_load", "handle_frontend_exception",
        "update_vars_internal", "on_load_internal",
    }  # fmt: skip


@pytest.mark.attack(
    "S4",
    "arguments of the wrong type, nested, missing, extra, a million characters",
    "no trace, the server lives",
)
@pytest.mark.parametrize(
    "payload",
    [
        {"text": "x" * 900_000},
        {"text": None},
        {"text": {"a": [[[[]]]]}},
        {"text": float("nan")},
        {"text": json.loads("[" * 500 + "]" * 500)},
        {"text": [1, 2]},
        {},
        {"text": "a", "extra": 1},
        {"actor": "owner", "text": "a"},
        "not a dict",
    ],
)
def test_nonsense_is_one_message_and_the_server_lives(server: Server, owner: str, payload: Any) -> None:
    search = name_of("datasets_state.search")
    socket = EventSocket(server, token=TOKEN, cookie=owner)
    socket.send(search, payload, "/datasets")
    seen = socket.collect(quiet_s=1)
    assert "Traceback" not in seen
    socket.close()
    assert httpx.get(f"{server.base}/ping", timeout=20).status_code == 200


@pytest.mark.attack("S5", "websocket from a foreign Origin, or with a foreign Host", "403")
def test_foreign_sites_get_no_socket(server: Server, owner: str) -> None:
    own = f"localhost:{server.port}"
    assert handshake_status(server, origin=f"http://{own}", host=own, cookie=owner) == 101
    for origin in ("http://evil.example", "null", "http://localhost:1", f"http://{own}.evil.example", None):
        assert handshake_status(server, origin=origin, host=own, cookie=owner) == 403
    assert handshake_status(server, origin="http://evil.example", host="evil.example", cookie=owner) == 403


@pytest.mark.attack(
    "S4",
    "a training with NaN, infinity, 1e308, nested or a million characters, over REST",
    "422 with a sentence",
)
@pytest.mark.parametrize(
    "value", ["NaN", "Infinity", "1e308", "-1", '"x"', "[[[]]]", "{}", "9" * 400, "null"]
)
def test_a_training_of_nonsense_is_one_message(server: Server, owner: str, value: str) -> None:
    rest = '"name": "n", "dataset_id": "d", "model_id": "m"'
    content = f'{{{rest}, "optimization": {{"learning_rate": {value}}}}}'
    headers = {"Authorization": f"Bearer {owner}", "Content-Type": "application/json"}
    answer = httpx.post(f"{server.base}/api/v1/jobs", content=content, headers=headers, timeout=20)
    assert answer.status_code == 422
    assert "learning_rate" in answer.text
    assert "Traceback" not in answer.text
    assert httpx.get(f"{server.base}/ping", timeout=20).status_code == 200


@pytest.mark.attack("S5", "requests with a foreign Host: pages, files, REST", "400, whoever is signed in")
@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "169.254.169.254", "evil@x", ""])
def test_foreign_hosts_get_nothing(server: Server, owner: str, host: str) -> None:
    cookie = {"Cookie": f"studio_session_{server.port}={owner}"}
    for path in (
        "/",
        "/login",
        "/datasets",
        "/api/v1/me",
        "/assets/x.js",
        "/_event/?EIO=4&transport=polling",
    ):
        answer = httpx.get(server.base + path, headers={"Host": host, **cookie}, timeout=20)
        assert answer.status_code == 400, path
        assert "set-cookie" not in answer.headers


@pytest.mark.attack("S5", "requests from a foreign Origin", "403, no CORS header")
def test_cors_is_closed(server: Server) -> None:
    for path in ("/ping", "/_event/?EIO=4&transport=polling", "/api/v1/openapi.json", "/_health"):
        answer = httpx.get(server.base + path, headers={"Origin": "http://evil.example"}, timeout=20)
        assert "access-control-allow-origin" not in answer.headers
        assert answer.status_code == 403


def test_the_handlers_arguments_are_json() -> None:
    """What `call_everything` sends can be sent; otherwise the tests above would prove nothing."""
    assert len(handlers()) > 30
    for handler in handlers().values():
        json.dumps(arguments_for(handler, "x"))
