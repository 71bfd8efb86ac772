"""What earlier jobs on a model took: a forecast rests on them rather than on arithmetic."""

from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import JobStatus
from qlora_studio.contracts.spec import OptimizationSpec, QLoraSpec, TrainSpec
from qlora_studio.db.models import BaseAudioModel, Dataset, Job

_SPEED_RESTS_ON = {"optimization": ("batch_size", "mode", "devices")}
_MEMORY_RESTS_ON = {
    "optimization": (*_SPEED_RESTS_ON["optimization"], "gradient_checkpointing"),
    "qlora": ("target_modules", "rank", "bits", "double_quant", "whole_encoder"),
}
_PEAKS = {"cpu": "peak_rss_bytes", "cuda": "peak_gpu_bytes"}
_DEFAULTS = {"optimization": OptimizationSpec().model_dump(), "qlora": QLoraSpec().model_dump()}
_AT_MOST = 20


@dataclass(frozen=True)
class Past:
    """Of the newest finished job that is like the one asked for; None where there is none.

    `samples_per_s` is of the same model, batch and mode; `peak_bytes`, the highest memory of the process (or
    of the card), also of the same data and layers.
    """

    samples_per_s: float | None = None
    peak_bytes: int | None = None


def read_past(
    session: Session, *, spec: TrainSpec, model: BaseAudioModel, dataset: Dataset, device: str
) -> Past:
    """Look for finished jobs like this on the same model."""
    query = (
        select(Job)
        .where(
            Job.model_id == model.id,
            Job.status == JobStatus.SUCCEEDED,
            Job.training_type == spec.training_type,
        )
        .order_by(col(Job.finished_at).desc())
        .limit(_AT_MOST)
    )
    asked = spec.model_dump(mode="json")
    jobs = session.exec(query).all()
    speeds = (job.samples_per_s for job in jobs if _is_like(job.spec, asked, _SPEED_RESTS_ON))
    peaks = (
        job.actual.get(_PEAKS[device])
        for job in jobs
        if job.dataset_id == dataset.id and _is_like(job.spec, asked, _MEMORY_RESTS_ON)
    )
    return Past(next(filter(None, speeds), None), next(filter(None, peaks), None))


def _is_like(before: dict[str, Any], asked: dict[str, Any], fields: dict[str, tuple[str, ...]]) -> bool:
    """Whether both name the same; what an older spec does not name is as it is by default."""
    return all(
        before.get(part, {}).get(name, _DEFAULTS[part][name]) == asked[part][name]
        for part, names in fields.items()
        for name in names
    )
