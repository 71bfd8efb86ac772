"""Datasets: make them, take files in, look at them, delete them."""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, StringConstraints
from sqlalchemy import func
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import ClipStatus, DatasetStatus, Split, Task
from qlora_studio.contracts.spec import AugmentationSpec, ClipItem, Strict
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import Conflict, InvalidInput
from qlora_studio.core.known import Known
from qlora_studio.db import engine, search
from qlora_studio.db.commits import after_commit
from qlora_studio.db.models import Adapter, Clip, Dataset, Job, User
from qlora_studio.examples import catalog
from qlora_studio.ingest import blobs, history, launching, staging, updating
from qlora_studio.services import access, audit, dataset_sources, feedback_rows
from qlora_studio.services.access import Action, Shelf
from qlora_studio.services.dataset_sources import DatasetSource
from qlora_studio.services.feedback_filter import FeedbackFilter
from qlora_studio.services.feedback_rows import Chosen
from qlora_studio.storage import layout

_NOT_THERE = "There is no such dataset."
_SWEEP_AT_ONCE = 500
_counts = Known[int](10_000)
_SORTS: dict[str, Any] = {
    "name": func.lower(col(Dataset.name)),
    "task": col(Dataset.task),
    "status": col(Dataset.status),
    "n_clips": col(Dataset.n_clips),
    "duration_s": col(Dataset.duration_s),
    "size_bytes": col(Dataset.size_bytes),
    "created_at": col(Dataset.created_at),
    "updated_at": col(Dataset.updated_at),
}

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]
Description = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)]


class DatasetCreate(Strict):
    """A new dataset.

    `mapping` says which column is the `file`, `text`, `label`, `speaker` or `split`, and with `label_from`
    (`folder`, `prefix`, `none`) where labels come from that no column gives.
    """

    name: Name
    description: Description = ""
    task: Task = Task.SPEECH_TO_TEXT
    source: DatasetSource = Field(default_factory=lambda: DatasetSource(kind="upload"))
    mapping: dict[str, str] = Field(default_factory=dict)


class DatasetUpdate(Strict):
    """What can be changed afterwards; None leaves it. The task only before files are taken in."""

    name: Name | None = None
    description: Description | None = None
    task: Task | None = None
    mapping: dict[str, str] | None = None
    augmentation: AugmentationSpec | None = None


def create(session: Session, *, actor: User, form: DatasetCreate) -> Dataset:
    """Make a dataset. With files to upload it waits for them; any other source is taken in at once.

    With `source.review` it waits before files are taken in, for somebody to look at the mapping. From
    feedback the takes are chosen now; the same ones under the same name are given back instead of made twice.

    Raises:
        Forbidden: the actor's role may only look.
        InvalidInput: a field is wrong.
        NotFound: the credential isn't the actor's.
        TooLarge: the actor has all the datasets or bytes that one account may.
    """
    access.require_role(actor, of="dataset")
    dataset_sources.check_mapping(form.mapping)
    dataset_sources.check_count(session, actor=actor)
    source = dataset_sources.checked(session, actor=actor, source=form.source)
    rows: list[Chosen] = []
    if form.source.kind == "feedback":
        wanted = form.source.filter or FeedbackFilter()
        rows = feedback_rows.choose(session, actor=actor, wanted=wanted)
        digest = feedback_rows.digest_of(wanted, rows)
        if (same := feedback_rows.find_same(session, actor=actor, name=form.name, digest=digest)) is not None:
            return same
        source |= {"rows_hash": digest, "n_rows": len(rows), "models": sorted({r.model_id for r in rows})}
    dataset = Dataset(
        owner_id=actor.id,
        name=form.name,
        description=form.description,
        task=Task.TEXT_TO_AUDIO if rows else form.task,
        source=source,
        mapping=form.mapping,
    )
    session.add(dataset)
    session.flush()
    _audit(session, actor, "dataset.create", dataset)
    if rows:
        feedback_rows.stage(dataset.id, rows)
    waits = form.source.kind == "upload" or (form.source.kind == "folder" and form.source.review)
    if not waits:
        _start(session, dataset)
    return dataset


def add_example(session: Session, *, actor: User) -> Dataset:
    """Add the embedded example dataset; the one that is there already is given back instead of a second."""
    example = catalog.EXAMPLE_DATASET
    query = select(Dataset).where(col(Dataset.owner_id) == actor.id)
    for dataset in session.exec(query.where(col(Dataset.status) != DatasetStatus.ERROR)):
        if dataset.source.get("kind") == "example":
            return dataset
    source = DatasetSource(kind="example")
    form = DatasetCreate(name=example.name, description=example.description, task=example.task, source=source)
    return create(session, actor=actor, form=form)


def get_dataset(session: Session, *, actor: User, dataset_id: str, action: Action = Action.HOLD) -> Dataset:
    """Return a dataset that the actor may do this to; without an action: one of their own.

    Raises:
        NotFound: it isn't there, or is private to somebody else.
        Forbidden: the actor sees it, and may not do this.
    """
    return access.get(session, Dataset, dataset_id, actor=actor, action=action)


def list_datasets(
    session: Session,
    *,
    actor: User,
    query: str = "",
    status: DatasetStatus | None = None,
    task: Task | None = None,
    sort: str = "-created_at",
    page: int = 1,
    page_size: int = 25,
    shelf: Shelf = Shelf.MINE,
    action: Action = Action.SEE,
) -> tuple[list[Dataset], int]:
    """Return one page of the actor's datasets and how many there are in all.

    Raises:
        InvalidInput: `sort` isn't a column that can be sorted by.
    """
    words, is_mine = query.strip(), shelf is Shelf.MINE
    place = actor.id if is_mine else ""  # the index is by owner; what others share is little
    hits = search.find_datasets(session, owner_id=place, words=words) if words else None
    are_few = hits is not None and hits.are_few
    owner = search.unindexed(Dataset.owner_id) if are_few else col(Dataset.owner_id)
    within = access.within(Dataset, actor=actor, shelf=shelf, action=action)
    where: list[Any] = [owner == actor.id if is_mine else within]
    if status is not None:
        where.append(col(Dataset.status) == status)
    if task is not None:
        where.append(col(Dataset.task) == task)
    counted = select(func.count()).select_from(Dataset)
    if not is_mine:
        exact = [hits.exact] if hits is not None else []
        total = session.exec(counted.where(*where, *exact)).one()
    elif hits is None:
        total = search.count_datasets(session, owner_id=actor.id, status=status, task=task)
    elif hits.n is not None and status is None and task is None:
        total = hits.n
    else:
        state = search.state_of_datasets(session, owner_id=actor.id)
        key = (actor.id, state, words, status, task) if state is not None else None
        exactly = counted.where(*where, hits.exact)
        total = _counts.get(key, lambda: session.exec(exactly).one())
    if hits is not None:
        where.append(hits.condition)
    sorts = {name: search.unindexed(column) for name, column in _SORTS.items()} if are_few else _SORTS
    tie = col(Dataset.id).desc() if sort.startswith("-") else col(Dataset.id)
    rows = select(Dataset).where(*where).order_by(*order_by(sort, sorts, tie=tie))
    return list(session.exec(rows.offset((page - 1) * page_size).limit(page_size))), total


def update(session: Session, *, actor: User, dataset_id: str, form: DatasetUpdate) -> Dataset:
    """Change a dataset's name, description, task or column mapping.

    Raises:
        NotFound: it isn't the actor's.
        Conflict: the task or mapping of a dataset whose files are taken in, or being so.
    """
    access.require_role(actor, of="dataset")
    dataset = get_dataset(session, actor=actor, dataset_id=dataset_id)
    changes = form.model_dump(exclude_none=True)
    is_read_anew = any(
        changes.get(key, getattr(dataset, key)) != getattr(dataset, key) for key in ("task", "mapping")
    )
    if is_read_anew and dataset.status in (DatasetStatus.READY, DatasetStatus.PROCESSING):
        raise Conflict("The labels were read for this task. Make a new dataset for another one.")
    dataset_sources.check_mapping(changes.get("mapping", {}))
    for key, value in changes.items():
        setattr(dataset, key, value)
    dataset.updated_at = utc_now()
    session.add(dataset)
    _audit(session, actor, "dataset.update", dataset)
    return dataset


def delete(session: Session, *, actor: User, dataset_id: str) -> None:
    """Delete a dataset with its clips; recordings that no other dataset has are removed from the disk.

    Raises:
        NotFound: it isn't the actor's.
        Conflict: jobs or adapters were made with it; they are named.
    """
    access.require_role(actor, of="dataset")
    dataset = get_dataset(session, actor=actor, dataset_id=dataset_id)
    users = list_users_of(session, dataset_id=dataset_id)
    if users:
        raise Conflict(f"{dataset.name} is in use. Delete what was made with it first.", users_of=users)
    hashes = list(session.exec(select(Clip.sha256).where(col(Clip.dataset_id) == dataset_id)).all())
    _audit(session, actor, "dataset.delete", dataset)
    session.delete(dataset)
    after_commit(session, lambda: _remove_files(dataset_id, hashes))


def list_users_of(session: Session, *, dataset_id: str) -> list[str]:
    """Names of the jobs and adapters that were made with a dataset, and whose those of others are."""
    owner_id = session.exec(select(Dataset.owner_id).where(col(Dataset.id) == dataset_id)).first() or ""
    jobs = session.exec(select(Job).where(col(Job.dataset_id) == dataset_id)).all()
    adapters = session.exec(select(Adapter).where(col(Adapter.dataset_id) == dataset_id)).all()
    whose = access.whose(session, owner_id, [*jobs, *adapters])
    return [f"job {job.name} ({job.status.value}){whose[job.id]}" for job in jobs] + [
        f"adapter {adapter.name}{whose[adapter.id]}" for adapter in adapters
    ]


def prepare_upload(session: Session, *, actor: User, dataset_id: str) -> Dataset:
    """Return the dataset if files may be added to it now.

    Raises:
        NotFound: it isn't the actor's.
        Conflict: its files are being taken in or are in.
    """
    access.require_role(actor, of="dataset")
    dataset = get_dataset(session, actor=actor, dataset_id=dataset_id)
    if dataset.source.get("kind") != "upload":
        raise Conflict("This dataset doesn't come from uploaded files.")
    if dataset.status not in (DatasetStatus.AWAITING_FILES, DatasetStatus.ERROR):
        raise Conflict("This dataset's files have been taken in. Make a new dataset for more.")
    return dataset


def start_ingest(session: Session, *, actor: User, dataset_id: str) -> Dataset:
    """Begin taking the files in, in a process of its own. Asking twice starts it once.

    Raises:
        NotFound: it isn't the actor's.
        Conflict: no file has been received, or everything is in already.
    """
    access.require_role(actor, of="dataset")
    dataset = get_dataset(session, actor=actor, dataset_id=dataset_id)
    if dataset.status is DatasetStatus.PROCESSING:
        return dataset
    if dataset.status is DatasetStatus.READY:
        raise Conflict("This dataset is ready; its files are in.")
    if dataset.source.get("kind") == "upload" and not staging.list_received(dataset_id):
        raise Conflict("No file has been received yet. Add recordings first.")
    if dataset.status is DatasetStatus.AWAITING_FILES:
        dataset.source = {**dataset.source, "review": False}  # somebody has looked at the files
    _start(session, dataset)
    return dataset


def cancel(session: Session, *, actor: User, dataset_id: str) -> Dataset:
    """Stop fetching or taking in. Uploaded files stay and wait; everything can be started again.

    Raises:
        NotFound: it isn't the actor's.
        Conflict: nothing is under way.
    """
    access.require_role(actor, of="dataset")
    dataset = get_dataset(session, actor=actor, dataset_id=dataset_id)
    if dataset.status is not DatasetStatus.PROCESSING:
        raise Conflict("Nothing is under way that could be stopped.")
    if updating.is_under_way(dataset):
        updating.end(dataset)  # it is ready as it was before
    elif dataset.source.get("kind") == "upload":
        dataset.status = DatasetStatus.AWAITING_FILES
    else:
        dataset.status, dataset.error = DatasetStatus.ERROR, "It was stopped. Start it again, or delete it."
    dataset.updated_at = utc_now()
    session.add(dataset)
    _audit(session, actor, "dataset.cancel", dataset)
    return dataset


def describe_progress(dataset: Dataset) -> str:
    """What a dataset that is being processed is doing, for people; empty for any other."""
    if dataset.status is not DatasetStatus.PROCESSING:
        return ""
    if updating.is_under_way(dataset):
        return f"Adding {dataset.progress_total:,} takes"
    if dataset.progress_total:
        return f"Taking in: {dataset.progress_done:,} of {dataset.progress_total:,} files"
    fetched = dataset.source.get("fetched")
    if not fetched:
        return "Looking at the files"
    total = f" of {fetched['total'] / 1e6:,.1f}" if fetched.get("total") else ""
    return f"Fetching: {fetched['bytes'] / 1e6:,.1f}{total} MB"


def recover(session: Session) -> list[str]:
    """After a start of the server: go on with datasets that were being taken in. Returns their ids.

    A process that still runs from before keeps its work; the new one waits for it and takes over if it dies.
    """
    staging.sweep()
    query = select(Dataset.id).where(col(Dataset.status) == DatasetStatus.PROCESSING)
    unfinished = list(session.exec(query).all())
    for dataset_id in unfinished:
        launching.launch(dataset_id)
    return unfinished


def count_splits(session: Session, *, dataset_id: str) -> dict[Split, tuple[int, float]]:
    """Usable clips and their seconds in each split."""
    query = select(Clip.split, func.count(), func.sum(Clip.duration_s)).where(
        col(Clip.dataset_id) == dataset_id, col(Clip.status) == ClipStatus.OK
    )
    found = {split: (n, float(s or 0)) for split, n, s in session.exec(query.group_by(col(Clip.split)))}
    return {split: found.get(split, (0, 0.0)) for split in Split}


def count_reasons(session: Session, *, dataset_id: str) -> list[tuple[str, int]]:
    """How many clips could not be used, by kind of reason (the words before the colon), most first."""
    query = select(Clip.reason).where(col(Clip.dataset_id) == dataset_id, col(Clip.status) != ClipStatus.OK)
    counts: dict[str, int] = {}
    for reason in session.exec(query):
        kind = (reason or "Left out by hand").partition(":")[0]
        counts[kind] = counts.get(kind, 0) + 1
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def export_clips(session: Session, *, dataset_id: str, version: int | None = None) -> Iterator[ClipItem]:
    """Yield the clips that a version trains on (None: the present one), in order, with their originals.

    The caller checks who asks.

    Raises:
        NotFound: there is no such version.
    """
    for clip in history.clips_at(session, session.get_one(Dataset, dataset_id), version):
        yield ClipItem(
            id=clip.id,
            path=str(layout.blob_path(clip.sha256)),
            duration_s=clip.duration_s,
            text=clip.text,
            label=clip.label,
            speaker=clip.speaker,
            split=clip.split,
        )


def order_by(sort: str, columns: dict[str, Any], *, tie: Any) -> list[Any]:
    """Turn `-created_at` into what SQL sorts by, with `tie` so that pages never overlap.

    Raises:
        InvalidInput: the column isn't one of `columns`.
    """
    column = columns.get(sort.removeprefix("-"))
    if column is None:
        message = f"Sort by one of {', '.join(columns)}, with - in front for descending."
        raise InvalidInput(message, fields={"sort": message})
    return [column.desc() if sort.startswith("-") else column.asc(), tie]


def _start(session: Session, dataset: Dataset) -> None:
    dataset.status, dataset.error = DatasetStatus.PROCESSING, None
    dataset.progress_done = dataset.progress_total = 0
    dataset.updated_at = utc_now()
    session.add(dataset)
    dataset_id = dataset.id
    after_commit(session, lambda: launching.launch(dataset_id))


def _remove_files(dataset_id: str, hashes: list[str]) -> None:
    staging.discard(dataset_id)
    for start in range(0, len(hashes), _SWEEP_AT_ONCE):
        with engine.write() as session:
            blobs.sweep(session, hashes[start : start + _SWEEP_AT_ONCE])


def _audit(session: Session, actor: User, action: str, dataset: Dataset) -> None:
    audit.record(
        session,
        actor=actor,
        action=action,
        object_type="dataset",
        object_id=dataset.id,
        object_name=dataset.name,
    )
