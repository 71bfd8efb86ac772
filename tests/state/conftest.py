"""States as a signed-in tab has them."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from qlora_studio.core.session_cookie import session_cookie_name
from qlora_studio.db import engine as db
from qlora_studio.db.models import User
from qlora_studio.services import accounts


@pytest.fixture
def opened(user: User, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Makes a state as a signed-in tab has it, at an address."""
    with db.write() as session:
        token = accounts.start_session(session, user=user).token

    def make(kind: type, query: dict[str, str] | None = None, **ids: str) -> Any:
        router = SimpleNamespace(
            headers=SimpleNamespace(cookie=f"{session_cookie_name()}={token}"),
            url=SimpleNamespace(path="/", query_parameters=query or {}),
        )
        monkeypatch.setattr(kind, "router", property(lambda self: router))
        for name, value in ids.items():
            monkeypatch.setattr(kind, name, value, raising=False)
        return kind(_reflex_internal_init=True)

    return make
