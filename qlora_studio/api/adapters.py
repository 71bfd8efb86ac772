"""Adapters: list, look, rename, download, delete."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from qlora_studio.api.jobs import zip_response
from qlora_studio.api.lists import Filter, Page
from qlora_studio.api.security import CurrentTrainer, CurrentUser
from qlora_studio.contracts.enums import AdapterStage
from qlora_studio.db import engine as db
from qlora_studio.services import adapters
from qlora_studio.services.adapters import AdapterPublic, AdapterUpdate

router = APIRouter(tags=["Adapters"])


class AdapterFilter(Filter):
    """Which adapters, in which order, which page."""

    stage: AdapterStage | None = None
    model_id: Annotated[str, Field(max_length=32)] | None = None


class AdapterPage(Page[AdapterPublic]):
    """One page of adapters."""


@router.get("/adapters")
def list_adapters(user: CurrentUser, wanted: Annotated[AdapterFilter, Query()]) -> AdapterPage:
    """Return one page of your adapters."""
    with db.read() as session:
        views, total = adapters.list_adapters(session, actor=user, **wanted.model_dump())
    return AdapterPage.of([AdapterPublic.of(v) for v in views], total, wanted)


@router.get("/adapters/{adapter_id}")
def get_adapter(adapter_id: str, user: CurrentUser) -> AdapterPublic:
    """Return an adapter."""
    with db.read() as session:
        return AdapterPublic.of(adapters.get_view(session, actor=user, adapter_id=adapter_id))


@router.patch("/adapters/{adapter_id}")
def update_adapter(adapter_id: str, body: AdapterUpdate, user: CurrentTrainer) -> AdapterPublic:
    """Rename an adapter or change its stage."""
    with db.write() as session:
        return AdapterPublic.of(adapters.update(session, actor=user, adapter_id=adapter_id, form=body))


@router.delete("/adapters/{adapter_id}", status_code=204)
def delete_adapter(adapter_id: str, user: CurrentTrainer) -> Response:
    """Delete an adapter and its files."""
    with db.write() as session:
        adapters.delete(session, actor=user, adapter_id=adapter_id)
    return Response(status_code=204)


@router.get("/adapters/{adapter_id}/download", response_class=StreamingResponse)
def download_adapter(adapter_id: str, user: CurrentUser) -> StreamingResponse:
    """Return a zip of the adapter in PEFT's format."""
    with db.read() as session:
        name, pieces = adapters.stream_adapter(session, actor=user, adapter_id=adapter_id)
    return zip_response(name, pieces)
