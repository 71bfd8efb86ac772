"""The session cookie's name and how it is read, for REST and websocket alike."""

from http.cookies import CookieError, SimpleCookie

from qlora_studio.core.settings import get_settings


def session_cookie_name() -> str:
    """The cookie's name; it holds the port, since cookies are shared by all ports of a host."""
    return f"studio_session_{get_settings().port}"


def token_from_cookie(header: str) -> str:
    """Return the session's token from a Cookie header, or an empty string."""
    try:
        morsel = SimpleCookie(header).get(session_cookie_name())
    except CookieError:
        return ""
    return morsel.value if morsel else ""
