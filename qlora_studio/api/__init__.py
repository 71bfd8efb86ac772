"""The REST API under `/api/v1`: one FastAPI app, one router for each resource.

A resource's module defines `router`; add the module to `RESOURCES`. Routes are thin: parse, call a service,
answer. They are plain `def` (FastAPI runs them in a thread) unless they stream.
"""

from importlib.metadata import version

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
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
from qlora_studio.api.description import DescribedApi

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
    api = DescribedApi(
        title="QLoRA Studio",
        version=version("qlora-studio"),
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        max_body_size=bodies.MAX_BYTES,
    )
    api.add_middleware(bodies.Patience)
    problems.add_handlers(api, _methods_at)
    for resource in RESOURCES:
        api.include_router(resource.router, prefix=PREFIX)

    @api.get(f"{PREFIX}/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(reference.render(api.openapi()))

    return api


def _methods_at(path: str) -> list[str]:
    local = path.removeprefix(PREFIX)
    routes = [route for resource in RESOURCES for route in resource.router.routes]
    found = [
        route.methods for route in routes if isinstance(route, APIRoute) and route.path_regex.match(local)
    ]
    return sorted(set().union(*found))


class Dispatch:
    """Send `/api` to the REST API and everything else to the pages."""

    def __init__(self, pages: ASGIApp, api: ASGIApp) -> None:
        self._pages = pages
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_api = scope["type"] == "http" and (scope["path"] == "/api" or scope["path"].startswith("/api/"))
        await (self._api if is_api else self._pages)(scope, receive, send)
