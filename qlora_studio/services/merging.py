"""Merging an adapter into its base model, by a process of its own that the server watches.

What is merged lies in `merged/<adapter id>/` until it is removed or its adapter is deleted. One merge runs at
a time: it holds the whole model in memory, twice for a moment.
"""

import fcntl
import logging
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from pydantic import BaseModel, ValidationError
from sqlmodel import Session

from qlora_studio.contracts.merging import REPORT, MergeLine, MergeReport, MergeRequest
from qlora_studio.core.errors import Conflict, InvalidInput, NotFound, StorageFull
from qlora_studio.core.ids import new_id
from qlora_studio.db import engine as db
from qlora_studio.db.models import Adapter, BaseAudioModel, User
from qlora_studio.ingest import quota, staging
from qlora_studio.launchers.local import worker_environment
from qlora_studio.services import adapters, audit, model_intake, models
from qlora_studio.storage import layout
from qlora_studio.storage.exports import Entry, folder_entries, stream_zip

COMMAND = (sys.executable, "-m", "qlora_studio.engine.merging")
_log = logging.getLogger(__name__)


class MergeStatus(BaseModel):
    """Where a merge is: `progress` while it runs, `message` where it failed, `report` when it is done."""

    state: Literal["none", "running", "ready", "failed"] = "none"
    progress: str = ""
    message: str = ""
    report: MergeReport | None = None


@dataclass
class _Merge:
    """One process at work, or how it ended."""

    request: MergeRequest
    progress: str = "Starting"
    message: str = ""
    is_over: bool = False
    is_cancelled: bool = False
    process: "subprocess.Popen[str] | None" = None
    thread: threading.Thread | None = field(default=None, repr=False)
    turn: "IO[bytes] | None" = field(default=None, repr=False)

    def end(self) -> None:
        """Let the next merge begin."""
        self.is_over = True
        if self.turn is not None:
            self.turn.close()


_merges: dict[str, _Merge] = {}
_lock = threading.Lock()


def get_status(session: Session, *, actor: User, adapter_id: str) -> MergeStatus:
    """Return where the merge of an adapter is.

    Raises:
        NotFound: the adapter isn't the actor's.
    """
    adapters.get_view(session, actor=actor, adapter_id=adapter_id)
    merge = _merges.get(adapter_id)
    if merge is not None and not merge.is_over:
        return MergeStatus(state="running", progress=merge.progress)
    report = _read_report(adapter_id)
    if merge is not None and merge.message:
        return MergeStatus(state="failed", message=merge.message, report=report)
    return MergeStatus(state="ready" if report else "none", report=report)


def start(*, actor: User, adapter_id: str, bits: int = 16) -> MergeStatus:
    """Begin to merge an adapter. Opens sessions of its own: the process starts when what is noted is on disk.

    Args:
        bits: of the merged weights, 16 or 32.

    Raises:
        NotFound: the adapter isn't the actor's.
        InvalidInput: there is no such width.
        Conflict: another merge runs, or the base model or the adapter's files are not what they were.
        TooLarge: the account's quota has no room for the merged model.
        StorageFull: the disk has none.
    """
    adapters.require_trainer(actor)
    if bits not in (16, 32):
        message = "Merged weights have 16 or 32 bits."
        raise InvalidInput(message, fields={"bits": message})
    with db.read() as session:
        adapter, request = _prepare(session, actor, adapter_id, bits)
    merge = _Merge(request)
    with _lock:
        merge.turn = _take_turn()
        _merges[adapter_id] = merge
    try:
        with db.write() as session:
            audit.record(
                session,
                actor=actor,
                action="adapter.merge",
                object_type="adapter",
                object_id=adapter.id,
                object_name=adapter.name,
                details={"bits": bits},
            )
        merge.thread = threading.Thread(target=_run, args=(adapter_id, merge), name="merge", daemon=True)
        merge.thread.start()
    except BaseException:
        merge.end()
        raise
    return MergeStatus(state="running", progress=merge.progress)


def _take_turn() -> IO[bytes]:
    """Hold the right to merge, which the command line and the server share."""
    path = layout.data_path() / "merging.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise Conflict("A merge is running already. Wait for it, or cancel it.") from error
    return file


def _prepare(session: Session, actor: User, adapter_id: str, bits: int) -> tuple[Adapter, MergeRequest]:
    adapter = adapters.get_view(session, actor=actor, adapter_id=adapter_id).adapter
    model = session.get(BaseAudioModel, adapter.base_model_id)
    if model is None:
        raise Conflict("The adapter's base model is gone.")
    models.check_unchanged(model)
    adapters.folder_of(adapter)
    _require_room(session, actor, model.n_parameters * bits // 8)
    return adapter, _request(adapter, model, bits)


def wait(adapter_id: str, timeout_s: float | None = None) -> bool:
    """Wait until the merge of an adapter has ended; returns whether it has."""
    merge = _merges.get(adapter_id)
    if merge is None or merge.thread is None:
        return True
    merge.thread.join(timeout_s)
    return not merge.thread.is_alive()


def remove(session: Session, *, actor: User, adapter_id: str) -> None:
    """Cancel the merge that runs, or else remove what was merged.

    Raises:
        NotFound: the adapter isn't the actor's.
    """
    adapters.require_trainer(actor)
    adapters.get_view(session, actor=actor, adapter_id=adapter_id)
    merge = _merges.get(adapter_id)
    if merge is not None and not merge.is_over:
        merge.is_cancelled = True
        if merge.process is not None:
            merge.process.kill()
        return
    _merges.pop(adapter_id, None)
    shutil.rmtree(layout.merged_path(adapter_id), ignore_errors=True)


def get_folder(session: Session, *, actor: User, adapter_id: str) -> tuple[Adapter, Path]:
    """Return an adapter and the folder of its merged model.

    Raises:
        NotFound: the adapter isn't the actor's, or was not merged.
    """
    adapter = adapters.get_view(session, actor=actor, adapter_id=adapter_id).adapter
    if _read_report(adapter_id) is None:
        raise NotFound("This adapter has not been merged yet.")
    return adapter, layout.merged_path(adapter_id)


def stream_merged(session: Session, *, actor: User, adapter_id: str) -> tuple[str, Any]:
    """Return a file name and the bytes of a zip that plain transformers loads once it is unpacked.

    Raises:
        NotFound: the adapter isn't the actor's, or was not merged.
    """
    adapter, folder = get_folder(session, actor=actor, adapter_id=adapter_id)
    entries = (Entry(entry.name, entry.content) for entry in folder_entries(folder))
    return f"{adapters.file_name(adapter.name)}-merged.zip", stream_zip(entries)


def register(*, actor: User, adapter_id: str, name: str = "") -> BaseAudioModel:
    """Add the merged model as a base model; see `copied` for what it takes, and what it may raise.

    Asked again (a double click waits for the first), it gives the model that was made of this merge.
    """
    with db.read() as session:
        _, folder = get_folder(session, actor=actor, adapter_id=adapter_id)
        made = models.find_merged(session, actor=actor, adapter_id=adapter_id)
    if made is not None and made.created_at.timestamp() > (folder / REPORT).stat().st_mtime:
        return made
    with copied(actor=actor, adapter_id=adapter_id, name=name) as model, db.write() as session:
        return store_copy(session, actor, model)


def store_copy(session: Session, actor: User, model: BaseAudioModel) -> BaseAudioModel:
    """Store the row of a copy, if the account still has room for it: others may have come meanwhile.

    Raises:
        TooLarge: the account's quota has no room for it any more.
    """
    quota.require_room(session, actor.id, model.size_bytes)
    return models.store(session, actor, model)


@contextmanager
def copied(*, actor: User, adapter_id: str, name: str = "") -> Iterator[BaseAudioModel]:
    """A copy of a merged model that has passed the checks of every model, and its row, to be stored.

    Copying and hashing gigabytes takes long, so no session is open meanwhile. The copy goes if its row isn't
    stored in the block.

    Raises:
        NotFound: the adapter isn't the actor's, or was not merged.
        ModelRefused: it can't be trained again.
        TooLarge: the account's quota has no room for a copy.
        StorageFull: the disk has none.
    """
    adapters.require_trainer(actor)
    with db.read() as session:
        adapter, folder = get_folder(session, actor=actor, adapter_id=adapter_id)
        base = session.get_one(BaseAudioModel, adapter.base_model_id)
        _require_room(session, actor, sum(path.stat().st_size for path in folder.iterdir()))
    model = _row(actor, adapter, base, name)
    intake = model_intake.take_in(folder, model.id, placement="copy", task=base.task)
    model_intake.fill_in(model, intake)
    try:
        yield model
    finally:
        with db.read() as session:
            is_stored = session.get(BaseAudioModel, model.id) is not None
        if not is_stored:
            model_intake.remove_files(model.id)


def _row(actor: User, adapter: Adapter, base: BaseAudioModel, name: str) -> BaseAudioModel:
    return BaseAudioModel(
        id=new_id("mod"),
        owner_id=actor.id,
        name=" ".join(name.split())[:120] or f"{adapter.name}, merged"[:120],
        description=f"{base.name} with the adapter {adapter.name} merged into it."[:2000],
        task=base.task,
        source={"kind": "merged", "adapter_id": adapter.id},
    )


def _request(adapter: Adapter, model: BaseAudioModel, bits: int) -> MergeRequest:
    clips = layout.run_path(adapter.job_id) / "clips.jsonl" if adapter.job_id else None
    return MergeRequest(
        task=model.task,
        model_path=Path(model.path),
        adapter_path=Path(adapter.path),
        target_path=layout.merged_path(adapter.id),
        bits=bits,
        clips_path=clips,
        name=f"{adapter.name} on {model.name}",
    )


def _require_room(session: Session, actor: User, n_bytes: int) -> None:
    quota.require_room(session, actor.id, n_bytes)
    free = staging.free_bytes()
    if n_bytes > free:
        raise StorageFull(
            f"The model needs {n_bytes // 2**20} MB and {free // 2**20} MB are free. "
            "Make space and try again."
        )


def _run(adapter_id: str, merge: _Merge) -> None:
    try:
        try:
            adapters.sweep_leftovers()
            merge.message = _watch(merge)
        finally:
            _clear_up(adapter_id, merge.request.target_path)
    except Exception:
        _log.exception("merging %s failed", adapter_id)
        merge.message = "Merging failed unexpectedly. The server's log has the details."
    finally:
        merge.end()  # whatever happens: until then no other merge may begin


def _clear_up(adapter_id: str, target: Path) -> None:
    shutil.rmtree(target.with_name(f".{target.name}.partial"), ignore_errors=True)
    with db.read() as session:
        if session.get(Adapter, adapter_id) is None:  # deleted in the meantime
            shutil.rmtree(target, ignore_errors=True)


def _watch(merge: _Merge) -> str:
    """Run the process to its end; returns why there is no merged model, or nothing."""
    target = merge.request.target_path
    target.parent.mkdir(parents=True, exist_ok=True)
    asked, log = target.with_name(f"{target.name}.json"), target.with_name(f"{target.name}.log")
    try:
        asked.write_text(merge.request.model_dump_json())
        return _follow(merge, asked, log)
    finally:
        asked.unlink(missing_ok=True)
        log.unlink(missing_ok=True)


def _follow(merge: _Merge, asked: Path, log: Path) -> str:
    with log.open("wb") as errors:
        merge.process = subprocess.Popen(
            [*COMMAND, str(asked)],
            env=worker_environment(),
            stdin=subprocess.PIPE,  # closed when this server ends, and so does the process
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    last = MergeLine(refused="The process that merges ended unexpectedly; memory may have run out.")
    with merge.process as process:
        if merge.is_cancelled:
            process.kill()
        for line in process.stdout or ():
            last = _parse(line) or last
            merge.progress = last.progress or merge.progress
        process.wait()
    if merge.is_cancelled:
        return ""
    if last.report is None:
        _log.warning("merging %s failed: %s", log.stem, log.read_text(errors="replace")[-2000:])
        return last.refused or "The process that merges ended unexpectedly; memory may have run out."
    return ""


def _parse(line: str) -> MergeLine | None:
    try:
        return MergeLine.model_validate_json(line)
    except ValidationError:
        return None  # a library's own print


def _read_report(adapter_id: str) -> MergeReport | None:
    try:
        return MergeReport.model_validate_json((layout.merged_path(adapter_id) / REPORT).read_bytes())
    except (OSError, ValidationError):
        return None
