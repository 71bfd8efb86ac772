"""Merged models: make one of an adapter, look how far it is, download it, add it as a base model."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import Field
from sqlmodel import Session

from qlora_studio.api.files import streams, zip_response
from qlora_studio.api.idempotency import IdempotencyHeader, create_once, find_answer
from qlora_studio.api.problems import answers
from qlora_studio.api.security import CurrentTrainer, CurrentUser
from qlora_studio.contracts.spec import Strict
from qlora_studio.db import engine as db
from qlora_studio.services import merging
from qlora_studio.services.merging import MergeStatus
from qlora_studio.services.model_schemas import ModelPublic

router = APIRouter(tags=["Adapters"])


class MergeForm(Strict):
    """Into how many bits to merge."""

    bits: Literal[16, 32] = 16


class MergedModelForm(Strict):
    """What the base model shall be called; by default after its adapter."""

    name: Annotated[str, Field(max_length=120)] = ""


@router.post("/adapters/{adapter_id}/merge", status_code=202)
def merge_adapter(adapter_id: str, body: MergeForm, user: CurrentTrainer) -> MergeStatus:
    """Begin to merge an adapter into its base model. 409 while another merge runs, 413, 507: no room."""
    return merging.start(actor=user, adapter_id=adapter_id, bits=body.bits)


@router.get("/adapters/{adapter_id}/merge")
def get_merge(adapter_id: str, user: CurrentUser) -> MergeStatus:
    """Return how far a merge is, or how the merged model compares with base and adapter."""
    with db.read() as session:
        return merging.get_status(session, actor=user, adapter_id=adapter_id)


@router.delete("/adapters/{adapter_id}/merge", status_code=204)
def remove_merge(adapter_id: str, user: CurrentTrainer) -> Response:
    """Cancel the merge that runs, or remove the merged model."""
    with db.write() as session:
        merging.remove(session, actor=user, adapter_id=adapter_id)
    return Response(status_code=204)


@router.get(
    "/adapters/{adapter_id}/merge/download",
    response_class=StreamingResponse,
    responses=streams("application/zip") | answers(409),
)
def download_merged(adapter_id: str, user: CurrentUser) -> StreamingResponse:
    """Return a zip of the merged model, for `from_pretrained` once it is unpacked."""
    with db.read() as session:
        name, pieces = merging.stream_merged(session, actor=user, adapter_id=adapter_id)
    return zip_response(name, pieces, user=user)


@router.post("/adapters/{adapter_id}/merge/model", status_code=201, response_model=ModelPublic)
def register_merged(
    adapter_id: str,
    body: MergedModelForm,
    user: CurrentTrainer,
    request: Request,
    key: IdempotencyHeader = None,
) -> JSONResponse:
    """Add the merged model as a base model: a copy that counts as yours. 413 or 507 without room."""
    known = find_answer(user=user, key=key, request=request, body=body)
    if known is not None:
        return known
    with merging.copied(actor=user, adapter_id=adapter_id, name=body.name) as model:

        def create(session: Session) -> ModelPublic:
            return ModelPublic.of(merging.store_copy(session, user, model))

        return create_once(user=user, key=key, request=request, body=body, create=create)
