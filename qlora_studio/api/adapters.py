"""Adapters: list, look, take in, sort in, make the default, download, delete."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field
from starlette.requests import ClientDisconnect

from qlora_studio.api.bodies import STREAMED
from qlora_studio.api.files import streams, takes, zip_response
from qlora_studio.api.lists import Page, ShelfFilter, with_owners
from qlora_studio.api.problems import answers
from qlora_studio.api.security import CurrentTrainer, CurrentUser
from qlora_studio.contracts.enums import AdapterStage, Verdict
from qlora_studio.core.errors import Unavailable
from qlora_studio.db import engine as db
from qlora_studio.db.models import User
from qlora_studio.ingest import staging
from qlora_studio.services import adapter_imports, adapters, lineage, results
from qlora_studio.services.access import Action
from qlora_studio.services.adapter_imports import AdapterImport
from qlora_studio.services.adapter_schemas import Activation, AdapterChanged, AdapterPublic, AdapterUpdate
from qlora_studio.services.lineage import Lineage

router = APIRouter(tags=["Adapters"])
_BODY_LIMIT_S = 3600.0
_ZIP = takes("application/zip")


class AdapterFilter(ShelfFilter):
    """Which adapters, in which order, which page. `status` is another word for `stage`, as in other lists."""

    status: AdapterStage | None = None
    stage: AdapterStage | None = None
    model_id: Annotated[str, Field(max_length=32)] | None = None
    dataset_id: Annotated[str, Field(max_length=32)] | None = None
    tag: Annotated[str, Field(max_length=32)] | None = None
    verdict: Verdict | None = None
    archived: bool = False

    def by_stage(self) -> dict[str, Any]:
        """What the service is asked for."""
        return self.model_dump(exclude={"status"}) | {"stage": self.stage or self.status}


class AdapterPage(Page[AdapterPublic]):
    """One page of adapters."""


@router.get("/adapters")
def list_adapters(user: CurrentUser, wanted: Annotated[AdapterFilter, Query()]) -> AdapterPage:
    """Return one page of your adapters; those that are archived only with `archived=true`."""
    with db.read() as session:
        views, total = adapters.list_adapters(session, actor=user, **wanted.by_stage())
        items = with_owners(session, user, [AdapterPublic.of(v) for v in views])
    return AdapterPage.of(items, total, wanted)


@router.post("/adapters", status_code=201, openapi_extra=_ZIP, max_body_size=STREAMED, responses=answers(404))
async def import_adapter(
    request: Request, user: CurrentTrainer, form: Annotated[AdapterImport, Query()]
) -> AdapterPublic:
    """Take in a LoRA made elsewhere: the raw bytes of a zip of the folder that PEFT saved.

    422 says why it is refused, 413 that it is too large, 507 that the disk has no room for it.
    """
    await asyncio.to_thread(_require_target, user, form)
    with adapter_imports.receiving() as path:
        await _receive(request, path)
        return await asyncio.to_thread(_take_in, user, path, form)


async def _receive(request: Request, path: Path) -> None:
    n_bytes, free = 0, await asyncio.to_thread(staging.free_bytes)
    announced = request.headers.get("content-length", "0")
    if announced.isdigit():
        adapter_imports.check_size(int(announced), free_bytes=free)
    try:
        with path.open("wb") as file:
            async with asyncio.timeout(_BODY_LIMIT_S):
                async for piece in request.stream():
                    n_bytes += len(piece)
                    adapter_imports.check_size(n_bytes, free_bytes=free)
                    await asyncio.to_thread(file.write, piece)
    except (TimeoutError, ClientDisconnect) as error:
        raise Unavailable("The adapter did not arrive. Send it again.") from error


def _require_target(user: User, form: AdapterImport) -> None:
    with db.read() as session:
        adapter_imports.require_target(session, actor=user, form=form)


def _take_in(user: User, path: Path, form: AdapterImport) -> AdapterPublic:
    return AdapterPublic.of(adapter_imports.take_in(actor=user, source=path, form=form))


@router.get("/adapters/{adapter_id}")
def get_adapter(adapter_id: str, user: CurrentUser) -> AdapterPublic:
    """Return an adapter."""
    with db.read() as session:
        found = AdapterPublic.of(
            adapters.get_view(session, actor=user, adapter_id=adapter_id, action=Action.SEE)
        )
        return with_owners(session, user, [found])[0]


@router.patch("/adapters/{adapter_id}")
def update_adapter(adapter_id: str, body: AdapterUpdate, user: CurrentTrainer) -> AdapterChanged:
    """Change an adapter's name, stage, tags or notes, archive it, or take it back with `archived: false`.

    One adapter of each base model is in production: `replaces` names the one that has made room.
    """
    with db.write() as session:
        return AdapterChanged.after(adapters.update(session, actor=user, adapter_id=adapter_id, form=body))


@router.post("/adapters/{adapter_id}/activate")
def activate_adapter(adapter_id: str, user: CurrentTrainer, body: Activation | None = None) -> AdapterPublic:
    """Make an adapter the default of its base model, in place of another.

    409 if it is archived, or if it is broken or its base model has changed and `insist` isn't set.
    """
    wish = (body or Activation()).model_dump()
    with db.write() as session:
        return AdapterPublic.of(adapters.activate(session, actor=user, adapter_id=adapter_id, **wish))


@router.post("/adapters/{adapter_id}/deactivate")
def deactivate_adapter(adapter_id: str, user: CurrentTrainer) -> AdapterPublic:
    """Leave the adapter's base model without a default."""
    with db.write() as session:
        return AdapterPublic.of(adapters.deactivate(session, actor=user, adapter_id=adapter_id))


@router.delete("/adapters/{adapter_id}", status_code=204)
def delete_adapter(adapter_id: str, user: CurrentTrainer) -> Response:
    """Delete an adapter and its files."""
    with db.write() as session:
        adapters.delete(session, actor=user, adapter_id=adapter_id)
    return Response(status_code=204)


@router.get("/adapters/{adapter_id}/lineage")
def get_adapter_lineage(adapter_id: str, user: CurrentUser) -> Lineage:
    """Return what an adapter came from and what came of it, as nodes and edges."""
    with db.read() as session:
        return lineage.get_lineage(session, actor=user, adapter_id=adapter_id)


@router.get(
    "/adapters/{adapter_id}/download", response_class=StreamingResponse, responses=streams("application/zip")
)
def download_adapter(adapter_id: str, user: CurrentUser) -> StreamingResponse:
    """Return a zip of the adapter in PEFT's format."""
    with db.read() as session:
        name, pieces = results.stream_adapter(session, actor=user, adapter_id=adapter_id)
    return zip_response(name, pieces, user=user)
