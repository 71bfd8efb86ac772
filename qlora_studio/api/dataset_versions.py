"""REST: versions of a dataset, compared and restored, and a version taken out as files."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict

from qlora_studio.api.datasets import DatasetPublic
from qlora_studio.api.files import attachment, streams
from qlora_studio.api.lists import Page, Paging
from qlora_studio.api.numbers import FromOne
from qlora_studio.api.problems import answers
from qlora_studio.api.security import CurrentTrainer, CurrentUser
from qlora_studio.contracts.spec import Strict
from qlora_studio.db import engine
from qlora_studio.services import exports, feedback_updates, versions
from qlora_studio.services.exports import ExportFormat
from qlora_studio.services.feedback_updates import FeedbackUpdate
from qlora_studio.services.versions import Kind

router = APIRouter(tags=["Datasets"])

_EXPORTED = streams("application/zip", "application/x-ndjson", "text/csv") | answers(409)
PageNumber = Annotated[int, Query(ge=1, le=1_000_000)]
PageSize = Annotated[int, Query(ge=1, le=100)]


class VersionPublic(BaseModel):
    """One immutable state of a dataset's content."""

    model_config = ConfigDict(from_attributes=True)

    number: int
    content_hash: str
    n_clips: int
    duration_s: float
    summary: str
    created_by: str | None
    created_at: datetime


class VersionPage(Page[VersionPublic]):
    """One page of versions."""


class DifferencePublic(BaseModel):
    """A clip that differs: the fields that do, before and after."""

    model_config = ConfigDict(from_attributes=True)

    clip_id: str
    filename: str
    kind: Kind
    before: dict[str, str | None]
    after: dict[str, str | None]


class ComparisonPublic(BaseModel):
    """One page of what differs; `counts` by kind and `fields` are of all of it."""

    items: list[DifferencePublic]
    total: int
    page: int
    page_size: int
    counts: dict[Kind, int]
    fields: dict[str, int]


class ExportRequest(Strict):
    """What to take out: the present version unless one is named."""

    format: ExportFormat = ExportFormat.AUDIOFOLDER
    version: FromOne | None = None


class RecipePublic(BaseModel):
    """How to train on an unpacked audiofolder: a job's YAML, the command, and one line of Python."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    yaml: str
    command: str
    python: str


@router.get("/datasets/{dataset_id}/versions")
def list_versions(dataset_id: str, user: CurrentUser, wanted: Annotated[Paging, Query()]) -> VersionPage:
    """List a dataset's versions, newest first."""
    with engine.read() as session:
        found, total = versions.list_versions(
            session, actor=user, dataset_id=dataset_id, **wanted.model_dump()
        )
    return VersionPage.of([VersionPublic.model_validate(version) for version in found], total, wanted)


@router.get("/datasets/{dataset_id}/versions/compare")
def compare_versions(
    dataset_id: str,
    user: CurrentUser,
    *,
    earlier: FromOne,
    later: FromOne,
    kind: Kind | None = None,
    page: PageNumber = 1,
    page_size: PageSize = 25,
) -> ComparisonPublic:
    """Say what differs between two versions, clip by clip."""
    with engine.read() as session:
        found = versions.compare(
            session,
            actor=user,
            dataset_id=dataset_id,
            earlier=earlier,
            later=later,
            kind=kind,
            page=page,
            page_size=page_size,
        )
    items = [DifferencePublic.model_validate(item) for item in found.items]
    return ComparisonPublic(
        items=items,
        total=found.total,
        page=page,
        page_size=page_size,
        counts=found.counts,
        fields=found.fields,
    )


@router.post("/datasets/{dataset_id}/versions/{number}/restore")
def restore_version(dataset_id: str, number: FromOne, user: CurrentTrainer) -> DatasetPublic:
    """Make a new version with the content of a former one."""
    with engine.write() as session:
        return DatasetPublic.of(versions.restore(session, actor=user, dataset_id=dataset_id, number=number))


@router.post("/datasets/{dataset_id}/export", response_class=StreamingResponse, responses=_EXPORTED)
def export(dataset_id: str, body: ExportRequest, user: CurrentUser) -> StreamingResponse:
    """Send a version as a file: `audiofolder` (a zip), `jsonl` or `csv`."""
    with engine.read() as session:
        made = exports.stream(
            session, actor=user, dataset_id=dataset_id, format=body.format, version=body.version
        )
    return attachment(made.name, made.pieces, user=user, media_type=made.media_type)


@router.get("/datasets/{dataset_id}/export", response_class=StreamingResponse, responses=_EXPORTED)
def download_export(
    dataset_id: str, user: CurrentUser, wanted: Annotated[ExportRequest, Query()]
) -> StreamingResponse:
    """Send the same as a plain download, for a link: browsers then write it straight to the disk."""
    return export(dataset_id, wanted, user)


@router.get("/datasets/{dataset_id}/export/recipe", responses=answers(409))
def get_recipe(
    dataset_id: str, user: CurrentUser, version: Annotated[FromOne | None, Query()] = None
) -> RecipePublic:
    """Return the command that trains on an exported audiofolder, and the YAML that it takes."""
    with engine.read() as session:
        found = exports.recipe(session, actor=user, dataset_id=dataset_id, version=version)
    return RecipePublic.model_validate(found)


@router.get("/datasets/{dataset_id}/feedback-update", responses=answers(409, 413))
def preview_feedback_update(dataset_id: str, user: CurrentUser) -> FeedbackUpdate:
    """Say which rows would come and go if a dataset from feedback were brought up to date now."""
    with engine.read() as session:
        return feedback_updates.preview(session, actor=user, dataset_id=dataset_id)


@router.post("/datasets/{dataset_id}/feedback-update", status_code=202)
def update_from_feedback(dataset_id: str, user: CurrentTrainer) -> DatasetPublic:
    """Bring a dataset from feedback up to date with its own filter, as its next version.

    While new takes are decoded it is `processing`; `source.update_error` says why an update failed. A dataset
    that is up to date stays as it is.
    """
    with engine.write() as session:
        dataset = feedback_updates.start(session, actor=user, dataset_id=dataset_id)
        return DatasetPublic.of(dataset)
