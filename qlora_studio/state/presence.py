"""Is anybody there? A background watcher asks before it works for a tab that has gone."""

from typing import Any

from reflex.utils import prerequisites


def is_connected(state: Any) -> bool:
    """Whether the tab that this state belongs to has an open socket on this server."""
    app = prerequisites.get_app().app
    namespace = app.event_namespace
    token = state.router.session.client_token
    return namespace is None or token in namespace.token_to_sid
