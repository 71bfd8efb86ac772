"""The OpenAPI description: beside what FastAPI finds, every way in which a request may be refused.

What a route alone can answer stands at the route (`responses=answers(429)`); what follows from its kind is
added here, so that no route has to repeat it.
"""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp

from qlora_studio.api.problems import OnlyProblems, Problem, answers

Operation = dict[str, Any]
_SAFE = {"get", "head"}
_FOREIGN = 403  # from another site, or the role does not reach
_ALWAYS = (400, _FOREIGN, 503)


class DescribedApi(FastAPI):
    """A FastAPI app that refuses by problem documents alone and describes each operation's."""

    def build_middleware_stack(self) -> ASGIApp:
        """Return the app with its middleware, outermost what makes every refusal a problem document."""
        return OnlyProblems(super().build_middleware_stack())

    def openapi(self) -> dict[str, Any]:
        """Return the description; it is made once."""
        if self.openapi_schema is None:
            description = super().openapi()
            schemas = description["components"]["schemas"]
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            shape = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= shape.pop("$defs")
            schemas["Problem"] = shape
            for method, operation in operations(description):
                _add_refusals(method, operation)
        assert self.openapi_schema is not None
        return self.openapi_schema


def operations(description: dict[str, Any]) -> Iterator[tuple[str, Operation]]:
    """Yield each operation of a description with its method in small letters."""
    for path in description["paths"].values():
        yield from path.items()


def _add_refusals(method: str, operation: Operation) -> None:
    told: dict[str, Any] = operation["responses"]
    is_checked = told.pop("422", None) is not None
    for status, answer in answers(*_refusals(method, operation, is_checked=is_checked)).items():
        told.setdefault(str(status), answer)
    operation["responses"] = dict(sorted(told.items()))


def _refusals(method: str, operation: Operation, *, is_checked: bool) -> Iterator[int]:
    yield from _ALWAYS
    needs_sign_in, has_body = bool(operation.get("security")), "requestBody" in operation
    if needs_sign_in:
        yield 401
    names_one = any(parameter["in"] == "path" for parameter in operation.get("parameters", ()))
    if names_one or (needs_sign_in and has_body):
        yield 404
    if is_checked or has_body:
        yield 422
    if has_body:
        yield from (408, 413)
    if method not in _SAFE:
        yield 507
        if needs_sign_in:
            yield 409
