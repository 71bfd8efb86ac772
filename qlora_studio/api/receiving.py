"""A file's bytes as the body of a PUT: streamed to staging, resumed, refused in time."""

import asyncio
import re
from contextlib import aclosing
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from qlora_studio.api.bodies import STREAMED
from qlora_studio.api.files import takes
from qlora_studio.api.problems import answers, problem
from qlora_studio.core.errors import InvalidInput
from qlora_studio.core.settings import get_settings
from qlora_studio.ingest import staging


class Received(BaseModel):
    """How many of the file's bytes are on disk."""

    received: int


class ReceivedFile(BaseModel):
    """A file that has come, whole or in part. With a `reason` it can't be used, and isn't asked for."""

    filename: str
    received: int
    size: int | None
    is_complete: bool
    reason: str | None = None


class ReceivedFiles(BaseModel):
    """All of them, so that an upload knows where to go on."""

    items: list[ReceivedFile]
    total: int


LISTS_FILES: dict[str, Any] = {"response_model": ReceivedFiles, "response_model_exclude_unset": True}
_AT = {"name": "Content-Range", "in": "header", "schema": {"type": "string"}, "required": False}
# A route that takes a file's bytes; after the name may come folders.
RECEIVES: dict[str, Any] = {
    "status_code": 201,
    "response_model": Received,
    "openapi_extra": takes("application/octet-stream") | {"parameters": [_AT]},
    "responses": answers(408),
    "max_body_size": STREAMED,
}
WRITE_BYTES = 4 << 20  # written to disk at a time, so that memory stays flat
IDLE_LIMIT_S = 60.0
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


async def receive_file_into(owner: str, name: str, *, room: int, request: Request) -> Response:
    """Receive one file into staging.

    Args:
        owner: the id of the dataset or model that it is for.
        name: the cleaned name.
        room: bytes that may be added.

    Returns:
        201 `{"received": n}` once the bytes are on disk; 409 with `received` if a piece begins elsewhere.
    """
    start, size = _announced(request)
    most = min(get_settings().max_file_bytes, start + room)
    receiver = staging.Receiver(owner, name, start=start, size=size, max_bytes=most)
    try:
        return await _receive(receiver, request)
    except staging.OffsetMismatch as mismatch:
        body = {"type": "about:blank", "title": mismatch.title, "status": 409, "detail": mismatch.message}
        return JSONResponse(
            {**body, "errors": [], "received": mismatch.received}, 409, media_type="application/problem+json"
        )
    except TimeoutError:
        return problem(408, "Too slow", f"Nothing came for {IDLE_LIMIT_S:.0f} s. What was received is kept.")
    except ClientDisconnect:
        return Response(status_code=499)  # nobody is there to read it


async def _receive(receiver: staging.Receiver, request: Request) -> Response:
    """Write a body as it comes: some pieces go to the disk while the next ones arrive."""
    pieces: list[bytes] = []
    n_bytes = 0
    await asyncio.to_thread(receiver.__enter__)
    writing = asyncio.create_task(asyncio.sleep(0))
    try:
        async with asyncio.timeout(IDLE_LIMIT_S) as patience, aclosing(request.stream()) as stream:
            async for piece in stream:
                pieces.append(piece)
                n_bytes += len(piece)
                if n_bytes >= WRITE_BYTES:
                    await writing
                    writing = asyncio.create_task(asyncio.to_thread(_write, receiver, pieces))
                    pieces, n_bytes = [], 0
                patience.reschedule(asyncio.get_running_loop().time() + IDLE_LIMIT_S)
        await writing
        await asyncio.to_thread(_write, receiver, pieces)
        received = await asyncio.to_thread(receiver.finish)
    except (ClientDisconnect, TimeoutError):
        await writing
        await asyncio.to_thread(_write, receiver, pieces)
        raise
    finally:
        await asyncio.gather(writing, return_exceptions=True)
        receiver.__exit__(None, None, None)
    return JSONResponse({"received": received}, 201)


def _write(receiver: staging.Receiver, pieces: list[bytes]) -> None:
    for piece in pieces:
        receiver.write(piece)


def _announced(request: Request) -> tuple[int, int | None]:
    """Where the body begins in the file, and the whole file's size if it is told."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise InvalidInput("Send the bytes as they are, without Content-Encoding.")
    length = request.headers.get("content-length")
    given = request.headers.get("content-range")
    if given is None:
        return 0, int(length) if length is not None else None
    match = _RANGE.fullmatch(given.strip())
    message = "Content-Range must be: bytes first-last/total, with first <= last < total."
    if match is None:
        raise InvalidInput(message, fields={"Content-Range": message})
    first, last, total = (int(part) for part in match.groups())
    if not first <= last < total or (length is not None and int(length) != last - first + 1):
        raise InvalidInput(message, fields={"Content-Range": message})
    return first, total
