"""The REST API under `/api/v1`: one FastAPI app, one router for each resource.

A resource's module defines `router`; add the module to `RESOURCES`. Routes are thin: parse, call a service,
answer. They are plain `def` (FastAPI runs them in a thread) unless they stream.
"""

from importlib.metadata import version

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from qlora_studio.api import (
    account,
    adapters,
    auth,
    bodies,
    clips,
    comparisons,
    credentials,
    dataset_quality,
    dataset_versions,
    datasets,
    dictations,
    feedback,
    generations,
    inference,
    jobs,
    listening_tests,
    merging,
    models,
    notifications,
    people,
    preferences,
    problems,
    prompt_templates,
    pushes,
    queue,
    reference,
    rehearsals,
    sharing,
    sweeps,
    system,
)

RESOURCES = (
    auth,
    account,
    datasets,
    dataset_quality,
    dataset_versions,
    clips,
    credentials,
    models,
    jobs,
    queue,
    comparisons,
    rehearsals,
    sweeps,
    adapters,
    merging,
    pushes,
    inference,
    dictations,
    generations,
    prompt_templates,
    feedback,
    preferences,
    listening_tests,
    notifications,
    sharing,
    people,
    system,
)
PREFIX = "/api/v1"


def build_api() -> FastAPI:
    """Return the API with every resource's routes."""
    api = FastAPI(
        title="QLoRA Studio",
        version=version("qlora-studio"),
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        max_body_size=bodies.MAX_BYTES,
    )
    api.add_middleware(bodies.Patience)
    problems.add_handlers(api)
    for resource in RESOURCES:
        api.include_router(resource.router, prefix=PREFIX)

    @api.get(f"{PREFIX}/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(reference.render(api.openapi()))

    @api.api_route(
        "/api/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False
    )
    def nothing_here(rest: str) -> None:
        raise HTTPException(404, "There is nothing at this path.")

    return api


class Dispatch:
    """Send `/api` to the REST API and everything else to the pages."""

    def __init__(self, pages: ASGIApp, api: ASGIApp) -> None:
        self._pages = pages
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_api = scope["type"] == "http" and (scope["path"] == "/api" or scope["path"].startswith("/api/"))
        await (self._api if is_api else self._pages)(scope, receive, send)
