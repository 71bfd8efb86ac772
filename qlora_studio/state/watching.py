"""When a background loop of a page has to end.

A watcher listed in `on_load` is cancelled by the framework when its page is left. This is the belt to those
braces: it also ends when its tab has gone, or when a newer watcher of the same state has taken over.

    @rx.event(background=True)
    @authorized()
    async def watch(self, actor: User):
        watch = Watch(self)
        await watch.take_over()
        while await watch.goes_on(every_s=1.0):
            rows = await asyncio.to_thread(...)
            async with self:
                if watch.is_newest:
                    self.rows = rows
"""

import asyncio
import time
from typing import Any

from reflex_base.event.context import EventContext
from reflex_base.registry import RegistrationContext

from qlora_studio.core.errors import NotAuthenticated
from qlora_studio.state.auth import require_session

_SESSION_EVERY_S = 2.0


class Watch:
    """One background loop of one tab. The state needs a backend var `_watch_id: int = 0`.

    Args:
        state: the page's.
        session_every_s: how often it is looked up whether the session still lives. A loop that looks less
            often looks each time before it sends something.
    """

    def __init__(self, state: Any, *, session_every_s: float = _SESSION_EVERY_S) -> None:
        self._state = state
        self._session_every_s = session_every_s
        self._id = time.monotonic_ns()
        self._checked_at = 0.0
        self._is_first = True

    async def take_over(self) -> None:
        """End older watchers of this state."""
        async with self._state:
            self._state._watch_id = self._id

    @property
    def is_newest(self) -> bool:
        """Whether no newer watcher has taken over. Asked with the state held, before what was read is shown:
        a slow reading must not replace what a newer load has shown meanwhile.
        """
        return bool(self._state._watch_id == self._id)

    async def goes_on(self, *, every_s: float) -> bool:
        """Wait `every_s` seconds (not the first time), then say whether to look once more."""
        if not self._is_first:
            await asyncio.sleep(every_s)
        self._is_first = False
        if self._state._watch_id != self._id or not is_tab_open():
            return False
        if time.monotonic() - self._checked_at >= self._session_every_s:
            try:
                await require_session(self._state)
            except NotAuthenticated:
                return False
            self._checked_at = time.monotonic()
        return True


def is_tab_open() -> bool:
    """Whether the tab whose event this is still has its websocket. True outside a running server."""
    try:
        token = EventContext.get().token
        namespace = RegistrationContext.get().app.event_namespace
    except (LookupError, RuntimeError):
        return True
    return namespace is None or token in namespace.token_to_sid
