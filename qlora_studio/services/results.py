"""What a job and an adapter leave behind, as zip archives that are made while they are sent."""

from collections.abc import Iterator
from pathlib import Path

from sqlmodel import Session, col, select

from qlora_studio.core.errors import Conflict, NotFound
from qlora_studio.db.models import Adapter, Job, User
from qlora_studio.jobs import tensorboard
from qlora_studio.services import merging
from qlora_studio.services.access import Action
from qlora_studio.services.adapters import file_name, folder_of, get_view
from qlora_studio.services.cards import make_card
from qlora_studio.services.job_reading import write_log, write_metrics_csv
from qlora_studio.services.jobs import get_job
from qlora_studio.storage import layout
from qlora_studio.storage.exports import Entry, folder_entries, stream_zip

CARD = "README.md"


def stream_adapter(session: Session, *, actor: User, adapter_id: str) -> tuple[str, Iterator[bytes]]:
    """Return a file name and the bytes of a zip that holds the adapter in PEFT's format with its card.

    Raises:
        NotFound: it isn't the actor's.
        Conflict: its files are gone.
    """
    adapter = get_view(session, actor=actor, adapter_id=adapter_id, action=Action.SEE).adapter
    folder = folder_of(adapter)
    card = make_card(session, adapter=adapter).encode()
    return f"{file_name(adapter.name)}.zip", stream_zip(adapter_entries(folder, card))


def adapter_entries(folder: Path, card: bytes, prefix: str = "") -> Iterator[Entry]:
    """An adapter's files, with the card of today in place of the one that was written with them."""
    yield Entry(f"{prefix}{CARD}", card)
    yield from (e for e in folder_entries(folder, prefix) if e.name != f"{prefix}{CARD}")


def stream_results(
    session: Session, *, actor: User, job_id: str, merged: bool = False
) -> tuple[str, Iterator[bytes]]:
    """Return a file name and the bytes of a zip with all that a job has left.

    It holds the adapter or the model, what was made of held-out recordings (RTTM), metrics.csv,
    TensorBoard's files, the logs of all attempts, the config, the spec, the result and the model card.

    Args:
        merged: the merged model as well.

    Raises:
        NotFound: it isn't the actor's.
        Conflict: the merged model is asked for, and there is none.
    """
    job = get_job(session, actor=actor, job_id=job_id, action=Action.SEE)
    adapter = session.exec(select(Adapter).where(col(Adapter.job_id) == job.id)).first()
    merged_path = _find_merged(session, actor, adapter) if merged else None
    card = make_card(session, adapter=adapter).encode() if adapter else None
    return f"{file_name(job.name)}-results.zip", stream_zip(_entries(job, card, merged_path))


def has_merged(session: Session, *, actor: User, job_id: str) -> bool:
    """Whether a merged model of the job's adapter can be taken along."""
    adapter = session.exec(select(Adapter).where(col(Adapter.job_id) == job_id)).first()
    if adapter is None or adapter.owner_id != actor.id:
        return False
    return merging.get_status(session, actor=actor, adapter_id=adapter.id).report is not None


def stream_tensorboard(session: Session, *, actor: User, job_id: str) -> tuple[str, Iterator[bytes]]:
    """Return a file name and the bytes of a zip with the folder to give to TensorBoard.

    Raises:
        NotFound: it isn't the actor's, or it has left none.
    """
    job = get_job(session, actor=actor, job_id=job_id, action=Action.SEE)
    find_tensorboard(session, actor=actor, job_id=job_id)
    folder = file_name(job.name, instead="job")
    entries = (Entry(f"{folder}/{path.name}", path) for path in tensorboard.list_files(job.id))
    return f"{folder}-tensorboard.zip", stream_zip(entries)


def has_tensorboard(session: Session, *, actor: User, job_id: str) -> bool:
    """Whether a job has files for TensorBoard.

    Raises:
        NotFound: it isn't the actor's.
    """
    get_job(session, actor=actor, job_id=job_id, action=Action.SEE)
    return bool(tensorboard.list_files(job_id))


def find_tensorboard(session: Session, *, actor: User, job_id: str) -> Path:
    """Return the folder with a job's files for TensorBoard.

    Raises:
        NotFound: it isn't the actor's, or it has left none.
    """
    if not has_tensorboard(session, actor=actor, job_id=job_id):
        raise NotFound(
            "This job has no files for TensorBoard: it has not begun, or is from an older version."
        )
    return tensorboard.folder_path(job_id)


def _find_merged(session: Session, actor: User, adapter: Adapter | None) -> Path:
    if adapter is None:
        raise Conflict("This job has left no adapter, so there is nothing merged.")
    try:
        return merging.get_folder(session, actor=actor, adapter_id=adapter.id)[1]
    except NotFound:
        raise Conflict(
            "The adapter has not been merged yet. Merge it on its page first, or leave out the merged model."
        ) from None


def _entries(job: Job, card: bytes | None, merged_path: Path | None) -> Iterator[Entry]:
    run, attempt = layout.run_path(job.id), layout.attempt_path(job.id, job.attempt)
    if card is not None:
        yield Entry(CARD, card)
    written = run / "adapter"
    if written.is_dir():
        yield from adapter_entries(written, card, "adapter/") if card else folder_entries(written, "adapter/")
    if card is None and (written / CARD).is_file():
        yield Entry(CARD, written / CARD)
    for folder in ("model", layout.HELD_OUT):
        if (run / folder).is_dir():
            yield from folder_entries(run / folder, f"{folder}/")
    if merged_path is not None:
        yield from folder_entries(merged_path, "merged/")
    yield Entry("metrics.csv", write_metrics_csv(job.id))
    yield from (Entry(f"tensorboard/{path.name}", path) for path in tensorboard.list_files(job.id))
    for number in range(1, job.attempt):
        yield Entry(f"logs/attempt-{number}.log", write_log(layout.attempt_path(job.id, number)))
    yield Entry("worker.log", write_log(attempt))
    for path in (run / "config.yaml", attempt / "spec.json", attempt / "result.json"):
        if path.is_file():
            yield Entry(path.name, path)
