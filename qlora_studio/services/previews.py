"""A few training clips decoded as the model will hear them, to listen to before a launch."""

import random
from dataclasses import dataclass

import numpy as np
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import ClipStatus, Split, Task
from qlora_studio.db.models import Clip, Dataset, User
from qlora_studio.services.access import Action
from qlora_studio.services.datasets import get_dataset
from qlora_studio.storage import layout

N_CLIPS = 4
_MAX_CLIP_S = 60.0


@dataclass(frozen=True)
class ClipPreview:
    """A clip at the model's rate, one channel. `peak` is of full scale; `error` says why it is unreadable."""

    clip: Clip
    n_samples: int
    peak: float
    error: str = ""


def preview_batch(
    session: Session, *, actor: User, dataset_id: str, sample_rate: int, seed: int = 0, n: int = N_CLIPS
) -> list[ClipPreview]:
    """Draw clips of the training split by the job's seed and decode them.

    Raises:
        NotFound: the dataset isn't the actor's.
    """
    dataset = get_dataset(session, actor=actor, dataset_id=dataset_id, action=Action.SEE)
    ids = list(session.exec(_usable(dataset)))
    chosen = random.Random(seed).sample(ids, min(n, len(ids)))
    return [_decode(session.get_one(Clip, clip_id), sample_rate) for clip_id in chosen]


def _usable(dataset: Dataset):
    query = select(Clip.id).where(
        col(Clip.dataset_id) == dataset.id,
        col(Clip.status) == ClipStatus.OK,
        col(Clip.split) == Split.TRAIN,
        col(Clip.duration_s) <= _MAX_CLIP_S,
    )
    if dataset.task is Task.SPEECH_TO_TEXT:
        query = query.where(col(Clip.text).is_not(None), col(Clip.text) != "")
    return query.order_by(col(Clip.position))


def _decode(clip: Clip, sample_rate: int) -> ClipPreview:
    import soundfile
    import soxr

    try:
        samples, rate = soundfile.read(layout.blob_path(clip.sha256), dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError, ValueError):
        return ClipPreview(clip, 0, 0.0, "This recording can't be read any more. Take the dataset in again.")
    mono = samples.mean(axis=1)
    heard = mono if rate == sample_rate else soxr.resample(mono, rate, sample_rate)
    return ClipPreview(clip, len(heard), float(np.abs(heard).max(initial=0.0)))
