"""REST: datasets, the files sent to them, and their clips."""

import asyncio
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlmodel import Session

from qlora_studio.api.clips import ClipPage, ClipPublic
from qlora_studio.api.idempotency import IdempotencyHeader, create_once
from qlora_studio.api.lists import Filter, Page, ShelfFilter, with_owners
from qlora_studio.api.problems import answers
from qlora_studio.api.receiving import LISTS_FILES, RECEIVES, receive_file_into
from qlora_studio.api.security import CurrentTrainer, CurrentUser
from qlora_studio.contracts.enums import ClipStatus, DatasetStatus, Sharing, Split, Task
from qlora_studio.contracts.spec import Strict
from qlora_studio.core.errors import TooLarge
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine
from qlora_studio.db.models import Dataset, User
from qlora_studio.ingest import staging
from qlora_studio.ingest.names import clean_name
from qlora_studio.ingest.preview import LabelSource, PreviewRow
from qlora_studio.services import clips, dataset_sources, datasets, feedback_rows, mapping_previews, reports
from qlora_studio.services.access import Action
from qlora_studio.services.datasets import DatasetCreate, DatasetUpdate
from qlora_studio.services.feedback_filter import FeedbackFilter
from qlora_studio.services.feedback_rows import FeedbackPreview

router = APIRouter(tags=["Datasets"])


class DatasetPublic(BaseModel):
    """A dataset as the API shows it. `n_clips` can be trained on; `n_excluded` are all the others.

    `activity` says what is being done with it; `source.fetched` has bytes so far and in all.
    """

    model_config = ConfigDict(from_attributes=True)

    id: str
    owner_id: str
    owner: str | None = None  # how they are called, if somebody else
    sharing: Sharing
    name: str
    description: str
    task: Task
    status: DatasetStatus
    error: str | None
    n_clips: int
    n_excluded: int
    n_rejected: int
    duration_s: float
    size_bytes: int
    version: int
    content_hash: str
    source: dict[str, Any]
    mapping: dict[str, Any]
    augmentation: dict[str, Any]
    progress_done: int
    progress_total: int
    activity: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, dataset: Dataset) -> "DatasetPublic":
        values = {
            name: getattr(dataset, name) for name in cls.model_fields if name not in ("activity", "owner")
        }
        values["activity"] = datasets.describe_progress(dataset)
        values["n_excluded"] = dataset.n_excluded + dataset.n_rejected
        return cls(**values)


class DatasetPage(Page[DatasetPublic]):
    """One page of datasets."""


class DatasetFilter(ShelfFilter):
    """Which datasets, in which order, which page."""

    status: DatasetStatus | None = None
    task: Task | None = None


class ClipFilter(Filter):
    """Which clips, in which order, which page."""

    split: Split | None = None
    status: ClipStatus | None = None
    label: Annotated[str, Field(max_length=200)] | None = None
    check: Annotated[str, Field(max_length=40)] | None = None
    sort: Annotated[str, Field(max_length=40)] = "position"


class FeedbackSource(Strict):
    """What can be looked at before: takes that people rated or compared."""

    kind: Literal["feedback"]
    filter: FeedbackFilter = Field(default_factory=FeedbackFilter)


class DatasetPreview(Strict):
    """The source of a dataset that isn't made yet."""

    source: FeedbackSource


class MappingRequest(Strict):
    """Field to column, and `label_from`."""

    mapping: dict[str, str] | None = None


class Counted(BaseModel):
    """How often something is."""

    name: str
    n: int


class MappingPreview(BaseModel):
    """What would become of the files; see `ingest.preview.Preview`."""

    n_files: int
    is_partial: bool
    tables: list[str]
    columns: list[str]
    guessed: dict[str, str]
    mapping: dict[str, str]
    label_source: LabelSource
    rows: list[PreviewRow]
    n_matched: int
    n_unmatched: int
    reasons: list[Counted]
    labels: list[Counted]
    speakers: list[str]
    refusal: str | None
    is_choice: bool


@router.get("/datasets")
def list_datasets(user: CurrentUser, wanted: Annotated[DatasetFilter, Query()]) -> DatasetPage:
    """List your datasets, or with `shelf` those that others share."""
    with engine.read() as session:
        found, total = datasets.list_datasets(session, actor=user, **wanted.model_dump())
        items = with_owners(session, user, [DatasetPublic.of(dataset) for dataset in found])
    return DatasetPage.of(items, total, wanted)


@router.post("/datasets", status_code=201, response_model=DatasetPublic)
def create_dataset(
    body: DatasetCreate, request: Request, user: CurrentTrainer, key: IdempotencyHeader = None
) -> JSONResponse:
    """Make a dataset.

    `source.kind`: `upload` (then send files and ask to ingest), `url`, `cloud`, `hub`, `folder`,
    `example` or `feedback` (with a `filter`: see `POST /datasets/preview`).
    With `source.review` it waits before files are taken in, so that the mapping can be looked at.
    """

    def make(session: Session) -> DatasetPublic:
        return DatasetPublic.of(datasets.create(session, actor=user, form=body))

    return create_once(user=user, key=key, request=request, body=body, create=make)


@router.post("/datasets/preview")
def preview_dataset(body: DatasetPreview, user: CurrentUser) -> FeedbackPreview:
    """Say how many rows a dataset from feedback would have now; `POST /datasets` makes one of just these."""
    with engine.read() as session:
        return feedback_rows.preview(session, actor=user, wanted=body.source.filter)


@router.get("/datasets/{dataset_id}")
def get_dataset(dataset_id: str, user: CurrentUser) -> DatasetPublic:
    """Return one dataset."""
    with engine.read() as session:
        found = DatasetPublic.of(
            datasets.get_dataset(session, actor=user, dataset_id=dataset_id, action=Action.SEE)
        )
        return with_owners(session, user, [found])[0]


@router.patch("/datasets/{dataset_id}")
def update_dataset(dataset_id: str, body: DatasetUpdate, user: CurrentTrainer) -> DatasetPublic:
    """Change name, description, and before files are taken in also task and mapping."""
    with engine.write() as session:
        dataset = datasets.update(session, actor=user, dataset_id=dataset_id, form=body)
    return DatasetPublic.of(dataset)


@router.delete("/datasets/{dataset_id}", status_code=204)
def delete_dataset(dataset_id: str, user: CurrentTrainer) -> Response:
    """Delete a dataset; 409 naming the jobs and adapters that were made with it."""
    with engine.write() as session:
        datasets.delete(session, actor=user, dataset_id=dataset_id)
    return Response(status_code=204)


@router.post("/datasets/{dataset_id}/ingest", status_code=202)
def ingest(dataset_id: str, user: CurrentTrainer) -> DatasetPublic:
    """Begin taking the received files in."""
    with engine.write() as session:
        dataset = datasets.start_ingest(session, actor=user, dataset_id=dataset_id)
    return DatasetPublic.of(dataset)


@router.post("/datasets/{dataset_id}/mapping-preview", response_model=MappingPreview)
def preview_mapping(dataset_id: str, body: MappingRequest, user: CurrentTrainer) -> dict[str, Any]:
    """Show how the files would be read, before they are: columns, mapping, first rows, what matches what.

    Without `mapping` the dataset's own is used, over the guess. Nothing is changed; PATCH keeps a mapping.
    """
    with engine.read() as session:
        dataset = mapping_previews.find_files(session, actor=user, dataset_id=dataset_id)
    return mapping_previews.look(dataset, mapping=body.mapping).as_json()


@router.post("/datasets/{dataset_id}/cancel", status_code=202)
def cancel(dataset_id: str, user: CurrentTrainer) -> DatasetPublic:
    """Stop fetching or taking in; 409 when nothing is under way. It can be started again."""
    with engine.write() as session:
        dataset = datasets.cancel(session, actor=user, dataset_id=dataset_id)
    return DatasetPublic.of(dataset)


@router.get("/datasets/{dataset_id}/clips", responses=answers(409, 507))
def list_clips(dataset_id: str, user: CurrentUser, wanted: Annotated[ClipFilter, Query()]) -> ClipPage:
    """List a dataset's clips, those that could not be used with their reason.

    `check` gives those that a check of the report found; `sort=group` then puts groups together.
    """
    if wanted.check is not None:
        reports.bring_up_to_date(actor=user, dataset_id=dataset_id)
    with engine.read() as session:
        found, total = clips.list_clips(session, actor=user, dataset_id=dataset_id, **wanted.model_dump())
        said = reports.list_findings(session, clip_ids=[clip.id for clip in found])
    return ClipPage.of([ClipPublic.of(clip, said.get(clip.id, [])) for clip in found], total, wanted)


@router.get("/datasets/{dataset_id}/files", **LISTS_FILES)
def list_files(dataset_id: str, user: CurrentUser) -> dict[str, Any]:
    """List the files received so far, to go on with an upload."""
    with engine.read() as session:
        datasets.get_dataset(session, actor=user, dataset_id=dataset_id)
    items = [staging.as_json(item) for item in staging.list_received(dataset_id)]
    return {"items": items, "total": len(items)}


@router.put("/datasets/{dataset_id}/files/{filename:path}", **RECEIVES)
async def receive_file(dataset_id: str, filename: str, request: Request, user: CurrentTrainer) -> Response:
    """Take a file's raw bytes. With `Content-Range: bytes a-b/n` go on where `received` says it stopped.

    Answers 201 `{"received": n}` once the bytes are on disk; 409 with `received` if a piece begins elsewhere.
    """
    room = await asyncio.to_thread(_check_room, user, dataset_id)
    return await receive_file_into(dataset_id, clean_name(filename), room=room, request=request)


@router.delete("/datasets/{dataset_id}/files/{filename:path}", status_code=204)
def forget_file(dataset_id: str, filename: str, user: CurrentTrainer) -> Response:
    """Take back a file that was sent, or partly sent, before it is taken in."""
    with engine.read() as session:
        datasets.prepare_upload(session, actor=user, dataset_id=dataset_id)
    staging.forget(dataset_id, clean_name(filename))
    return Response(status_code=204)


def _check_room(user: User, dataset_id: str) -> int:
    """How many bytes this user may add to this dataset now. Looked at before any of the body is read."""
    with engine.read() as session:
        datasets.prepare_upload(session, actor=user, dataset_id=dataset_id)
        room = dataset_sources.left_bytes(session, actor=user)
    n_files, held = staging.count(dataset_id)
    settings = get_settings()
    if held >= settings.max_upload_bytes:
        raise TooLarge(f"The dataset has reached the limit of {settings.max_upload_bytes / 2**30:.0f} GB.")
    if n_files >= settings.max_archive_entries:
        raise TooLarge(f"The dataset has reached the limit of {settings.max_archive_entries:,} files.")
    return room
