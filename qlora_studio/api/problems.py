"""Errors as RFC 9457 problem documents, whatever raised them."""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from qlora_studio.core.errors import StudioError, TooManyTries

logger = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
_TITLES = {
    404: "Not found",
    405: "Method not allowed",
    413: "Too large",
    400: "Bad request",
    408: "Too slow",
    415: "Unsupported media type",
}


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


def add_handlers(app: FastAPI) -> None:
    """Make `app` answer every error with a problem document and never with a trace."""

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
    async def _http(_request: Request, error: HTTPException) -> JSONResponse:
        title = _TITLES.get(error.status_code, str(error.detail))
        headers = dict(error.headers) if error.headers else None
        return problem(error.status_code, title, str(error.detail), headers=headers)

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
