"""Take a dataset's files in: gather, match with labels, decode, store, split, count.

Runs in its own process (`python -m qlora_studio.ingest <dataset id>`), so that it depends on no browser tab
and no web server. It may be killed at any moment and started again: staging is kept until the dataset is
ready, and recordings that were measured before aren't decoded again.
"""

import errno
import fcntl
import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path

from sqlalchemy import insert, update
from sqlmodel import Session, col, delete, select

from qlora_studio.contracts.enums import ClipStatus, DatasetStatus, Split
from qlora_studio.core.errors import StorageFull
from qlora_studio.core.secrets import SecretLost
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine
from qlora_studio.db.models import Clip, Dataset
from qlora_studio.examples import catalog
from qlora_studio.ingest import (
    blobs,
    examining,
    findings,
    notices,
    quota,
    remote,
    sources,
    splits,
    staging,
    totals,
    updating,
)
from qlora_studio.ingest.decoding import DecoderPool
from qlora_studio.ingest.examining import Examined
from qlora_studio.ingest.manifests import ManifestRefused
from qlora_studio.ingest.matching import Plan, StagedFile, match
from qlora_studio.ingest.refusal import Cancelled, DatasetGone, SourceRefused
from qlora_studio.storage import layout

FLUSH_EVERY_S = 0.4
FLUSH_ROWS = 250
UPDATE_ROWS = 500
_DISK_FULL = "The disk is full. Make room, then start again; everything received is kept."
_log = logging.getLogger(__name__)


def run(dataset_id: str) -> None:
    """Take in one dataset: ready then, or in error with a sentence. Waits while another process does."""
    with _exclusive(dataset_id):
        dataset = _load(dataset_id)
        if dataset is None or dataset.status is not DatasetStatus.PROCESSING:
            return
        kept: set[str] = set()
        began = time.monotonic()
        try:
            if updating.is_under_way(dataset):
                with _examining(dataset.id, kept) as examine:
                    updating.take_in(dataset, examine)
            elif _fetch(dataset):
                _take_in(dataset, kept, began)
            kept.clear()
        except DatasetGone:
            staging.discard(dataset_id)
            return
        except Cancelled:
            _forget_clips(dataset_id)
            return
        except (SourceRefused, ManifestRefused, StorageFull, SecretLost) as refusal:
            _fail(dataset_id, str(refusal), began)
            return
        except OSError as error:
            _log.exception("dataset %s", dataset_id)
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            other = f"A file couldn't be read or written ({error.strerror}). Start it again."
            _fail(dataset_id, _DISK_FULL if is_full else other, began)
            return
        finally:
            if kept:  # the work was cut short; what no clip names goes again
                with engine.write() as session:
                    blobs.sweep(session, kept)
    if (dataset := _load(dataset_id)) is not None and dataset.status is DatasetStatus.READY:
        staging.discard(dataset_id)
        findings.bring_up_to_date(dataset_id)


def _fetch(dataset: Dataset) -> bool:
    """Bring a dataset's files here; False if its owner wants to look at them before they are taken in."""
    if dataset.source.get("kind") not in remote.KINDS:
        return True
    remote.fetch(dataset, get_settings())
    if not dataset.source.get("review"):
        return True
    with engine.write() as session:
        _row(session, dataset.id).status = DatasetStatus.AWAITING_FILES
    return False


def _take_in(dataset: Dataset, kept: set[str], began: float) -> None:
    """Do the whole work; `kept` is filled with the hashes of originals as they are stored."""
    with _examining(dataset.id, kept) as examine:
        plan = match(_gather(dataset), task=dataset.task, mapping=dataset.mapping)
        old = _begin(dataset.id, len(plan.clips))
        _store(dataset.id, examine(plan.clips))
    blobs.make_durable(kept)  # before the database says that the dataset is ready
    with engine.read() as session:
        sounds = findings.similar_sounds(session, dataset.id)
    with engine.write() as session:
        blobs.sweep(session, old)
        _finish(session, dataset.id, plan, sounds)
        notices.tell(session, session.get_one(Dataset, dataset.id), began=began)


@contextmanager
def _examining(dataset_id: str, kept: set[str]) -> Iterator[updating.Examine]:
    """Give what decodes planned clips on all cores, in their order; what isn't asked for is called off."""
    with (
        DecoderPool(max_clip_s=get_settings().max_clip_s, n_children=_n_cores()) as pool,
        ThreadPoolExecutor(_n_cores() + 1) as threads,
    ):
        examine = partial(examining.examine, dataset_id=dataset_id, pool=pool, kept=kept)
        try:
            yield lambda clips: chain.from_iterable(threads.map(examine, examining.cut(clips)))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def _begin(dataset_id: str, n_files: int) -> Sequence[str]:
    """Remove the clips of an earlier start and return the hashes that they had."""
    with engine.write() as session:
        old = session.exec(select(Clip.sha256).where(col(Clip.dataset_id) == dataset_id)).all()
        session.exec(delete(Clip).where(col(Clip.dataset_id) == dataset_id))
        row = _row(session, dataset_id)
        row.progress_done, row.progress_total, row.duration_s = 0, n_files, 0.0
    return old


def _gather(dataset: Dataset) -> list[StagedFile]:
    settings, source = get_settings(), dataset.source
    with engine.read() as session:
        room = quota.room_bytes(session, dataset.owner_id, settings, besides=dataset.id)
    settings = settings.model_copy(update={"max_upload_bytes": room})
    if source.get("kind") == "folder":
        return sources.from_folder(dataset.id, Path(source["path"]), settings.dataset_root_paths, settings)
    if source.get("kind") == "example":
        folder = catalog.example_dataset_path().resolve()
        return sources.from_folder(dataset.id, folder, [folder], settings)
    if source.get("kind") == "feedback":
        return sources.from_chosen(dataset.id)
    return sources.from_upload(dataset.id, settings)


def _store(dataset_id: str, examined: Iterable[Examined]) -> None:
    batch: list[Examined] = []
    flushed_at = time.monotonic()
    for item in examined:
        batch.append(item)
        if len(batch) >= FLUSH_ROWS or time.monotonic() - flushed_at > FLUSH_EVERY_S:
            _flush(dataset_id, batch)
            batch, flushed_at = [], time.monotonic()
    _flush(dataset_id, batch)


def _flush(dataset_id: str, batch: list[Examined]) -> None:
    if not batch:
        return
    with engine.write() as session:
        dataset = _row(session, dataset_id)
        for item in batch:
            if item.path is not None:
                blobs.keep(item.path, item.row["sha256"])  # again, under the write lock: see `blobs`
        rows = [item.row for item in batch]
        session.connection().execute(insert(Clip), rows)
        dataset.progress_done += len(rows)
        dataset.duration_s += sum(row["duration_s"] for row in rows if row["status"] is ClipStatus.OK)


def _finish(session: Session, dataset_id: str, plan: Plan, sounds: dict[str, str]) -> None:
    dataset = _row(session, dataset_id)
    given = {clip.labels.split for clip in plan.clips if clip.reason is None} - {None}
    if Split.VALIDATION not in given:
        _hold_out(session, dataset, sounds, keep_test=Split.TEST in given)
    if dataset.source.get("kind") == "feedback":
        findings.keep_silent(session, dataset)  # somebody has heard them and chose them
    else:
        findings.adopt_silent(session, dataset)
    dataset.mapping = plan.mapping
    dataset.source = {**dataset.source, "labels": plan.label_source, "ignored": plan.ignored[:100]}
    totals.refresh(session, dataset)
    if dataset.n_clips == 0:
        dataset.status, dataset.error = DatasetStatus.ERROR, _nothing_usable(session, dataset, plan)
    else:
        dataset.status, dataset.error = DatasetStatus.READY, None


def _hold_out(session: Session, dataset: Dataset, sounds: dict[str, str], *, keep_test: bool) -> None:
    query = select(Clip.id, Clip.sha256, Clip.text, Clip.label, Clip.split).where(
        col(Clip.dataset_id) == dataset.id, col(Clip.status) != ClipStatus.REJECTED
    )
    clips = [row for row in session.exec(query) if not (keep_test and row[4] is Split.TEST)]
    items = [splits.SplitItem(*row[:4], sound=sounds.get(row[1])) for row in clips]
    items = splits.untie_prompts(items, task=dataset.task)
    _set_splits(session, splits.assign(items, ratios=splits.DEFAULT_RATIOS, seed=0))


def _set_splits(session: Session, chosen: dict[str, Split]) -> None:
    for split in Split:
        ids = [clip_id for clip_id, its_split in chosen.items() if its_split is split]
        for start in range(0, len(ids), UPDATE_ROWS):
            others = (col(Clip.id).in_(ids[start : start + UPDATE_ROWS]), col(Clip.split) != split)
            session.connection().execute(update(Clip).where(*others).values(split=split))


def _nothing_usable(session: Session, dataset: Dataset, plan: Plan) -> str:
    if not plan.clips:
        return "There were no files to take in. Add recordings and start again."
    if dataset.n_excluded and not dataset.n_rejected:
        return "All recordings are silent."
    query = select(Clip.filename, Clip.reason).where(
        col(Clip.dataset_id) == dataset.id, col(Clip.status) == ClipStatus.REJECTED
    )
    name, reason = session.exec(query.order_by(col(Clip.position)).limit(1)).one()
    which = "The file" if len(plan.clips) == 1 else f"None of the {len(plan.clips):,} files"
    can = "can't" if len(plan.clips) == 1 else "can"
    return f"{which} {can} be used. {name}: {reason}"[:1000]


def _fail(dataset_id: str, message: str, began: float) -> None:
    with engine.write() as session:
        dataset = session.get(Dataset, dataset_id)
        if dataset is None or dataset.status is not DatasetStatus.PROCESSING:
            return
        if updating.is_under_way(dataset):
            updating.end(dataset, message=message)
        else:
            dataset.status, dataset.error = DatasetStatus.ERROR, message[:1000]
            notices.tell(session, dataset, began=began)


def _load(dataset_id: str) -> Dataset | None:
    with engine.read() as session:
        return session.get(Dataset, dataset_id)


def _row(session: Session, dataset_id: str) -> Dataset:
    dataset = session.get(Dataset, dataset_id)
    if dataset is None:
        raise DatasetGone
    if dataset.status is not DatasetStatus.PROCESSING:
        raise Cancelled
    return dataset


def _forget_clips(dataset_id: str) -> None:
    """After a cancel: the clips so far go, and the files wait for another start."""
    with engine.write() as session:
        dataset = session.get(Dataset, dataset_id)
        if dataset is None or dataset.status in (DatasetStatus.PROCESSING, DatasetStatus.READY):
            return  # it was started again; that process sees to it
        mine = col(Clip.dataset_id) == dataset_id
        hashes = session.exec(select(Clip.sha256).where(mine)).all()
        session.exec(delete(Clip).where(mine))
        dataset.progress_done = dataset.progress_total = 0
        dataset.duration_s = 0.0
        blobs.sweep(session, hashes)


def _n_cores() -> int:
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, n_cores)


@contextmanager
def _exclusive(dataset_id: str) -> Iterator[None]:
    """Hold the dataset's lock file; whoever waits takes over when the holder dies."""
    folder = layout.staging_path(dataset_id)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "ingest.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
