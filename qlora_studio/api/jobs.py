"""Training jobs: check, launch, list, look, watch, stop, resume, clone, delete, download."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, Field
from sqlmodel import Session

from qlora_studio.api.comparisons import split
from qlora_studio.api.files import SoundFile, attachment, sends, streams, zip_response
from qlora_studio.api.idempotency import IdempotencyHeader, create_once
from qlora_studio.api.job_events import stream_events
from qlora_studio.api.lists import Page, ShelfFilter, with_owners
from qlora_studio.api.numbers import FromOne, FromZero
from qlora_studio.api.problems import FieldError, answers
from qlora_studio.api.security import CurrentTrainer, CurrentUser, StillSignedIn
from qlora_studio.api.streams import OneOfAFew
from qlora_studio.contracts.enums import JobStatus
from qlora_studio.contracts.spec import TrainSpec
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db import engine as db
from qlora_studio.jobs.metrics import MAX_POINTS
from qlora_studio.services import job_logs, job_reading, jobs, mlflow, next_actions, results, sample_sounds
from qlora_studio.services.access import Action
from qlora_studio.services.job_logs import LogView
from qlora_studio.services.job_schemas import JobDetail, JobPublic, StopRequest, TrackingPublic
from qlora_studio.services.reading_schemas import SamplePublic, SeriesPublic
from qlora_studio.services.sample_sounds import Which

router = APIRouter(tags=["Jobs"])
MAX_TIME = 1e11  # seconds since the epoch
MAX_OFFSET = 1 << 62  # bytes


class JobFilter(ShelfFilter):
    """Which jobs, in which order, which page."""

    status: JobStatus | None = None
    group_id: Annotated[str, Field(max_length=32)] | None = None


class JobPage(Page[JobPublic]):
    """One page of jobs."""


class JobCheckPublic(BaseModel):
    """The answer of a check: `forecast` has `memory`, `time` and `disk` once the spec is right."""

    ok: bool
    errors: list[FieldError]
    warnings: list[str]
    forecast: dict[str, Any]
    command: str
    yaml: str


class MetricsAnswer(BaseModel):
    series: dict[str, SeriesPublic]


class LogAnswer(BaseModel):
    """Lines of a log with the level of each. Give `cursor` back (or `next` as `after`) to go on from there.

    `n_found` counts all lines that a search or a level found, which may be more than are given; `is_complete`
    is false when there was no time to look through the whole log.
    """

    lines: list[str]
    levels: list[str]
    next: int
    cursor: str
    attempt: int
    n_attempts: int
    n_found: int | None
    is_complete: bool

    @classmethod
    def of(cls, view: LogView) -> "LogAnswer":
        return cls(
            lines=[line.text for line in view.lines],
            levels=[line.level for line in view.lines],
            next=view.next_offset,
            cursor=view.cursor,
            attempt=view.attempt,
            n_attempts=view.n_attempts,
            n_found=view.n_found,
            is_complete=view.is_complete,
        )


class SamplesAnswer(BaseModel):
    steps: list[int]
    items: list[SamplePublic]


@router.post("/jobs/validate")
def validate_job(body: Annotated[dict[str, Any], Body()], user: CurrentUser) -> JobCheckPublic:
    """Check a spec, forecast what it needs, and give the command line and YAML that reproduce it."""
    try:
        spec = jobs.parse_spec(body)
    except InvalidInput as error:
        errors = [FieldError(field=k, message=v) for k, v in error.fields.items()]
        return JobCheckPublic(ok=False, errors=errors, warnings=[], forecast={}, command="", yaml="")
    with db.read() as session:
        check = jobs.validate(session, actor=user, spec=spec)
    return JobCheckPublic(
        ok=check.ok,
        errors=[FieldError(field=k, message=v) for k, v in check.errors.items()],
        warnings=check.warnings,
        forecast=check.forecast,
        command=check.command,
        yaml=check.yaml,
    )


@router.get("/jobs")
def list_jobs(user: CurrentUser, wanted: Annotated[JobFilter, Query()]) -> JobPage:
    """Return one page of your jobs, or with `shelf` of those that others share."""
    with db.read() as session:
        views, total = jobs.list_jobs(session, actor=user, **wanted.model_dump())
        items = with_owners(session, user, [JobPublic.of(v) for v in views])
    return JobPage.of(items, total, wanted)


@router.post("/jobs", status_code=201, response_model=JobPublic)
def create_job(
    body: TrainSpec, user: CurrentTrainer, request: Request, key: IdempotencyHeader = None
) -> JSONResponse:
    """Queue a job."""

    def create(session: Session) -> JobPublic:
        job = jobs.submit(session, actor=user, spec=body)
        return JobPublic.of(jobs.get_view(session, actor=user, job_id=job.id))

    return create_once(user=user, key=key, request=request, body=body, create=create)


@router.get("/jobs/{job_id}")
def get_job(job_id: str, user: CurrentUser) -> JobDetail:
    """Return a job, with what its result tells beyond figures."""
    with db.read() as session:
        found = JobDetail.of(jobs.get_view(session, actor=user, job_id=job_id))
        return with_owners(session, user, [found])[0]


@router.delete("/jobs/{job_id}", status_code=204)
def delete_job(job_id: str, user: CurrentTrainer) -> Response:
    """Delete a job that is not running and has left no adapter."""
    with db.write() as session:
        jobs.delete(session, actor=user, job_id=job_id)
    return Response(status_code=204)


@router.get("/jobs/{job_id}/metrics")
def get_metrics(
    *,
    job_id: str,
    user: CurrentUser,
    keys: Annotated[list[str] | None, Query()] = None,
    from_step: FromZero | None = None,
    to_step: FromZero | None = None,
    from_time: Annotated[float | None, Query(ge=0, le=MAX_TIME, allow_inf_nan=False)] = None,
    to_time: Annotated[float | None, Query(ge=0, le=MAX_TIME, allow_inf_nan=False)] = None,
    max_points: Annotated[int, Query(ge=16, le=MAX_POINTS)] = MAX_POINTS,
) -> MetricsAnswer:
    """Return curves: all of them, or those named by `keys` (repeated, or separated by commas).

    Of a part, by step or by time in seconds since the epoch, as many points are given as of a whole curve.
    """
    wanted = split(keys or []) or None
    with db.read() as session:
        found = job_reading.get_metrics(
            session,
            actor=user,
            job_id=job_id,
            keys=wanted,
            from_step=from_step,
            to_step=to_step,
            from_time=from_time,
            to_time=to_time,
            max_points=max_points,
        )
    return MetricsAnswer(series={key: SeriesPublic.of(series) for key, series in found.items()})


@router.get("/jobs/{job_id}/logs")
def get_logs(
    *,
    job_id: str,
    user: CurrentUser,
    tail: Annotated[int, Query(ge=1, le=job_logs.MAX_LINES)] = 200,
    after: Annotated[int | None, Query(ge=0, le=MAX_OFFSET)] = None,
    cursor: Annotated[str, Query(max_length=40)] = "",
    level: Annotated[str | None, Query(max_length=20)] = None,
    search: Annotated[str, Query(max_length=job_logs.MAX_SEARCH)] = "",
    attempt: FromOne | None = None,
) -> LogAnswer:
    """Return the end of a log, what came after a place in it, or the newest lines that hold a text."""
    with db.read() as session:
        found = job_logs.read(
            session,
            actor=user,
            job_id=job_id,
            tail=tail,
            after=after,
            cursor=cursor,
            level=level,
            search=search,
            attempt=attempt,
        )
    return LogAnswer.of(found)


@router.get("/jobs/{job_id}/logs/download", response_class=StreamingResponse, responses=streams("text/plain"))
def download_log(job_id: str, user: CurrentUser, attempt: FromOne | None = None) -> StreamingResponse:
    """Return the whole log of an attempt (the last one unless told) as text, without escapes and secrets."""
    with db.read() as session:
        name, lines = job_logs.stream(session, actor=user, job_id=job_id, attempt=attempt)
    return attachment(name, lines, user=user, media_type="text/plain; charset=utf-8")


@router.get("/jobs/{job_id}/samples")
def get_samples(job_id: str, user: CurrentUser, step: FromZero | None = None) -> SamplesAnswer:
    """Return the fixed panel of validation clips at one evaluation, worst first."""
    with db.read() as session:
        steps = job_reading.list_sample_steps(session, actor=user, job_id=job_id)
        samples = job_reading.list_samples(session, actor=user, job_id=job_id, step=step)
    return SamplesAnswer(steps=steps, items=[SamplePublic.of(sample) for sample in samples])


@router.head("/jobs/{job_id}/samples/{step}/{clip_id}/sound", include_in_schema=False)
@router.get(
    "/jobs/{job_id}/samples/{step}/{clip_id}/sound",
    response_class=FileResponse,
    responses=sends("audio/flac", ranges=True),
)
def get_sample_sound(
    job_id: str, step: FromZero, clip_id: str, user: CurrentUser, of: Which = "now"
) -> SoundFile:
    """Return the sound that a text-to-audio job made of a clip's text (FLAC); `Range` works."""
    with db.read() as session:
        path = sample_sounds.get_path(
            session, actor=user, job_id=job_id, step=step, clip_id=clip_id, which=of
        )
    return SoundFile(path, name=f"{job_id}-{step}-{of}.flac", media_type="audio/flac")


@router.get("/jobs/{job_id}/events", response_class=StreamingResponse, responses=streams("text/event-stream"))
def get_events(
    job_id: str,
    user: CurrentUser,
    is_signed_in: StillSignedIn,
    last_event_id: Annotated[str, Header(max_length=100)] = "",
) -> StreamingResponse:
    """Watch a job as server-sent events: status, progress, metric, sample, log.

    It ends with the job, and with the session or token that it was opened with.

    Reconnecting with `Last-Event-ID` goes on after that event; nothing is missed and nothing comes twice.
    """
    with db.read() as session:
        jobs.get_job(session, actor=user, job_id=job_id, action=Action.SEE)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return OneOfAFew(
        stream_events(user.id, job_id, last_event_id, is_signed_in),
        user_id=user.id,
        media_type="text/event-stream",
        headers=headers,
    )


@router.post("/jobs/{job_id}/stop", status_code=202)
def stop_job(job_id: str, user: CurrentTrainer, body: StopRequest | None = None) -> JobPublic:
    """Ask a job to stop: `save` keeps an adapter, `kill` ends it at once. 409 when it has ended already."""
    with db.write() as session:
        jobs.stop(session, actor=user, job_id=job_id, mode=(body or StopRequest()).mode)
        return JobPublic.of(jobs.get_view(session, actor=user, job_id=job_id))


@router.post("/jobs/{job_id}/resume", status_code=202)
def resume_job(job_id: str, user: CurrentTrainer) -> JobPublic:
    """Queue the next attempt of a job that ended early."""
    with db.write() as session:
        jobs.resume(session, actor=user, job_id=job_id)
        return JobPublic.of(jobs.get_view(session, actor=user, job_id=job_id))


@router.post("/jobs/{job_id}/next-action", status_code=202)
def take_next_action(job_id: str, user: CurrentTrainer) -> JobPublic:
    """Do what `next_action` offers after a failure, once; answers the job that is queued now.

    409 when nothing has failed, or when a person has to look.
    """
    with db.write() as session:
        job = next_actions.apply(session, actor=user, job_id=job_id)
        view = jobs.get_view(session, actor=user, job_id=job.id)
    return JobPublic.of(view)


@router.post("/jobs/{job_id}/clone", status_code=202, response_model=JobPublic)
def clone_job(
    job_id: str,
    user: CurrentTrainer,
    request: Request,
    body: Annotated[dict[str, Any] | None, Body()] = None,
    key: IdempotencyHeader = None,
) -> JSONResponse:
    """Queue a new job with the same spec; the body's keys replace those of the spec."""

    def create(session: Session) -> JobPublic:
        job = jobs.clone(session, actor=user, job_id=job_id, changes=body)
        return JobPublic.of(jobs.get_view(session, actor=user, job_id=job.id))

    return create_once(user=user, key=key, request=request, body=body, create=create, status_code=202)


@router.get(
    "/jobs/{job_id}/results",
    response_class=StreamingResponse,
    responses=streams("application/zip") | answers(409),
)
def get_results(job_id: str, user: CurrentUser, merged: bool = False) -> StreamingResponse:
    """Return a zip of adapter, model card, metrics.csv, TensorBoard's files, logs, config and spec.

    With `merged=1` also the merged model; 409 when the adapter has not been merged.
    """
    with db.read() as session:
        name, pieces = results.stream_results(session, actor=user, job_id=job_id, merged=merged)
    return zip_response(name, pieces, user=user)


@router.get(
    "/jobs/{job_id}/tensorboard", response_class=StreamingResponse, responses=streams("application/zip")
)
def get_tensorboard(job_id: str, user: CurrentUser) -> StreamingResponse:
    """Return a zip of the folder for `tensorboard --logdir`; it may be taken while the job runs."""
    with db.read() as session:
        name, pieces = results.stream_tensorboard(session, actor=user, job_id=job_id)
    return zip_response(name, pieces, user=user)


@router.get("/jobs/{job_id}/tracking")
def get_tracking(job_id: str, user: CurrentUser) -> TrackingPublic:
    """Return where else the job can be looked at: TensorBoard's files, and its run in MLflow."""
    with db.read() as session:
        mlflow_url = mlflow.find_address(session, actor=user, job_id=job_id)
        has_files = results.has_tensorboard(session, actor=user, job_id=job_id)
    return TrackingPublic(has_tensorboard=has_files, mlflow_url=mlflow_url or None)
