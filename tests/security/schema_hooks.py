"""What Schemathesis may send to the server under test.

Nothing that makes it call somebody else: a URL, a bucket or a webhook's address is kept only if it stays on
this machine, where it is refused. Nothing that ends the session of the run: it uses ids that it was told.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import schemathesis

_HERE = {"127.0.0.1", "localhost", "::1"}


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    """Put no session that there is into an address, nor limits so low that all else is refused."""
    named = case.path_parameters or {}
    if str(named.get("session_id", "")).startswith("ses_"):
        named["session_id"] = "ses_000000000000"
    if "user_id" in named and isinstance(case.body, dict):
        for limit in ("max_bytes", "max_queued_jobs"):
            case.body.pop(limit, None)


@schemathesis.hook
def filter_body(context: schemathesis.HookContext, body: Any) -> bool:
    """Whether a generated body stays on this machine."""
    return all(_stays_here(text) for text in _texts(body))


def _stays_here(text: str) -> bool:
    if "://" not in text:
        return True
    try:
        return urlsplit(text).hostname in _HERE
    except ValueError:
        return True  # no address at all


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


@schemathesis.serializer("application/zip")
def zipped(context: schemathesis.SerializationContext, value: Any) -> bytes:
    """Send what was generated for a zip as it is."""
    return value if isinstance(value, bytes) else str(value).encode()
