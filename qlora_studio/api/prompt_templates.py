"""Texts that an account keeps under names of its own, with their settings."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from sqlmodel import Session

from qlora_studio.api.idempotency import IdempotencyHeader, create_once
from qlora_studio.api.lists import Page, Paging
from qlora_studio.api.security import CurrentTrainer, CurrentUser
from qlora_studio.db import engine as db
from qlora_studio.services import prompt_templates
from qlora_studio.services.prompt_template_schemas import (
    PromptTemplateCreate,
    PromptTemplatePublic,
    PromptTemplateUpdate,
)

router = APIRouter(prefix="/prompt-templates", tags=["Generations"])


class PromptTemplatePage(Page[PromptTemplatePublic]):
    """One page of an account's."""


@router.get("")
def list_templates(user: CurrentUser, wanted: Annotated[Paging, Query()]) -> PromptTemplatePage:
    """Return one page of yours, by name."""
    with db.read() as session:
        found = prompt_templates.list_templates(session, actor=user)
    return PromptTemplatePage.cut([PromptTemplatePublic.of(template) for template in found], wanted)


@router.post("", status_code=201, response_model=PromptTemplatePublic)
def create_template(
    body: PromptTemplateCreate, user: CurrentTrainer, request: Request, key: IdempotencyHeader = None
) -> JSONResponse:
    """Keep a text with its settings under a name. 409: you have one of that name already."""

    def create(session: Session) -> PromptTemplatePublic:
        return PromptTemplatePublic.of(prompt_templates.create(session, actor=user, form=body))

    return create_once(user=user, key=key, request=request, body=body, create=create, status_code=201)


@router.get("/{template_id}")
def get_template(template_id: str, user: CurrentUser) -> PromptTemplatePublic:
    """Return one of yours."""
    with db.read() as session:
        found = prompt_templates.get_template(session, actor=user, template_id=template_id)
        return PromptTemplatePublic.of(found)


@router.patch("/{template_id}")
def update_template(
    template_id: str, body: PromptTemplateUpdate, user: CurrentTrainer
) -> PromptTemplatePublic:
    """Change the name or the text."""
    with db.write() as session:
        found = prompt_templates.update(session, actor=user, template_id=template_id, form=body)
        return PromptTemplatePublic.of(found)


@router.delete("/{template_id}", status_code=204)
def delete_template(template_id: str, user: CurrentTrainer) -> Response:
    """Delete one; what was made with it stays."""
    with db.write() as session:
        prompt_templates.remove(session, actor=user, template_id=template_id)
    return Response(status_code=204)
