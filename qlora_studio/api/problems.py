"""Errors as RFC 9457 problem documents, whatever raised them."""

import logging
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qlora_studio.core.errors import StudioError, TooManyTries

logger = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
_TITLES = {
    400: "Bad request",
    401: "Sign in first",
    403: "Not allowed",
    404: "Not there, or not yours",
    405: "Method not allowed",
    408: "Too slow",
    409: "Conflict, or in use",
    413: "Too large",
    415: "Unsupported media type",
    416: "No such part",
    422: "A field is missing or wrong",
    429: "Too many tries",
    503: "Busy, or not available now",
    507: "Storage full",
}
_RETRY_AFTER = {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}


class FieldError(BaseModel):
    """A field by its dotted name, and what is wrong with it."""

    field: str
    message: str


class Problem(BaseModel):
    """What every error answers (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError]


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return a route's `responses` for statuses that are answered with a problem document."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    told: dict[int | str, dict[str, Any]] = {
        status: {"description": f"{_TITLES[status]}.", "content": content} for status in statuses
    }
    if 429 in told:
        told[429]["headers"] = {"Retry-After": _RETRY_AFTER}
    return told


def problem(
    status: int,
    title: str,
    detail: str = "",
    *,
    errors: list[dict[str, str]] | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """Return a problem document. `errors` are `{"field", "message"}` pairs."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, "errors": errors or []}
    return JSONResponse(body, status_code=status, media_type=MEDIA_TYPE, headers=headers)


def problem_of(error: StudioError) -> JSONResponse:
    """Return the problem document of one of our own errors."""
    fields: dict[str, str] = getattr(error, "fields", {})
    errors = [{"field": field, "message": message} for field, message in fields.items()]
    headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, TooManyTries) else None
    if error.status == 401:
        headers = {"WWW-Authenticate": "Bearer"}
    detail = error.message
    if users := getattr(error, "users_of", None):
        detail = f"{detail} Used by: {', '.join(users)}."
    return problem(error.status, error.title, detail, errors=errors, headers=headers)


class OnlyProblems:
    """ASGI middleware: what the framework refuses in its own words is a problem document, too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_replaced = False

        async def send_problem(message: Message) -> None:
            nonlocal is_replaced
            if message["type"] == "http.response.start" and message["status"] >= 400:
                headers = dict(Headers(raw=message["headers"]))
                if headers.pop("content-type", "") != MEDIA_TYPE:
                    is_replaced = True
                    headers.pop("content-length", None)
                    title = _TITLES.get(message["status"], "Refused")
                    await problem(message["status"], title, f"{title}.", headers=headers)(
                        scope, receive, send
                    )
            if not is_replaced:
                await send(message)

        await self._app(scope, receive, send_problem)


def add_handlers(app: FastAPI, methods_at: Callable[[str], list[str]]) -> None:
    """Make `app` answer every error with a problem document and never with a trace.

    Args:
        methods_at: the methods that there are at a path.
    """

    @app.exception_handler(StudioError)
    async def _studio(_request: Request, error: StudioError) -> JSONResponse:
        if error.status >= 500:
            logger.error("%s", error, exc_info=error)
        return problem_of(error)

    @app.exception_handler(RequestValidationError)
    async def _validation(_request: Request, error: RequestValidationError) -> JSONResponse:
        errors = [{"field": field_of(e["loc"]), "message": sentence_of(e)} for e in error.errors()]
        return problem(422, "Check the marked fields", "Some fields are missing or wrong.", errors=errors)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers) if error.headers else None
        title, detail = _TITLES.get(error.status_code, str(error.detail)), str(error.detail)
        if error.status_code == 404:
            title, detail = "Not found", "There is nothing at this path."
        if error.status_code == 405:
            headers = {"Allow": ", ".join(methods_at(request.url.path))}
            detail = f"{request.method} is not for this path."
        return problem(error.status_code, title, detail, headers=headers)

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> JSONResponse:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return problem(
            500, "Something went wrong", "Something went wrong on our side. The server's log has the details."
        )


def field_of(loc: tuple[Any, ...]) -> str:
    """Turn pydantic's location into a dotted field: `("body", "qlora", "rank")` is `qlora.rank`."""
    parts = [str(p) for p in loc]
    if len(parts) > 1 and parts[0] in {"body", "query", "path", "header"}:
        parts = parts[1:]
    return ".".join(parts)


def sentence_of(error: Any) -> str:
    """Turn one of pydantic's errors into a sentence."""
    kinds = {"missing": "This field is required.", "extra_forbidden": "This field is not known."}
    text = kinds.get(error["type"]) or str(error["msg"]).removeprefix("Value error, ")
    return text if text.endswith(".") else text + "."
