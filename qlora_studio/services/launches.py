"""Launching jobs: a row in the queue, and a run folder with its clips and config, or nothing of it."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import event, func
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import JobStatus, Split, TrainingType
from qlora_studio.contracts.spec import AugmentationSpec, ClipItem, PairItem, TrainSpec
from qlora_studio.core.errors import InvalidInput, StorageFull, TooLarge, Unavailable
from qlora_studio.core.ids import new_id
from qlora_studio.core.settings import get_settings
from qlora_studio.db.engine import read
from qlora_studio.db.models import Adapter, Dataset, Job, User
from qlora_studio.jobs import run_files
from qlora_studio.services import datasets, models, starts
from qlora_studio.services.access import Action
from qlora_studio.services.job_access import announce, audit_job, require_trainer
from qlora_studio.services.job_checks import usable_clips, validate
from qlora_studio.services.preference_pairs import Pairs, pair_up
from qlora_studio.storage import atomic, layout, orphans


def submit(
    session: Session,
    *,
    actor: User,
    spec: TrainSpec,
    launch_key: str | None = None,
    group_id: str | None = None,
    same_clips_as: str | None = None,
    pairs: Pairs | None = None,
) -> Job:
    """Queue a job. Its clips and config are on disk before this returns.

    Args:
        launch_key: the same key from the same person gives the same job and makes nothing twice.
        group_id: the sweep that it is part of.
        same_clips_as: a job of the same dataset and start adapter that was queued in this transaction; both
            are shared.
        pairs: the dataset's, where they have been found a moment ago.

    Raises:
        Forbidden: the actor may not train.
        InvalidInput: the spec does not fit the data; `fields` says where.
        Conflict: the model's files are not those that were checked.
        TooLarge: the actor has as many jobs in the queue as one may have.
        StorageFull, Unavailable: the run folder could not be written.
    """
    require_trainer(actor)
    key = f"{actor.id}:{launch_key}"[:200] if launch_key else None
    if key and (existing := session.exec(select(Job).where(col(Job.launch_key) == key)).first()):
        return existing
    require_room(session, actor=actor)
    spec = with_augmentation(session, spec)
    check = validate(session, actor=actor, spec=spec, pairs=pairs)
    if not check.ok:
        raise InvalidInput(" ".join(check.errors.values()), fields=check.errors)
    spec = starts.with_own_values(session, spec)
    job = _make_job(session, actor=actor, spec=spec, forecast=check.forecast, launch_key=key)
    job.group_id = group_id
    _write_run(session, job, spec, same_clips_as)
    _remove_run_unless_committed(session, job.id)
    session.add(job)
    session.flush()
    audit_job(session, actor, "job.create", job)
    announce(session, job.id)
    return job


def require_room(session: Session, *, actor: User, n_jobs: int = 1) -> None:
    """Refuse more queued jobs than one person may have.

    Raises:
        TooLarge: these would be too many.
    """
    most = get_settings().max_queued_jobs if actor.max_queued_jobs is None else actor.max_queued_jobs
    mine = select(func.count()).select_from(Job).where(Job.owner_id == actor.id)
    n_queued = session.exec(mine.where(Job.status == JobStatus.QUEUED)).one()
    if n_queued + n_jobs > most:
        what = "one more" if n_jobs == 1 else f"{n_jobs} more"
        raise TooLarge(
            f"{n_queued} of your jobs are in the queue; {what} would be over the limit of {most}. "
            "Wait until some have run, or stop some."
        )


def with_augmentation(session: Session, spec: TrainSpec) -> TrainSpec:
    """Put the dataset's way to vary clips into a spec that has none, so that it stays the job's own."""
    dataset = session.get(Dataset, spec.dataset_id)
    if spec.training_type is TrainingType.PREFERENCE:
        return spec  # a pair is judged as it was heard
    if spec.augmentation is not None or dataset is None or not dataset.augmentation:
        return spec  # a dataset that isn't there, or isn't the actor's, is refused by `validate`
    return spec.model_copy(update={"augmentation": AugmentationSpec.model_validate(dataset.augmentation)})


def _make_job(
    session: Session, *, actor: User, spec: TrainSpec, forecast: dict[str, Any], launch_key: str | None
) -> Job:
    dataset = datasets.get_dataset(session, actor=actor, dataset_id=spec.dataset_id, action=Action.TRAIN)
    model = models.get_model(session, actor=actor, model_id=spec.model_id, action=Action.TRAIN)
    models.check_unchanged(model)
    return Job(
        id=new_id("job"),
        owner_id=actor.id,
        name=" ".join(spec.name.split()),
        training_type=spec.training_type,
        dataset_id=dataset.id,
        dataset_version=dataset.version,
        dataset_hash=dataset.content_hash,
        model_id=spec.model_id,
        after_job_id=spec.after_job_id,
        spec=spec.model_dump(mode="json"),
        forecast=forecast,
        launch_key=launch_key,
        total_steps=spec.optimization.max_steps or 0,
    )


def _write_run(session: Session, job: Job, spec: TrainSpec, same_clips_as: str | None) -> None:
    dataset = session.get_one(Dataset, job.dataset_id)
    try:
        if same_clips_as is not None:
            run_files.link_inputs(job.id, like=same_clips_as)
            run_files.write_config(job.id, spec=spec)
            return
        if (adapter := find_start(session, spec)) is not None:
            run_files.copy_start(Path(adapter.path), layout.run_path(job.id))
        counts = run_files.write_run(job.id, spec=spec, clips=list_clips(session, spec=spec, dataset=dataset))
    except OSError as error:
        shutil.rmtree(layout.run_path(job.id), ignore_errors=True)
        if not atomic.is_full(error):
            raise Unavailable(unwritten(error)) from error
        raise StorageFull(
            "The disk is full. Free some space and launch again; nothing was started."
        ) from error
    assert counts[Split.TRAIN], "validated above"


def unwritten(error: OSError) -> str:
    """What is said where files could not be written and the disk is not full."""
    why = error.strerror or type(error).__name__
    return f"The files that it takes could not be written ({why}). Nothing was started; tell an admin."


def find_start(session: Session, spec: TrainSpec) -> Adapter | None:
    """The adapter that a job starts from, if any. `validate` has checked who asks."""
    return session.get_one(Adapter, spec.start_adapter_id) if spec.start_adapter_id else None


def list_clips(session: Session, *, spec: TrainSpec, dataset: Dataset) -> Iterable[ClipItem | PairItem]:
    """The clips, or pairs, that a job learns from and is measured on. The caller checks who asks."""
    clips = usable_clips(datasets.export_clips(session, dataset_id=dataset.id), dataset.task)
    return pair_up(clips).whole if spec.training_type is TrainingType.PREFERENCE else clips


def _remove_run_unless_committed(session: Session, job_id: str) -> None:
    """Take the run folder along when the row does not come to be: the commit may still find a full disk."""
    is_settled = False

    def keep(_: Session) -> None:
        nonlocal is_settled
        is_settled = True

    def settle(_: Session, transaction: Any) -> None:
        nonlocal is_settled
        if transaction.parent is None and not is_settled:
            is_settled = True
            shutil.rmtree(layout.run_path(job_id), ignore_errors=True)

    event.listen(session, "after_commit", keep, once=True)
    event.listen(session, "after_transaction_end", settle)


def sweep_leftovers() -> None:
    """Remove run folders of no job: a server was killed while it launched or deleted one."""
    with read() as session:
        known = set(session.exec(select(Job.id)))
    orphans.sweep(layout.data_path() / "runs", known.__contains__)
