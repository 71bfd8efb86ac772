"""`Idempotency-Key`: the same key from the same user gives the same answer and makes nothing twice.

The key's row is taken in the transaction that does the work, so either both are on disk or neither is.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Header, Request
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse
from sqlmodel import Session

from qlora_studio.core.errors import Conflict
from qlora_studio.db import engine as db
from qlora_studio.db.models.audit import IdempotencyKey
from qlora_studio.db.models.user import User


@dataclass(frozen=True)
class WithSecret:
    """An answer and what is said this once: the database does not keep it for the next time."""

    answer: Any
    secret: dict[str, str | None]


IdempotencyHeader = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]


def create_once(
    *,
    user: User,
    key: str | None,
    request: Request,
    body: Any,
    create: Callable[[Session], Any],
    status_code: int = 201,
) -> JSONResponse:
    """Run `create` in one write transaction, or give again the answer that this key got before.

    Args:
        key: the header's value; None always creates.
        body: the parsed request; the same key with another body is a conflict.
        create: makes the thing and returns its public form (a pydantic model or plain JSON values), or that
            with a secret.

    Raises:
        Conflict: the key was used with a different request.
    """
    digest = _digest(request, body)
    with db.write() as session:
        known = _find(session, user, key, digest)
        if known is not None:
            return known
        made, secret = create(session), {}
        if isinstance(made, WithSecret):
            made, secret = made.answer, made.secret
        answer = jsonable_encoder(made)
        if key:
            session.add(
                IdempotencyKey(
                    user_id=user.id, key=key, request_hash=digest, status_code=status_code, body=answer
                )
            )
    return JSONResponse(answer | secret, status_code=status_code)


def find_answer(*, user: User, key: str | None, request: Request, body: Any) -> JSONResponse | None:
    """Return the answer that a key got before, for what takes too long to do inside `create_once`.

    Raises:
        Conflict: the key was used with a different request.
    """
    with db.read() as session:
        return _find(session, user, key, _digest(request, body))


def _find(session: Session, user: User, key: str | None, digest: str) -> JSONResponse | None:
    seen = session.get(IdempotencyKey, (user.id, key)) if key else None
    if seen is None:
        return None
    if seen.request_hash != digest:
        raise Conflict("This Idempotency-Key was used for a different request.")
    return JSONResponse(seen.body, status_code=seen.status_code, headers={"Idempotent-Replay": "true"})


def _digest(request: Request, body: Any) -> str:
    text = json.dumps([request.method, request.url.path, jsonable_encoder(body)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
