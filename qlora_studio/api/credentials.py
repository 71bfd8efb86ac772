"""REST: keys to cloud storage and the Hub. What they hold goes in and never comes out."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from sqlmodel import Session

from qlora_studio.api.idempotency import IdempotencyHeader, create_once
from qlora_studio.api.lists import Page, Paging
from qlora_studio.api.security import CurrentTrainer, CurrentUser
from qlora_studio.db import engine
from qlora_studio.services import credentials
from qlora_studio.services.credentials import CredentialCreate

router = APIRouter(tags=["Credentials"])


class CredentialPublic(BaseModel):
    """A credential as the API shows it: `kind` is `s3`, `gs` or `hub`."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    kind: str
    created_at: datetime


class CredentialFilter(Paging):
    """Of which kind, which page."""

    kind: Literal["", "s3", "gs", "hub"] = ""


class CredentialPage(Page[CredentialPublic]):
    """One page of credentials."""


@router.get("/credentials")
def list_credentials(user: CurrentUser, wanted: Annotated[CredentialFilter, Query()]) -> CredentialPage:
    """List your credentials, without what they hold."""
    with engine.read() as session:
        found = credentials.list_credentials(session, actor=user, kind=wanted.kind)
    return CredentialPage.cut([CredentialPublic.model_validate(one) for one in found], wanted)


@router.post("/credentials", status_code=201, response_model=CredentialPublic)
def create_credential(
    body: CredentialCreate, request: Request, user: CurrentTrainer, key: IdempotencyHeader = None
) -> JSONResponse:
    """Keep a credential, encrypted. It is never shown again, only used for your own datasets."""

    def make(session: Session) -> CredentialPublic:
        return CredentialPublic.model_validate(credentials.create(session, actor=user, form=body))

    return create_once(user=user, key=key, request=request, body=body, create=make)


@router.delete("/credentials/{credential_id}", status_code=204)
def delete_credential(credential_id: str, user: CurrentTrainer) -> Response:
    """Delete a credential; datasets that were fetched with it stay."""
    with engine.write() as session:
        credentials.delete(session, actor=user, credential_id=credential_id)
    return Response(status_code=204)
