"""Files as answers: sounds with `Range`, downloads, and how the description of the API tells of them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fastapi.responses import FileResponse

from qlora_studio.api.problems import answers
from qlora_studio.api.streams import OneOfAFew
from qlora_studio.db.models import User

GUARDED = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
}


def sends(*media_types: str, ranges: bool = False) -> dict[int | str, dict[str, Any]]:
    """Return a route's `responses` when it sends a file; with `ranges` also a part of one."""
    whole = {
        "description": "The file.",
        "content": {name: {"schema": {"type": "string", "format": "binary"}} for name in media_types},
    }
    if not ranges:
        return {200: whole}
    return {200: whole, 206: whole | {"description": "The part that was asked for."}, **answers(416)}


def streams(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """Return a route's `responses` when it sends a stream, of which one person has only a few."""
    return sends(*media_types) | answers(429)


def takes(media_type: str) -> dict[str, Any]:
    """Return a route's `openapi_extra` when its body is a file's raw bytes."""
    content = {media_type: {"schema": {"type": "string", "format": "binary"}}}
    return {"requestBody": {"required": True, "content": content}}


class SoundFile(FileResponse):
    """A sound from the disk: only as a download, never sniffed for another type; `Range` works."""

    def __init__(self, path: Path, *, name: str, media_type: str, max_age_s: int = 600) -> None:
        super().__init__(
            path,
            media_type=media_type,
            filename=name,
            content_disposition_type="attachment",
            headers=GUARDED | {"Cache-Control": f"private, max-age={max_age_s}"},
        )


def zip_response(name: str, pieces: Iterable[bytes], *, user: User) -> OneOfAFew:
    """Send a zip as a download."""
    return attachment(name, pieces, user=user, media_type="application/zip")


def attachment(name: str, pieces: Iterable[bytes], *, user: User, media_type: str) -> OneOfAFew:
    """Send bytes as a file to keep, never to be shown by the browser."""
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-store",
    }
    return OneOfAFew(pieces, user_id=user.id, media_type=media_type, headers=headers)
