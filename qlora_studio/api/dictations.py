"""Clips written down by a model, corrected, and made a dataset of."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlmodel import Session

from qlora_studio.api.datasets import DatasetPublic
from qlora_studio.api.idempotency import IdempotencyHeader, create_once
from qlora_studio.api.lists import Page
from qlora_studio.api.security import CurrentTrainer, CurrentUser
from qlora_studio.db import engine as db
from qlora_studio.services import dictations
from qlora_studio.services.dictation_schemas import (
    Applied,
    CorrectionsCreate,
    DictationCreate,
    DictationPublic,
    TranscriptPublic,
    TranscriptPut,
)
from qlora_studio.services.dictations import Show

router = APIRouter(tags=["Dictations"])


class Pages(BaseModel):
    """Which page."""

    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    page_size: Annotated[int, Field(ge=1, le=100)] = 25


class TranscriptFilter(Pages):
    """Which clips: with `show` only those to look at, or only those that were."""

    query: Annotated[str, Field(max_length=200)] = ""
    show: Show | None = None


class DictationPage(Page[DictationPublic]):
    """One page of dictations."""


class TranscriptPage(Page[TranscriptPublic]):
    """One page of what was heard."""


@router.post("/datasets/{dataset_id}/dictations", status_code=202, response_model=DictationPublic)
def create_dictation(
    dataset_id: str,
    body: DictationCreate,
    user: CurrentTrainer,
    request: Request,
    key: IdempotencyHeader = None,
) -> JSONResponse:
    """Have a speech model write down a dataset's clips, one by one, in the background.

    409: the dataset is being written down already, it or the model isn't ready, or files have changed.
    """

    def create(session: Session) -> DictationPublic:
        return DictationPublic.of(dictations.start(session, actor=user, dataset_id=dataset_id, form=body))

    return create_once(user=user, key=key, request=request, body=body, create=create, status_code=202)


@router.get("/datasets/{dataset_id}/dictations")
def list_dictations(dataset_id: str, user: CurrentUser, wanted: Annotated[Pages, Query()]) -> DictationPage:
    """Return one page of a dataset's dictations, newest first."""
    with db.read() as session:
        found, total = dictations.list_dictations(
            session, actor=user, dataset_id=dataset_id, **wanted.model_dump()
        )
    items = [DictationPublic.of(dictation) for dictation in found]
    return DictationPage(items=items, total=total, page=wanted.page, page_size=wanted.page_size)


@router.get("/dictations/{dictation_id}")
def get_dictation(dictation_id: str, user: CurrentUser) -> DictationPublic:
    """Return how far a dictation is, or why it failed."""
    with db.read() as session:
        return DictationPublic.of(dictations.get_dictation(session, actor=user, dictation_id=dictation_id))


@router.delete("/dictations/{dictation_id}", status_code=204)
def delete_dictation(dictation_id: str, user: CurrentTrainer) -> Response:
    """Delete a dictation with what was heard and corrected; texts that were taken over stay."""
    with db.write() as session:
        dictations.remove(session, actor=user, dictation_id=dictation_id)
    return Response(status_code=204)


@router.post("/dictations/{dictation_id}/stop")
def stop_dictation(dictation_id: str, user: CurrentTrainer) -> DictationPublic:
    """Write down no more; what was heard stays."""
    with db.write() as session:
        return DictationPublic.of(dictations.stop(session, actor=user, dictation_id=dictation_id))


@router.get("/dictations/{dictation_id}/clips")
def list_transcripts(
    dictation_id: str, user: CurrentUser, wanted: Annotated[TranscriptFilter, Query()]
) -> TranscriptPage:
    """Return one page of what was heard in which clip, and what somebody says was said."""
    with db.read() as session:
        found, total = dictations.list_transcripts(
            session, actor=user, dictation_id=dictation_id, **wanted.model_dump()
        )
    items = [TranscriptPublic.of(row, clip) for row, clip in found]
    return TranscriptPage(items=items, total=total, page=wanted.page, page_size=wanted.page_size)


@router.put("/dictations/{dictation_id}/clips/{clip_id}", status_code=204)
def put_transcript(dictation_id: str, clip_id: str, body: TranscriptPut, user: CurrentTrainer) -> Response:
    """Say what was really said in a clip."""
    with db.write() as session:
        dictations.put(session, actor=user, dictation_id=dictation_id, clip_id=clip_id, text=body.text)
    return Response(status_code=204)


@router.delete("/dictations/{dictation_id}/clips/{clip_id}", status_code=204)
def take_transcript_back(dictation_id: str, clip_id: str, user: CurrentTrainer) -> Response:
    """Take back what was said of a clip."""
    with db.write() as session:
        dictations.put(session, actor=user, dictation_id=dictation_id, clip_id=clip_id, text="")
    return Response(status_code=204)


@router.post("/dictations/{dictation_id}/apply")
def apply_corrections(dictation_id: str, user: CurrentTrainer) -> Applied:
    """Give the dataset's clips the corrected texts, as its next version. 409: nothing was looked at."""
    with db.write() as session:
        return dictations.apply(session, actor=user, dictation_id=dictation_id)


@router.post("/dictations/{dictation_id}/dataset", status_code=201, response_model=DatasetPublic)
def create_dataset_of_corrections(
    dictation_id: str,
    body: CorrectionsCreate,
    user: CurrentTrainer,
    request: Request,
    key: IdempotencyHeader = None,
) -> JSONResponse:
    """Make a dataset of the clips that were looked at. 409: none was; 413: there is no room for it."""

    def create(session: Session) -> DatasetPublic:
        return DatasetPublic.of(
            dictations.make_dataset(session, actor=user, dictation_id=dictation_id, name=body.name)
        )

    return create_once(user=user, key=key, request=request, body=body, create=create)
