"""The REST API under `/api/v1`: one FastAPI app, one router for each resource.

A resource's module defines `router`; add its name to `RESOURCES`. Routes are thin: parse, call a service,
answer. They are plain `def` (FastAPI runs them in a thread) unless they stream.

Routes take half a second to set up, so that is done when the API is built, not on import: pages are served
before it.
"""

import asyncio
import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Receive, Scope, Send

if TYPE_CHECKING:
    from fastapi import FastAPI

RESOURCES = (
    "auth",
    "datasets",
    "dataset_quality",
    "dataset_versions",
    "clips",
    "credentials",
    "models",
    "jobs",
    "queue",
    "comparisons",
    "rehearsals",
    "sweeps",
    "adapters",
    "merging",
    "pushes",
    "inference",
    "generations",
    "feedback",
    "notifications",
    "system",
)
PREFIX = "/api/v1"


def build_api() -> "FastAPI":
    """Return the API with every resource's routes."""
    from fastapi import FastAPI

    from qlora_studio.api import problems, reference

    api = FastAPI(
        title="QLoRA Studio",
        version=version("qlora-studio"),
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    problems.add_handlers(api)
    for resource in RESOURCES:
        router = importlib.import_module(f"{__name__}.{resource}").router
        api.include_router(router, prefix=PREFIX)

    @api.get(f"{PREFIX}/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(reference.render(api.openapi()))

    @api.api_route(
        "/api/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False
    )
    def nothing_here(rest: str) -> None:
        raise HTTPException(404, "There is nothing at this path.")

    return api


class RestApi:
    """The REST API as an ASGI app that is built at the first request for it, or by `build`."""

    def __init__(self) -> None:
        self._built: ASGIApp | None = None
        self._building = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._built or await self.build())(scope, receive, send)

    async def build(self) -> ASGIApp:
        """Make it ready, once, in a thread; returns the app."""
        async with self._building:
            if self._built is None:
                self._built = await asyncio.to_thread(build_api)
            return self._built


class Dispatch:
    """Send `/api` to the REST API and everything else to the pages."""

    def __init__(self, pages: ASGIApp, api: ASGIApp) -> None:
        self._pages = pages
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_api = scope["type"] == "http" and (scope["path"] == "/api" or scope["path"].startswith("/api/"))
        await (self._api if is_api else self._pages)(scope, receive, send)
