"""Who may call an event handler: one decorator, and a guard that lets nothing else through.

Every public method of a State can be called by any websocket client. So `Guard` refuses each event whose
handler is not decorated with `@authorized` or `@public`, and the decorator looks up the session behind the
socket's cookie at every event: a log-out counts at once, in every tab.

    class DatasetsState(rx.State):
        rows: list[DatasetRow] = []

        @rx.event
        @authorized()
        async def load(self, actor: User):
            self.rows = await asyncio.to_thread(list_rows, actor)

`actor` is put in by the decorator and is not an argument that a page passes. Arguments that came from the
page are checked against the handler's annotations first. An error becomes a toast (or `field_errors`, where
the state has that var), never a trace.
"""

import functools
import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_type_hints
from urllib.parse import quote

import reflex as rx
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from reflex.middleware.middleware import Middleware
from reflex.state import StateUpdate
from reflex_base.registry import RegistrationContext

from qlora_studio.contracts.enums import Role
from qlora_studio.core.errors import Forbidden, InvalidInput, NotAuthenticated, StudioError
from qlora_studio.core.session_cookie import token_from_cookie
from qlora_studio.db.models.user import User
from qlora_studio.services import access, accounts
from qlora_studio.state.once import AskedTogether

logger = logging.getLogger(__name__)
Handler = TypeVar("Handler", bound=Callable[..., Any])

BAD_ARGUMENTS = "The page sent something that was not understood. Reload it and try again."
UNEXPECTED = "Something went wrong on our side. Try again; the server's log has the details."
_MARK = "_studio_access"
_MAX_TEXT = 200_000  # characters in all arguments of one event together
_sessions = AskedTogether(accounts.authenticate_all)


def public(handler: Handler) -> Handler:
    """Let anyone call this handler, signed in or not. Its arguments are still checked."""
    return _decorate(handler, role=None)


def authorized(role: Role = Role.VIEWER) -> Callable[[Handler], Handler]:
    """Let only signed-in people of at least this role call the handler, which gets them as `actor`."""
    return functools.partial(_decorate, role=role)


async def require_session(state: Any) -> User:
    """Return whose session this state's socket carries. A background loop calls it each time around.

    Raises:
        NotAuthenticated: there is none, or it has ended.
    """
    token = token_from_cookie(state.router.headers.cookie or "")
    if not token:
        raise NotAuthenticated("Sign in first.")
    signed_in = await _sessions.ask(token)
    if signed_in is None:
        raise NotAuthenticated("Your session has ended. Sign in again.")
    return signed_in.user


class Guard(Middleware):
    """Runs before every event: refuses handlers that carry no access mark, and `setvar` of any state."""

    async def preprocess(self, app: Any, state: Any, event: Any) -> StateUpdate | None:
        """Return an empty update to drop the event, or None to let it through."""
        registered = RegistrationContext.get().event_handlers.get(event.name)
        handler = registered.handler.fn if registered else None
        if handler is None or not _is_open(handler):
            logger.warning("Refused the event %.120s", event.name)
            return StateUpdate()
        return None


def _is_open(handler: Any) -> bool:
    if getattr(handler, _MARK, False):
        return True
    is_framework = getattr(handler, "__module__", "").startswith(
        ("reflex.", "reflex_base.", "reflex_components")
    )
    return is_framework and getattr(handler, "__name__", "") not in {"setvar", "_setvar"}


def _decorate(handler: Handler, *, role: Role | None) -> Handler:
    wants_actor = "actor" in inspect.signature(handler).parameters
    call = _Call(handler, role, wants_actor)
    if inspect.isasyncgenfunction(handler):

        async def wrapped_generator(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                async for event in handler(self, **await call.arguments(self, args, kwargs)):
                    yield event
            except Exception as error:
                yield await _shown(self, error, handler)

        wrapper: Any = wrapped_generator
    elif inspect.iscoroutinefunction(handler):

        async def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return await handler(self, **await call.arguments(self, args, kwargs))
            except Exception as error:
                return await _shown(self, error, handler)

        wrapper = wrapped
    else:
        raise TypeError(f"{handler.__qualname__} must be async: a plain handler blocks everybody's events.")
    functools.update_wrapper(wrapper, handler)
    del wrapper.__wrapped__
    wrapper.__signature__ = call.page_signature
    wrapper.__annotations__ = {k: v for k, v in handler.__annotations__.items() if k != "actor"}
    setattr(wrapper, _MARK, role or "public")
    return wrapper


class _Call:
    """The arguments of one handler: bound, checked, and `actor` added."""

    def __init__(self, handler: Callable[..., Any], role: Role | None, wants_actor: bool) -> None:
        self._handler, self._role, self._wants_actor = handler, role, wants_actor
        signature = inspect.signature(handler)
        kept = [p for name, p in signature.parameters.items() if name != "actor"]
        self.page_signature = signature.replace(parameters=kept)

    async def arguments(self, state: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the handler's arguments.

        Raises:
            InvalidInput: they do not fit the handler.
            NotAuthenticated: nobody is signed in.
            Forbidden: the role is too low.
        """
        extra: dict[str, Any] = {}
        if self._role is not None:
            actor = await require_session(state)
            if access.RANK[actor.role] < access.RANK[self._role]:
                raise Forbidden(f"This needs the role {self._role.value}. Ask an admin.")
            if self._wants_actor:
                extra["actor"] = actor
        try:
            bound = self.page_signature.bind(state, *args, **kwargs).arguments
        except TypeError:
            raise InvalidInput(BAD_ARGUMENTS) from None
        given = {name: value for name, value in bound.items() if name != "self"}
        if _text_size(given) > _MAX_TEXT:
            raise InvalidInput("That is more text than fits. Shorten it and try again.")
        return {name: self._checked(name, value) for name, value in given.items()} | extra

    def _checked(self, name: str, value: Any) -> Any:
        adapter = self._adapters.get(name)
        if adapter is None:
            return value
        try:
            return adapter.validate_python(value)
        except ValidationError:
            raise InvalidInput(BAD_ARGUMENTS) from None

    @functools.cached_property
    def _adapters(self) -> Mapping[str, TypeAdapter[Any]]:
        hints = get_type_hints(self._handler, include_extras=True)
        names = [n for n in self.page_signature.parameters if n != "self" and n in hints]
        return {name: adapter for name in names if (adapter := _adapter(hints[name])) is not None}


def _adapter(hint: Any) -> TypeAdapter[Any] | None:
    try:
        return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False))
    except PydanticUserError:
        pass
    try:
        return TypeAdapter(hint)
    except PydanticUserError:
        return None


def _text_size(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(_text_size(k) + _text_size(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return sum(map(_text_size, value))
    return 1


async def _shown(state: Any, error: Exception, handler: Callable[..., Any]) -> Any:
    """Turn an error into what the page does about it: fields marked, a toast, or the way to sign-in."""
    if isinstance(error, NotAuthenticated):
        path = state.router.url.path or "/"
        return rx.redirect("/login" if path == "/" else f"/login?next={quote(path, safe='/')}")
    if isinstance(error, InvalidInput) and error.fields and "field_errors" in type(_plain(state)).vars:
        await _assign(state, field_errors=error.fields)
        return None
    if (isinstance(error, StudioError) and error.status < 500) or (
        isinstance(error, StudioError) and error.status in {503, 507}
    ):
        return rx.toast.error(error.message)
    logger.error("%s failed", handler.__qualname__, exc_info=error)
    return rx.toast.error(UNEXPECTED)


def _plain(state: Any) -> Any:
    return getattr(state, "__wrapped__", state)


async def _assign(state: Any, **values: Any) -> None:
    if isinstance(state, rx.State):
        for name, value in values.items():
            setattr(state, name, value)
        return
    async with state:
        for name, value in values.items():
            setattr(state, name, value)
