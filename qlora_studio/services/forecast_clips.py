"""The clips that a job will go through: how many, and how long. Durations in seconds."""

from math import ceil

from sqlalchemy import func
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import ClipStatus, Split, Task
from qlora_studio.db.models import Clip, Dataset
from qlora_studio.services.forecast_schemas import ClipStats

_PIECE_S = 20.0  # a longer recording goes through a diarization model in pieces


def read_clip_stats(session: Session, dataset: Dataset) -> ClipStats:
    """Count and measure the usable clips of a dataset; of diarization, the pieces of its recordings."""
    usable = (col(Clip.dataset_id) == dataset.id, col(Clip.status) == ClipStatus.OK)
    counted = select(Clip.split, func.count()).where(*usable).group_by(col(Clip.split))
    counts = dict(session.exec(counted).all())
    measured = select(func.avg(Clip.duration_s), func.max(Clip.duration_s)).where(*usable)
    mean, longest = session.exec(measured).one()
    if dataset.task is Task.SPEAKER_DIARIZATION and (longest or 0) > _PIECE_S:
        long = select(Clip.split, Clip.duration_s).where(*usable, col(Clip.duration_s) > _PIECE_S)
        total_s = float(mean) * sum(counts.values())
        for split, duration_s in session.exec(long):
            counts[split] += ceil(duration_s / _PIECE_S) - 1
        mean, longest = total_s / sum(counts.values()), _PIECE_S
    return ClipStats(
        n_train=int(counts.get(Split.TRAIN, 0)),
        n_validation=int(counts.get(Split.VALIDATION, 0)),
        mean_s=float(mean or 0),
        longest_s=float(longest or 0),
    )


def guess_clip_stats(dataset: Dataset) -> ClipStats:
    """Guess from the dataset's totals, where its clips can't be read."""
    n_used = max(1, dataset.n_clips - dataset.n_excluded)
    mean = dataset.duration_s / n_used
    return ClipStats(ceil(0.8 * n_used), n_used - ceil(0.8 * n_used), mean, 4 * mean)
