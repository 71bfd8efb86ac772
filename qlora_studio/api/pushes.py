"""Pushes of adapters to the Hugging Face Hub: begin, follow, cancel."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlmodel import Session

from qlora_studio.api.idempotency import IdempotencyHeader, create_once
from qlora_studio.api.lists import Page
from qlora_studio.api.security import CurrentTrainer, CurrentUser
from qlora_studio.db import engine as db
from qlora_studio.services import pushes
from qlora_studio.services.pushes import PushCreate, PushPublic

router = APIRouter(tags=["Adapters"])


class PushFilter(BaseModel):
    """Which pushes, which page; the newest come first."""

    adapter_id: Annotated[str, Field(max_length=32)] | None = None
    page: Annotated[int, Field(ge=1, le=100_000)] = 1
    page_size: Annotated[int, Field(ge=1, le=100)] = 25


class PushPage(Page[PushPublic]):
    """One page of pushes."""


@router.post("/adapters/{adapter_id}/push", status_code=202, response_model=PushPublic)
def push_adapter(
    adapter_id: str, body: PushCreate, user: CurrentTrainer, request: Request, key: IdempotencyHeader = None
) -> JSONResponse:
    """Push an adapter to a repository of the Hub, private unless told otherwise, in the background.

    While the same is under way already, that push is answered. 409: nothing to push; 413: too many at once.
    """

    def create(session: Session) -> PushPublic:
        return PushPublic.of(pushes.start(session, actor=user, adapter_id=adapter_id, form=body))

    return create_once(user=user, key=key, request=request, body=body, create=create, status_code=202)


@router.get("/pushes")
def list_pushes(user: CurrentUser, wanted: Annotated[PushFilter, Query()]) -> PushPage:
    """Return one page of your pushes, newest first."""
    with db.read() as session:
        found, total = pushes.list_pushes(session, actor=user, **wanted.model_dump())
    items = [PushPublic.of(push) for push in found]
    return PushPage(items=items, total=total, page=wanted.page, page_size=wanted.page_size)


@router.get("/pushes/{push_id}")
def get_push(push_id: str, user: CurrentUser) -> PushPublic:
    """Return a push: how far it is, where it went, or why it failed."""
    with db.read() as session:
        return PushPublic.of(pushes.get_push(session, actor=user, push_id=push_id))


@router.delete("/pushes/{push_id}", status_code=204)
def delete_push(push_id: str, user: CurrentTrainer) -> Response:
    """Cancel a push that is under way, or take one that has ended off the list."""
    with db.write() as session:
        pushes.cancel(session, actor=user, push_id=push_id)
    return Response(status_code=204)
