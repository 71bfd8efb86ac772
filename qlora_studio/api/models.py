"""Base models: register by Hub id or path, list, look, edit, check again, delete."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from sqlmodel import Session

from qlora_studio.api.idempotency import IdempotencyHeader, create_once
from qlora_studio.api.lists import Filter, Page
from qlora_studio.api.security import CurrentTrainer, CurrentUser
from qlora_studio.contracts.enums import ModelStatus, Task
from qlora_studio.db import engine as db
from qlora_studio.services import models
from qlora_studio.services.model_schemas import ModelCreate, ModelPublic, ModelUpdate

router = APIRouter(tags=["Models"])


class ModelFilter(Filter):
    """Which models, in which order, which page."""

    status: ModelStatus | None = None
    task: Task | None = None


class ModelPage(Page[ModelPublic]):
    """One page of models."""


@router.get("/models")
def list_models(user: CurrentUser, wanted: Annotated[ModelFilter, Query()]) -> ModelPage:
    """Return one page of your models."""
    with db.read() as session:
        found, total = models.list_models(session, actor=user, **wanted.model_dump())
    return ModelPage.of([ModelPublic.of(m) for m in found], total, wanted)


@router.post("/models", status_code=201, response_model=ModelPublic)
def create_model(
    body: ModelCreate, user: CurrentTrainer, request: Request, key: IdempotencyHeader = None
) -> JSONResponse:
    """Register a model. A path is checked at once (422 says why not); a Hub model begins to download."""

    def create(session: Session) -> ModelPublic:
        return ModelPublic.of(models.register(session, actor=user, data=body))

    return create_once(user=user, key=key, request=request, body=body, create=create)


@router.get("/models/{model_id}")
def get_model(model_id: str, user: CurrentUser) -> ModelPublic:
    """Return a model."""
    with db.read() as session:
        return ModelPublic.of(models.get_model(session, actor=user, model_id=model_id))


@router.patch("/models/{model_id}")
def update_model(model_id: str, body: ModelUpdate, user: CurrentTrainer) -> ModelPublic:
    """Change a model's name or description."""
    with db.write() as session:
        return ModelPublic.of(models.update_model(session, actor=user, model_id=model_id, data=body))


@router.post("/models/{model_id}/check", status_code=202)
def check_model(model_id: str, user: CurrentTrainer) -> ModelPublic:
    """Check the files again; a failed download is tried again. 409 if a ready model's files have changed."""
    with db.write() as session:
        return ModelPublic.of(models.recheck(session, actor=user, model_id=model_id))


@router.delete("/models/{model_id}", status_code=204)
def delete_model(model_id: str, user: CurrentTrainer) -> Response:
    """Delete a model; 409 names the jobs and adapters that use it."""
    with db.write() as session:
        models.delete_model(session, actor=user, model_id=model_id)
    return Response(status_code=204)
