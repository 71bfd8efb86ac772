"""Base models: register by Hub id, path or upload, list, look, edit, check again, delete."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from sqlmodel import Session

from qlora_studio.api.idempotency import IdempotencyHeader, create_once
from qlora_studio.api.lists import Page, ShelfFilter, with_owners
from qlora_studio.api.receiving import LISTS_FILES, RECEIVES, receive_file_into
from qlora_studio.api.security import CurrentTrainer, CurrentUser
from qlora_studio.contracts.enums import ModelStatus, Task
from qlora_studio.db import engine as db
from qlora_studio.db.models import User
from qlora_studio.ingest import staging
from qlora_studio.services import model_uploads, models
from qlora_studio.services.access import Action
from qlora_studio.services.model_schemas import ModelCreate, ModelPublic, ModelUpdate

router = APIRouter(tags=["Models"])


class ModelFilter(ShelfFilter):
    """Which models, in which order, which page."""

    status: ModelStatus | None = None
    task: Task | None = None


class ModelPage(Page[ModelPublic]):
    """One page of models."""


@router.get("/models")
def list_models(user: CurrentUser, wanted: Annotated[ModelFilter, Query()]) -> ModelPage:
    """Return one page of your models, or with `shelf` of those that others share."""
    with db.read() as session:
        found, total = models.list_models(session, actor=user, **wanted.model_dump())
        items = with_owners(session, user, [ModelPublic.of(m) for m in found])
    return ModelPage.of(items, total, wanted)


@router.post("/models", status_code=201, response_model=ModelPublic)
def create_model(
    body: ModelCreate, user: CurrentTrainer, request: Request, key: IdempotencyHeader = None
) -> JSONResponse:
    """Register a model. A path is checked at once (422 says why not); a Hub model begins to download.

    With the source `upload` it awaits files: send them one by one, then ask for the check.
    """

    def create(session: Session) -> ModelPublic:
        return ModelPublic.of(models.register(session, actor=user, data=body))

    return create_once(user=user, key=key, request=request, body=body, create=create)


@router.get("/models/{model_id}")
def get_model(model_id: str, user: CurrentUser) -> ModelPublic:
    """Return a model."""
    with db.read() as session:
        found = ModelPublic.of(models.get_model(session, actor=user, model_id=model_id, action=Action.SEE))
        return with_owners(session, user, [found])[0]


@router.patch("/models/{model_id}")
def update_model(model_id: str, body: ModelUpdate, user: CurrentTrainer) -> ModelPublic:
    """Change a model's name or description."""
    with db.write() as session:
        return ModelPublic.of(models.update_model(session, actor=user, model_id=model_id, data=body))


@router.post("/models/{model_id}/check", status_code=202)
def check_model(model_id: str, user: CurrentTrainer) -> ModelPublic:
    """Check what was uploaded, or check again; a failed download is tried again. 409: files have changed."""
    with db.write() as session:
        return ModelPublic.of(models.recheck(session, actor=user, model_id=model_id))


@router.get("/models/{model_id}/files", **LISTS_FILES)
def list_files(model_id: str, user: CurrentUser) -> dict[str, Any]:
    """List the files received so far, to go on with an upload."""
    with db.read() as session:
        models.get_model(session, actor=user, model_id=model_id)
    items = [staging.as_json(item) for item in staging.list_received(model_id)]
    return {"items": items, "total": len(items)}


@router.put("/models/{model_id}/files/{filename:path}", **RECEIVES)
async def receive_file(model_id: str, filename: str, request: Request, user: CurrentTrainer) -> Response:
    """Take a file's raw bytes. With `Content-Range: bytes a-b/n` go on where `received` says it stopped.

    JSON, safetensors, merges.txt, spm_char.model and README.md are taken; 422 says why another is not.
    Answers 201 `{"received": n}` once the bytes are on disk. Then ask for the check.
    """
    room = await asyncio.to_thread(_check_room, user, model_id)
    name = model_uploads.check_name(filename)
    return await receive_file_into(model_id, name, room=room, request=request)


@router.delete("/models/{model_id}/files/{filename:path}", status_code=204)
def forget_file(model_id: str, filename: str, user: CurrentTrainer) -> Response:
    """Take back a file that was sent, or partly sent, before it is checked."""
    with db.read() as session:
        models.forget_file(session, actor=user, model_id=model_id, name=filename)
    return Response(status_code=204)


def _check_room(user: User, model_id: str) -> int:
    with db.read() as session:
        return models.prepare_upload(session, actor=user, model_id=model_id)


@router.delete("/models/{model_id}", status_code=204)
def delete_model(model_id: str, user: CurrentTrainer) -> Response:
    """Delete a model; 409 names the jobs and adapters that use it."""
    with db.write() as session:
        models.delete_model(session, actor=user, model_id=model_id)
    return Response(status_code=204)
