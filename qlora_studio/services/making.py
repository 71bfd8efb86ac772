"""Takes being made, one after the other, by threads beside the inference process.

A generation is a row. Whoever makes it (a thread of the server, or the command line) holds its file lock, so
that it is made once however often it is begun; after a restart it goes on with the takes that are missing.
Calling one off deletes its row, which the maker sees within half a second; then it removes what it wrote.
"""

import logging
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import soundfile
from sqlalchemy import CursorResult
from sqlmodel import Session, col, select, update

from qlora_studio.contracts.enums import GenerationStatus
from qlora_studio.contracts.inference import MAX_SEED
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import StorageFull, StudioError, TooManyTries, Unavailable
from qlora_studio.core.ids import new_id
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db
from qlora_studio.db.engine import DatabaseBusy
from qlora_studio.db.models import Generation, Take, User
from qlora_studio.ingest import staging
from qlora_studio.services import inference, tallies
from qlora_studio.services.engine_host import Ticket
from qlora_studio.services.line import Line
from qlora_studio.storage import atomic, holding, layout, orphans

ACTIVE = (GenerationStatus.QUEUED, GenerationStatus.RUNNING)
_LOOK_EVERY_S = 0.5
_HEED_WITHIN_S = 30.0
_LOCK = ".lock"
_WAITS_S = (1, 5, 20, 60)
_log = logging.getLogger(__name__)
T = TypeVar("T")


class _CalledOff(Exception):
    """Its row is gone: nobody wants the takes any more."""


def launch(generation_id: str, owner_id: str) -> None:
    """Make a generation in a thread of this process, when it is its turn."""
    _line.add(generation_id, owner_id)


def recover() -> None:
    """Go on with what an earlier server was making, and remove what killed ones have left."""
    with db.read() as session:

        def is_known(generation_id: str) -> bool:
            return session.get(Generation, generation_id) is not None

        orphans.sweep(layout.data_path() / "generations", is_known)
    take_up()


def take_up(*, after_s: float = 0.0) -> None:
    """Make what was asked for at least so many seconds ago and is not made: its maker may have been killed.

    Where somebody is about it that does nothing.
    """
    _line.take_up(Generation, active=ACTIVE, after_s=after_s)


def prepare_take(
    session: Session, *, actor: User, generation: Generation, position: int, path: Path
) -> Ticket:
    """Return the request for one take, written to `path`.

    Raises:
        NotFound: the model or the adapter isn't there, or isn't the actor's.
        InvalidInput: they don't go together, or can't do this.
        Conflict: the model isn't ready, or its files or the adapter's have changed or gone.
    """
    return inference.prepare_sound(
        session,
        actor=actor,
        model_id=generation.model_id,
        prompt=generation.prompt,
        seconds=generation.duration_s,
        seed=_seed_of(generation, position),
        adapter_id=generation.adapter_id,
        strength=generation.strength,
        guidance=generation.guidance,
        temperature=generation.temperature,
        path=path,
    )


def run(generation_id: str) -> None:
    """Make all takes of a generation, here; does nothing if somebody else is about it, or it has ended."""
    folder = layout.generation_path(generation_id)
    with holding.held(folder / _LOCK) as is_ours:
        if not is_ours:
            return
        try:
            if not _patiently(lambda: _change(generation_id, status=GenerationStatus.RUNNING)):
                raise _CalledOff
            _make_missing(generation_id, folder)
        except _CalledOff:
            _remove_unless_known(generation_id)
        except StudioError as error:
            _end(generation_id, GenerationStatus.FAILED, error.message)
        except Exception as error:
            _log.exception("generation %s failed", generation_id)
            sentence = f"The takes could not be made ({type(error).__name__}). Try again."
            _end(generation_id, GenerationStatus.FAILED, sentence)
        else:
            _end(generation_id, GenerationStatus.SUCCEEDED)


_line = Line(run, name="takes")


def _make_missing(generation_id: str, folder: Path) -> None:
    with db.read() as session:
        generation = session.get(Generation, generation_id)
        if generation is None:
            raise _CalledOff
        there = session.exec(select(Take.position, Take.id).where(Take.generation_id == generation_id)).all()
    known = {layout.take_path(generation_id, take_id) for _, take_id in there} | {folder / _LOCK}
    for path in folder.iterdir():
        if path not in known:  # of a process that was killed
            path.unlink(missing_ok=True)
    made = {position for position, _ in there}
    for position in range(generation.n_takes):
        if position not in made:
            _make_take(generation, position)


def _make_take(generation: Generation, position: int) -> None:
    if staging.free_bytes() < get_settings().max_trial_bytes:
        raise StorageFull("The disk is full. Free some space and try again.")
    path = layout.take_path(generation.id, new_id("take"))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}")
    try:
        with db.read() as session:
            owner = session.get_one(User, generation.owner_id)
            ticket = prepare_take(
                session, actor=owner, generation=generation, position=position, path=partial
            )
        _wait_for(ticket, generation.id)
        _keep(generation, position, partial, path)
    except BaseException:
        for file in (partial, path):
            file.unlink(missing_ok=True)
        raise


def _wait_for(ticket: Ticket, generation_id: str) -> None:
    """Have the inference process make a take, and tell how far it is.

    Raises:
        StudioError: it could not.
    """
    told = ("", 0)
    while True:
        try:
            inference.host.submit(ticket)
            break
        except TooManyTries:  # people who try models are before it
            time.sleep(_LOOK_EVERY_S)
            _tell(generation_id, "Waiting", 0, is_new=told != ("Waiting", 0))
            told = ("Waiting", 0)
    try:
        while not ticket.ended.wait(_LOOK_EVERY_S):
            now = (ticket.label, ticket.percent)
            _tell(generation_id, *now, is_new=now != told)
            told = now
    except BaseException:
        ticket.cancel()
        ticket.ended.wait(_HEED_WITHIN_S)
        raise
    ticket.result(0)


def _tell(generation_id: str, label: str, percent: int, *, is_new: bool = True) -> None:
    """Write down how far a take is.

    Raises:
        _CalledOff: nobody wants it any more.
    """
    try:
        if is_new:
            is_wanted = _change(generation_id, label=label[:120], percent=percent)
        else:
            with db.read() as session:
                is_wanted = session.get(Generation, generation_id) is not None
    except StudioError:
        return  # the database is busy; it is told later
    if not is_wanted:
        raise _CalledOff


def _keep(generation: Generation, position: int, partial: Path, path: Path) -> None:
    """Put a finished take in its place, on disk, then into the database."""
    try:
        facts = soundfile.info(partial)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.rename(path)
        atomic.sync_folder(path.parent)
    except (OSError, soundfile.LibsndfileError) as error:
        if not _is_known(generation.id):
            raise _CalledOff from error
        raise Unavailable("The take could not be written. Try again.") from error
    take = Take(
        id=path.stem,
        generation_id=generation.id,
        owner_id=generation.owner_id,
        model_id=generation.model_id,
        position=position,
        seed=_seed_of(generation, position),
        duration_s=facts.frames / facts.samplerate,
        sample_rate=facts.samplerate,
        size_bytes=path.stat().st_size,
    )

    def write() -> None:
        with db.write() as session:
            if not _change_in(session, generation.id, n_done=col(Generation.n_done) + 1, percent=0):
                raise _CalledOff
            session.add(take)
            tallies.count_take(session, generation)

    _patiently(write)


def _patiently(write: Callable[[], T]) -> T:
    """Write to the database, for which a take that took minutes to make can wait while it is busy or full."""
    for seconds in _WAITS_S:
        try:
            return write()
        except (DatabaseBusy, StorageFull) as error:
            _log.warning("takes: what was made can't be written yet: %s", error.message)
        time.sleep(seconds)
    return write()


def _seed_of(generation: Generation, position: int) -> int:
    return (generation.seed + position) % (MAX_SEED + 1)


def _is_known(generation_id: str) -> bool:
    with db.read() as session:
        return session.get(Generation, generation_id) is not None


def _remove_unless_known(generation_id: str) -> None:
    if not _is_known(generation_id):
        shutil.rmtree(layout.generation_path(generation_id), ignore_errors=True)


def _change(generation_id: str, **values: Any) -> bool:
    """Change the row of a generation that is under way; False when it is not any more."""
    with db.write() as session:
        return _change_in(session, generation_id, **values)


def _change_in(session: Session, generation_id: str, **values: Any) -> bool:
    under_way = (col(Generation.id) == generation_id, col(Generation.status).in_(ACTIVE))
    if "status" in values:
        generation = session.exec(select(Generation).where(*under_way).with_for_update()).first()
        if generation is not None:
            tallies.count_status(session, generation, after=values["status"])
    result = session.execute(update(Generation).where(*under_way).values(**values))
    return isinstance(result, CursorResult) and result.rowcount == 1


def _end(generation_id: str, status: GenerationStatus, error: str = "") -> None:
    """Write down how it ended."""
    values = {"status": status, "error": error[:1000], "finished_at": utc_now(), "label": "", "percent": 0}
    with suppress(StudioError):  # it is taken up again, and ends then
        _patiently(lambda: _change(generation_id, **values))
    _remove_unless_known(generation_id)
