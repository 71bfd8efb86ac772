import inspect
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
import reflex as rx
from reflex.event import Event

from qlora_studio.contracts.enums import Role
from qlora_studio.core.errors import InvalidInput, NotFound
from qlora_studio.core.session_cookie import session_cookie_name
from qlora_studio.db import engine as db
from qlora_studio.db.models import User
from qlora_studio.services import accounts
from qlora_studio.state.auth import BAD_ARGUMENTS, UNEXPECTED, Guard, authorized, public


class GuardedState(rx.State):
    done: list[str] = []
    field_errors: dict[str, str] = {}

    @rx.event
    @authorized()
    async def read(self, actor: User, count: int = 1, ratio: float = 0.5):
        """Anyone signed in."""
        self.done.append(f"{actor.username} {count!r} {ratio!r}")

    @rx.event
    @authorized(Role.TRAINER)
    async def change(self, actor: User, name: str):
        """Trainers only, in two steps."""
        self.done.append(name)
        yield rx.toast.success("half")
        self.done.append(actor.role)

    @rx.event
    @authorized()
    async def fail(self, kind: str):
        """Raise what is asked for."""
        raise {
            "mine": NotFound("There is no such dataset."),
            "field": InvalidInput("Check the marked fields.", fields={"name": "Give it a name."}),
            "bug": RuntimeError("secret detail"),
        }[kind]

    @rx.event
    @public
    async def greet(self, text: str):
        """Signed out too."""
        self.done.append(text)

    async def undecorated(self):
        self.done.append("never")


def handler(name: str) -> Any:
    return GuardedState.event_handlers[name].fn


class FakeState(SimpleNamespace):
    """As much of a state as a handler here needs."""


def make_state(token: str = "", path: str = "/datasets") -> Any:
    state = GuardedState(_reflex_internal_init=True)  # type: ignore[call-arg]
    object.__setattr__(
        state,
        "_router_for_test",
        SimpleNamespace(
            headers=SimpleNamespace(cookie=f"{session_cookie_name()}={token}" if token else ""),
            url=SimpleNamespace(path=path),
        ),
    )
    return state


@pytest.fixture(autouse=True)
def _router(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        GuardedState, "router", property(lambda self: object.__getattribute__(self, "_router_for_test"))
    )


def token_of(user: User) -> str:
    with db.write() as session:
        return accounts.start_session(session, user=user).token


def text_of(event: Any) -> str:
    return str(event.args if hasattr(event, "args") else event)


async def run(call: Any) -> list[Any]:
    if isinstance(call, AsyncIterator):
        return [event async for event in call]
    return [await call]


async def test_the_actor_is_put_in_and_hidden_from_the_page(user: User) -> None:
    assert "actor" not in inspect.signature(handler("read")).parameters
    state = make_state(token_of(user))
    assert await handler("read")(state, count=3, ratio=0.25) is None
    assert state.done == ["ada 3 0.25"]


@pytest.mark.parametrize("token", ["", "guess"])
async def test_signed_out_goes_to_sign_in(data_folder: object, token: str) -> None:
    state = make_state(token)
    for call in (handler("read")(state), handler("change")(state, name="x")):
        [event] = await run(call)
        assert "/login?next=/datasets" in text_of(event)
    assert state.done == []


async def test_log_out_counts_at_the_next_event(user: User) -> None:
    token = token_of(user)
    state = make_state(token)
    await handler("read")(state)
    with db.write() as session:
        accounts.log_out(session, token=token)
    assert "/login" in text_of(await handler("read")(state))
    assert len(state.done) == 1


async def test_role_too_low(session: Any, user: User) -> None:
    user.role = Role.VIEWER
    session.add(user)
    session.commit()
    state = make_state(token_of(user))
    [event] = await run(handler("change")(state, name="x"))
    assert "trainer" in text_of(event)
    assert state.done == []


async def test_generators_go_on(user: User) -> None:
    state = make_state(token_of(user))
    [event] = await run(handler("change")(state, name="x"))
    assert "half" in text_of(event)
    assert state.done == ["x", Role.TRAINER]


@pytest.mark.parametrize(
    "arguments",
    [
        {"count": "many"},
        {"count": [1]},
        {"count": None},
        {"ratio": float("nan")},
        {"ratio": float("inf")},
        {"unknown": 1},
        {"actor": "admin"},
        {"count": {"a": {"b": []}}},
        {"count": "1" * 1_000_000},
    ],
)
async def test_odd_arguments_are_one_message(user: User, arguments: dict[str, Any]) -> None:
    state = make_state(token_of(user))
    text = text_of(await handler("read")(state, **arguments))
    assert BAD_ARGUMENTS in text or "more text than fits" in text
    assert state.done == []


async def test_errors_are_sentences(user: User) -> None:
    state = make_state(token_of(user))
    assert "There is no such dataset." in text_of(await handler("fail")(state, kind="mine"))
    bug = text_of(await handler("fail")(state, kind="bug"))
    assert UNEXPECTED in bug
    assert "secret" not in bug
    assert await handler("fail")(state, kind="field") is None
    assert state.field_errors == {"name": "Give it a name."}


async def test_public_needs_nobody(data_folder: object) -> None:
    state = make_state()
    await handler("greet")(state, text="hello")
    assert state.done == ["hello"]


def test_a_plain_function_is_refused() -> None:
    with pytest.raises(TypeError, match="async"):

        @authorized()
        def blocks(self: Any) -> None: ...


@pytest.mark.parametrize(
    ("name", "is_open"),
    [("read", True), ("greet", True), ("undecorated", False), ("setvar", False), ("nothing", False)],
)
async def test_the_guard_lets_only_marked_handlers_through(name: str, is_open: bool) -> None:
    event = Event(name=f"{GuardedState.get_full_name()}.{name}")
    answer = await Guard().preprocess(None, None, event)
    assert (answer is None) == is_open


async def test_every_handler_of_the_app_is_marked() -> None:
    from reflex_base.registry import RegistrationContext

    from qlora_studio import qlora_studio  # noqa: F401  loads every page and state

    ours = [
        (name, registered.handler.fn)
        for name, registered in RegistrationContext.get().event_handlers.items()
        if registered.handler.fn.__module__.startswith("qlora_studio.")
    ]
    assert ours
    assert [name for name, fn in ours if not hasattr(fn, "_studio_access")] == []
