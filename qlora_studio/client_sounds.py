"""The client's calls about recordings: a dataset's clips, and what models hear in a file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qlora_studio.client_answers import Answer
from qlora_studio.client_base import Connection

_HEARING_S = 600.0  # a model may have to be loaded first


class Clip(Answer):
    """A recording of a dataset; `reason` says why it can't be used."""

    id: str
    filename: str
    duration_s: float
    sample_rate: int
    text: str | None
    label: str | None
    speaker: str | None
    split: str
    status: str
    reason: str | None


class Heard(Answer):
    """What every model's answer tells of itself; `heard_s` is how much of the clip it listened to."""

    model_id: str
    adapter_id: str | None
    strength: float
    duration_s: float
    heard_s: float


class Transcription(Heard):
    text: str


class Classification(Heard):
    """The likeliest class, and each with its probability."""

    label: str
    classes: list[dict[str, Any]]


class Diarization(Heard):
    """Who speaks when, and the same as lines of RTTM."""

    segments: list[dict[str, Any]]
    rttm: str


class SoundCalls(Connection):
    """Recordings."""

    def list_clips(self, dataset_id: str, **filters: Any) -> Iterator[Clip]:
        """All clips that match, page by page: `split`, `label`, `status`, `query`, `check`."""
        return self._pages(f"/datasets/{dataset_id}/clips", Clip, filters)

    def download_clip(self, clip_id: str, to: Path) -> Path:
        """The original bytes of a clip."""
        return self._download(f"/clips/{clip_id}/audio", to)

    def get_peaks(self, clip_id: str) -> list[tuple[float, float]]:
        """A clip's waveform: the lowest and the highest sample of each part, between -1 and 1."""
        return [(low, high) for low, high in self._send("GET", f"/clips/{clip_id}/peaks")["peaks"]]

    def download_spectrogram(self, clip_id: str, to: Path) -> Path:
        """A clip's mel spectrogram as PNG."""
        return self._download(f"/clips/{clip_id}/spectrogram", to)

    def transcribe(self, path: Path, model_id: str, **options: Any) -> Transcription:
        """Have a model write a file down; `options` are `adapter_id` (or `active`) and `strength`."""
        return Transcription.model_validate(self._hear("/transcriptions", path, model_id, options))

    def classify(self, path: Path, model_id: str, **options: Any) -> Classification:
        """Have a model name a file's class; `options` as in `transcribe`."""
        return Classification.model_validate(self._hear("/classifications", path, model_id, options))

    def diarize(self, path: Path, model_id: str, **options: Any) -> Diarization:
        """Have a model say who speaks when; `options` as in `transcribe`."""
        return Diarization.model_validate(self._hear("/diarizations", path, model_id, options))

    def _hear(self, address: str, path: Path, model_id: str, options: dict[str, Any]) -> Any:
        with path.open("rb") as file:
            form = {"model_id": model_id, **options}
            return self._send(
                "POST", address, data=form, files={"file": (path.name, file)}, timeout=_HEARING_S
            )
