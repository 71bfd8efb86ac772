"""What Schemathesis may send to the server under test: nothing that makes it call somebody else.

A URL, a bucket or a webhook's address is kept only if it stays on this machine, where it is refused.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import schemathesis

_HERE = {"127.0.0.1", "localhost", "::1"}


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
