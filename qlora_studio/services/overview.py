"""One person's things, counted, for the dashboard."""

from dataclasses import dataclass

from sqlmodel import Session, col, func, select

from qlora_studio.contracts.enums import ACTIVE_STATUSES, DatasetStatus, JobStatus, ModelStatus
from qlora_studio.db.models import Adapter, BaseAudioModel, Dataset, Job, User


@dataclass(frozen=True)
class Counts:
    """What the actor has. `audio_s` in seconds; `jobs` by status."""

    n_datasets: int
    n_ready_datasets: int
    n_processing_datasets: int
    n_clips: int
    audio_s: float
    n_models: int
    n_ready_models: int
    n_adapters: int
    jobs: dict[JobStatus, int]

    @property
    def n_jobs(self) -> int:
        return sum(self.jobs.values())

    @property
    def n_active_jobs(self) -> int:
        return sum(self.jobs.get(s, 0) for s in (*ACTIVE_STATUSES, JobStatus.QUEUED))


def count_all(session: Session, *, actor: User) -> Counts:
    """Count the actor's datasets, models, adapters and jobs: four queries, whatever their number."""
    datasets: dict[DatasetStatus, tuple[int, int, float]] = {}
    query = select(
        Dataset.status, func.count(), func.sum(Dataset.n_clips), func.sum(Dataset.duration_s)
    ).where(Dataset.owner_id == actor.id)
    for status, n, n_clips, seconds in session.exec(query.group_by(col(Dataset.status))):
        datasets[status] = (int(n), int(n_clips or 0), float(seconds or 0))
    by_model = select(BaseAudioModel.status, func.count()).where(BaseAudioModel.owner_id == actor.id)
    models = dict(session.exec(by_model.group_by(col(BaseAudioModel.status))).all())
    by_job = select(Job.status, func.count()).where(Job.owner_id == actor.id)
    jobs = dict(session.exec(by_job.group_by(col(Job.status))).all())
    n_adapters = session.exec(select(func.count()).where(Adapter.owner_id == actor.id)).one()
    return Counts(
        n_datasets=sum(n for n, _, _ in datasets.values()),
        n_ready_datasets=datasets.get(DatasetStatus.READY, (0, 0, 0.0))[0],
        n_processing_datasets=datasets.get(DatasetStatus.PROCESSING, (0, 0, 0.0))[0],
        n_clips=sum(n for _, n, _ in datasets.values()),
        audio_s=sum(s for _, _, s in datasets.values()),
        n_models=sum(models.values()),
        n_ready_models=models.get(ModelStatus.READY, 0),
        n_adapters=int(n_adapters),
        jobs={status: int(n) for status, n in jobs.items()},
    )
