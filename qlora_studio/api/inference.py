"""REST: have a model hear a clip."""

import asyncio
import base64
import shutil
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field
from starlette.datastructures import FormData, UploadFile
from starlette.requests import ClientDisconnect
from starlette.types import Message

from qlora_studio.api.bodies import STREAMED
from qlora_studio.api.files import SoundFile, sends, takes
from qlora_studio.api.problems import answers
from qlora_studio.api.security import CurrentUser
from qlora_studio.contracts.enums import Task
from qlora_studio.contracts.inference import EngineAnswer, Prompt, Seed, SoundSeconds, Strength
from qlora_studio.contracts.spec import Strict
from qlora_studio.core.errors import InvalidInput, TooLarge, Unavailable
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db
from qlora_studio.db.models import User
from qlora_studio.services import inference, trial_clips
from qlora_studio.services.engine_host import Ticket
from qlora_studio.services.inference import Classification, Diarization, MadeSound, Transcription
from qlora_studio.services.trial_clips import TrialClip

router = APIRouter(tags=["Inference"])

BODY_LIMIT_S = 120.0
_LOOK_EVERY_S = 0.5  # whether whoever asked is still there
_decoders = ThreadPoolExecutor(trial_clips.MOST_DECODED, thread_name_prefix="trial-clip")
_FORM_BYTES = 64 << 10  # what a form holds besides its file
_FIELDS = {"model_id", "adapter_id", "strength"}
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "model_id"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "model_id": {"type": "string"},
                        "adapter_id": {"type": "string"},
                        "strength": {"type": "number", "minimum": 0, "maximum": 2, "default": 1},
                    },
                }
            }
        },
    }
}
_BYTES = takes("application/octet-stream")
Result = TypeVar("Result", Transcription, Classification, Diarization)


class TrialClipPublic(BaseModel):
    """A clip that was taken in: `peaks` is base64 of low and high bytes in turn (0 is -1, 255 is +1)."""

    id: str
    duration_s: float
    peaks: str


@router.post(
    "/trial-clips", status_code=201, openapi_extra=_BYTES, max_body_size=STREAMED, responses=answers(429)
)
async def take_in_clip(request: Request, user: CurrentUser) -> TrialClipPublic:
    """Take a clip's raw bytes, to try models on it; 413 when they are too many. It is kept for an hour."""
    limit = get_settings().max_trial_bytes
    upload = await asyncio.to_thread(trial_clips.make_upload, actor=user)
    try:
        async with _patience():
            with upload.open("wb") as file:
                async for piece in _capped(request, limit).stream():
                    await asyncio.to_thread(file.write, piece)
        clip = await _decoded(inference.take_clip, upload, user)
    finally:
        upload.unlink(missing_ok=True)
    return TrialClipPublic(
        id=clip.id, duration_s=clip.duration_s, peaks=base64.b64encode(clip.peaks).decode()
    )


@router.delete("/trial-clips/{clip_id}", status_code=204)
def remove_clip(clip_id: str, user: CurrentUser) -> Response:
    """Remove a clip before its hour is over."""
    trial_clips.discard(clip_id, actor=user)
    return Response(status_code=204)


@router.post("/transcriptions", openapi_extra=_FORM, max_body_size=STREAMED, responses=answers(429))
async def transcribe(request: Request, user: CurrentUser) -> Transcription:
    """Write a clip down. A form with `file`, `model_id`, `adapter_id`, `strength`.

    `active` as the `adapter_id` is the model's active adapter at its own strength, or the base model.
    """
    return await _hear(request, user, Task.SPEECH_TO_TEXT, inference.transcription)


@router.post("/classifications", openapi_extra=_FORM, max_body_size=STREAMED, responses=answers(429))
async def classify(request: Request, user: CurrentUser) -> Classification:
    """Name a clip's class. A form with `file`, `model_id`, `adapter_id`, `strength`.

    `active` as the `adapter_id` is the model's active adapter at its own strength, or the base model.
    """
    return await _hear(request, user, Task.AUDIO_CLASSIFICATION, inference.classification)


@router.post("/diarizations", openapi_extra=_FORM, max_body_size=STREAMED, responses=answers(429))
async def diarize(request: Request, user: CurrentUser) -> Diarization:
    """Say who speaks when. A form with `file`, `model_id`, `adapter_id`, `strength`.

    `active` as the `adapter_id` is the model's active adapter at its own strength, or the base model.
    """
    return await _hear(request, user, Task.SPEAKER_DIARIZATION, inference.diarization)


class SoundRequest(Strict):
    """A text to make a sound of. The `adapter_id` may be `active`, as in a generation."""

    model_id: Annotated[str, Field(min_length=1)]
    prompt: Prompt
    seconds: SoundSeconds = 8.0
    seed: Seed = 0
    adapter_id: str | None = None
    strength: Strength = 1.0


@router.post("/trial-sounds", responses=answers(429))
async def make_sound(body: SoundRequest, request: Request, user: CurrentUser) -> MadeSound:
    """Make a sound of a text, to hear what a model does. It is kept for an hour."""
    ticket, fields = await asyncio.to_thread(_prepare_sound, user, body)
    inference.host.submit(ticket)
    answer = await _answer(ticket, request)
    about = {name: fields[name] for name in _FIELDS} | {"duration_s": answer.heard_s}
    return inference.made_sound(answer, ticket, **about)


@router.head("/trial-sounds/{sound_id}", include_in_schema=False)
@router.get(
    "/trial-sounds/{sound_id}", response_class=FileResponse, responses=sends("audio/wav", ranges=True)
)
def get_sound(sound_id: str, user: CurrentUser) -> SoundFile:
    """Return a sound that was made; `Range` works."""
    path = trial_clips.get_sound(sound_id, actor=user)
    return SoundFile(path, name=path.name, media_type="audio/wav")


def _prepare_sound(user: User, body: SoundRequest) -> tuple[Ticket, dict[str, Any]]:
    with db.read() as session:
        fields = inference.with_chosen(session, actor=user, fields=body.model_dump())
        return inference.prepare_sound(session, actor=user, **fields), fields


async def _hear(request: Request, user: User, task: Task, put: Callable[..., Result]) -> Result:
    limit = get_settings().max_trial_bytes + _FORM_BYTES
    async with AsyncExitStack() as stack:
        async with _patience():
            form = await stack.enter_async_context(_capped(request, limit).form(max_files=1, max_fields=8))
        file, fields = _read_form(form)
        clip = await _decoded(_decode, file, user)
    try:
        ticket, fields = await asyncio.to_thread(_prepare, user, clip, task, fields)
        inference.host.submit(ticket)
        answer = await _answer(ticket, request)
    finally:
        await asyncio.to_thread(clip.path.unlink, missing_ok=True)
    about = {**fields, "duration_s": clip.duration_s}
    return put(answer, ticket, **about)


def _read_form(form: FormData) -> tuple[UploadFile, dict[str, Any]]:
    unknown = set(form) - _FIELDS - {"file"}
    wrong = dict.fromkeys(unknown, "There is no such field.")
    file, model_id = form.get("file"), form.get("model_id")
    if not isinstance(file, UploadFile):
        wrong["file"] = "Send a recording as “file”."
    if not isinstance(model_id, str) or not model_id:
        wrong["model_id"] = "Name the model to use."
    try:
        strength = float(str(form.get("strength", "1")))
    except ValueError:
        wrong["strength"] = "The strength is a number from 0 to 2."
        strength = 1.0
    if wrong or not isinstance(file, UploadFile):
        raise InvalidInput("Check the fields of the form.", fields=wrong)
    adapter_id = form.get("adapter_id") or None
    return file, {"model_id": model_id, "adapter_id": adapter_id and str(adapter_id), "strength": strength}


async def _decoded(decode: Callable[..., TrialClip], received: Any, user: User) -> TrialClip:
    """Decode apart from the threads that answer the pages: it may take a minute.

    The turn is over when the thread is, also when nobody waits for the clip any more.
    """
    with ExitStack() as stack:
        stack.enter_context(trial_clips.turn(actor=user))
        decoding = _decoders.submit(decode, received, actor=user)
        turn = stack.pop_all()
    decoding.add_done_callback(lambda _: turn.close())
    try:
        return await asyncio.wrap_future(decoding)
    except asyncio.CancelledError:
        decoding.add_done_callback(_forget)
        raise


def _forget(decoding: "Future[TrialClip]") -> None:
    """Remove a clip that nobody asked for to the end."""
    if not decoding.cancelled() and decoding.exception() is None:
        decoding.result().path.unlink(missing_ok=True)


def _decode(file: UploadFile, *, actor: User) -> TrialClip:
    upload = trial_clips.make_upload(actor=actor)
    try:
        with upload.open("wb") as target:
            shutil.copyfileobj(file.file, target)
    except BaseException:
        upload.unlink(missing_ok=True)
        raise
    return inference.take_clip(upload, actor=actor)


def _prepare(
    user: User, clip: TrialClip, task: Task, fields: dict[str, Any]
) -> tuple[Ticket, dict[str, Any]]:
    with db.read() as session:
        fields = inference.with_chosen(session, actor=user, fields=fields)
        return inference.prepare(session, actor=user, clip=clip, task=task, **fields), fields


async def _answer(ticket: Ticket, request: Request) -> EngineAnswer:
    """Wait for the answer, without a thread; call the request off when whoever asked has gone."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    ticket.when_ended(lambda: loop.call_soon_threadsafe(ended.set))
    try:
        while not ended.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), _LOOK_EVERY_S)
                break
            if await request.is_disconnected():
                raise Unavailable("Nobody waits for the answer any more.")
        return ticket.result(0)
    finally:
        ticket.cancel()


def _capped(request: Request, limit: int) -> Request:
    """The same request, of which no more than `limit` bytes are read.

    Raises:
        TooLarge: more is announced.
    """
    too_large = TooLarge(f"That is more than {get_settings().max_trial_bytes / 2**20:.0f} MB.")
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > limit:
        raise too_large
    n_bytes = 0

    async def receive() -> Message:
        nonlocal n_bytes
        message = await request.receive()
        n_bytes += len(message.get("body", b""))
        if n_bytes > limit:
            raise too_large
        return message

    return Request(request.scope, receive)


@asynccontextmanager
async def _patience() -> AsyncIterator[None]:
    """Give up on senders that are too slow, or have gone.

    Raises:
        Unavailable: what was announced has not come.
    """
    try:
        async with asyncio.timeout(BODY_LIMIT_S):
            yield
    except (TimeoutError, ClientDisconnect) as error:
        raise Unavailable("The clip did not arrive. Send it again.") from error
