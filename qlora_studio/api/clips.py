"""REST: one clip, its sound and its waveform."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from qlora_studio.api.files import GUARDED, SoundFile, sends
from qlora_studio.api.lists import Page
from qlora_studio.api.numbers import FromZero
from qlora_studio.api.problems import answers
from qlora_studio.api.security import CurrentTrainer, CurrentUser
from qlora_studio.audio.peaks import to_pairs
from qlora_studio.contracts.enums import ClipStatus, Split
from qlora_studio.contracts.spec import AugmentationSpec, Strict
from qlora_studio.db import engine
from qlora_studio.db.models import Clip, ClipFinding, User
from qlora_studio.services import clips, rendering
from qlora_studio.services.clips import ClipUpdate

router = APIRouter(tags=["Clips"])


class FindingPublic(BaseModel):
    """What a check of the quality report says of a clip; clips with one `group` belong together."""

    model_config = ConfigDict(from_attributes=True)

    check: str
    detail: str
    group: str | None


_AS_A_DOWNLOAD = GUARDED | {"Content-Disposition": "attachment"}
_PICTURE = sends("image/png") | {304: {"description": "As it was."}} | answers(429)
_SOUND = sends("audio/wav") | answers(429)


class AugmentationTrial(Strict):
    """A way to vary a clip, and which of its variations."""

    augmentation: AugmentationSpec
    seed: FromZero = 0
    epoch: FromZero = 0


class ClipPublic(BaseModel):
    """A clip as the API shows it; `loudness_db` is the RMS in dB of full scale."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    dataset_id: str
    filename: str
    duration_s: float
    sample_rate: int
    channels: int
    size_bytes: int
    peak: float
    loudness_db: float | None
    sha256: str
    text: str | None
    label: str | None
    speaker: str | None
    split: Split
    status: ClipStatus
    reason: str | None
    clipped_ratio: float
    exclusion_id: str | None
    findings: list[FindingPublic] = []

    @classmethod
    def of(cls, clip: Clip, findings: Sequence[ClipFinding]) -> "ClipPublic":
        """Return a clip with what the checks say of it."""
        said = [FindingPublic.model_validate(finding) for finding in findings]
        return cls.model_validate(clip).model_copy(update={"findings": said})


class PeaksPublic(BaseModel):
    """A clip's waveform: the lowest and the highest sample of each part, between -1 and 1."""

    duration_s: float
    peaks: list[Annotated[list[float], Field(min_length=2, max_length=2)]]


class ClipPage(Page[ClipPublic]):
    """One page of clips."""


@router.get("/clips/{clip_id}")
def get_clip(clip_id: str, user: CurrentUser) -> ClipPublic:
    """Return one clip."""
    with engine.read() as session:
        return ClipPublic.model_validate(clips.get_clip(session, actor=user, clip_id=clip_id))


@router.patch("/clips/{clip_id}")
def update_clip(clip_id: str, body: ClipUpdate, user: CurrentTrainer) -> ClipPublic:
    """Correct text, label, speaker or split; `status` is `ok` or `excluded`."""
    with engine.write() as session:
        return ClipPublic.model_validate(clips.update(session, actor=user, clip_id=clip_id, form=body))


@router.head("/clips/{clip_id}/audio", include_in_schema=False)
@router.get("/clips/{clip_id}/audio", response_class=FileResponse, responses=sends("audio/*", ranges=True))
def get_audio(clip_id: str, user: CurrentUser) -> SoundFile:
    """Return the original bytes; `Range` works. Only as a download, never sniffed for another type."""
    with engine.read() as session:
        clip, path, media_type = clips.get_audio(session, actor=user, clip_id=clip_id)
    name = clip.filename.rpartition("/")[2]
    return SoundFile(path, name=name, media_type=media_type)


@router.get("/clips/{clip_id}/spectrogram", response_class=Response, responses=_PICTURE)
def get_spectrogram(clip_id: str, user: CurrentUser, request: Request) -> Response:
    """Return a mel spectrogram as a PNG, of the first ten minutes. An `ETag` saves the second look."""
    recording = _recording(clip_id, user)
    tag = f'"{recording.sha256[:32]}-{rendering.DRAWN_AS}"'
    headers = {"ETag": tag, "Cache-Control": "private, max-age=86400"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    content = rendering.spectrogram(recording)
    return Response(content, media_type="image/png", headers=headers | _AS_A_DOWNLOAD)


@router.get("/clips/{clip_id}/augmented", response_class=Response, responses=_SOUND)
def get_augmented(clip_id: str, user: CurrentUser, seed: FromZero = 0, epoch: FromZero = 0) -> Response:
    """Return the clip as training hears it with the dataset's augmentation: WAV at 16 kHz, 40 s at most."""
    content = rendering.varied(_recording(clip_id, user), seed=seed, epoch=epoch)
    return Response(content, media_type="audio/wav", headers=_AS_A_DOWNLOAD)


@router.post("/clips/{clip_id}/augmented", response_class=Response, responses=_SOUND)
def try_augmentation(clip_id: str, body: AugmentationTrial, user: CurrentUser) -> Response:
    """Return the clip as training would hear it with another augmentation. Nothing is stored."""
    content = rendering.varied(
        _recording(clip_id, user), augmentation=body.augmentation, seed=body.seed, epoch=body.epoch
    )
    return Response(content, media_type="audio/wav", headers=_AS_A_DOWNLOAD)


def _recording(clip_id: str, user: User) -> rendering.Recording:
    with engine.read() as session:
        return rendering.get_recording(session, actor=user, clip_id=clip_id)


@router.get("/clips/{clip_id}/peaks")
def get_peaks(clip_id: str, user: CurrentUser) -> PeaksPublic:
    """Return the waveform as (low, high) pairs between -1 and 1, at most 800."""
    with engine.read() as session:
        clip = clips.get_clip(session, actor=user, clip_id=clip_id)
    return PeaksPublic(duration_s=clip.duration_s, peaks=[list(pair) for pair in to_pairs(clip.peaks or b"")])
