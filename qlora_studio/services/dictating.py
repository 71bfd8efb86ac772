"""Clips being written down, one after the other, by threads beside the inference process.

A dictation is a row with a transcript for each clip. Whoever works at it holds its file lock; after a restart
it goes on with the clips that nobody has listened to yet. Stopping it changes its row, which is seen within
half a second.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import CursorResult
from sqlmodel import col, select, update

from qlora_studio.contracts.enums import DictationStatus
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import InvalidInput, StudioError, TooManyTries, Unavailable
from qlora_studio.db import engine as db
from qlora_studio.db.engine import DatabaseBusy
from qlora_studio.db.models import Clip, Dictation, Transcript, User
from qlora_studio.services import inference, trial_clips
from qlora_studio.services.engine_host import Ticket
from qlora_studio.services.line import Line
from qlora_studio.services.trial_clips import TrialClip
from qlora_studio.storage import holding, layout

ACTIVE = (DictationStatus.QUEUED, DictationStatus.RUNNING)
_LOOK_EVERY_S = 0.5
_HEED_WITHIN_S = 30.0
_MOST_IN_A_ROW = 3  # clips that the process does not survive
_WAITS_S = (1, 5, 20)
_log = logging.getLogger(__name__)
T = TypeVar("T")


class _Stopped(Exception):
    """Nobody wants the rest any more."""


def launch(dictation_id: str, owner_id: str) -> None:
    """Work at a dictation in a thread of this process, when it is its turn."""
    _line.add(dictation_id, owner_id)


def take_up(*, after_s: float = 0.0) -> None:
    """Go on with what was asked for at least so many seconds ago and is not done.

    Where somebody is about it that does nothing.
    """
    _line.take_up(Dictation, active=ACTIVE, after_s=after_s)


def prepare(dictation: Dictation, clip: TrialClip, owner: User) -> Ticket:
    """Return the request that has the dictation's model hear a clip.

    Raises:
        NotFound: the model or the adapter isn't there, or isn't the owner's.
        InvalidInput: they don't go together, or write nothing down.
        Conflict: the model isn't ready, or its files or the adapter's have changed or gone.
    """
    with db.read() as session:
        return inference.prepare(
            session,
            actor=owner,
            model_id=dictation.model_id,
            clip=clip,
            adapter_id=dictation.adapter_id,
            strength=dictation.strength,
            task=inference.Task.SPEECH_TO_TEXT,
        )


def run(dictation_id: str) -> None:
    """Write down all clips of a dictation, here; nothing if somebody else is about it, or it has ended."""
    with holding.held(layout.dictation_lock_path(dictation_id)) as is_ours:
        if not is_ours:
            return
        try:
            if not _patiently(lambda: _change(dictation_id, status=DictationStatus.RUNNING)):
                return
            _write_down(dictation_id)
        except _Stopped:
            return
        except StudioError as error:
            _end(dictation_id, DictationStatus.FAILED, error.message)
        except Exception as error:
            _log.exception("dictation %s failed", dictation_id)
            sentence = f"The clips could not be written down ({type(error).__name__}). Start again."
            _end(dictation_id, DictationStatus.FAILED, sentence)
        else:
            _end(dictation_id, DictationStatus.SUCCEEDED)


_line = Line(run, name="dictation")


def _write_down(dictation_id: str) -> None:
    with db.read() as session:
        dictation = session.get_one(Dictation, dictation_id)
        owner = session.get_one(User, dictation.owner_id)
    n_lost = 0
    while (clip := _next_clip(dictation_id)) is not None:
        heard, error = None, ""
        try:
            heard, n_lost = _hear(dictation, clip, owner), 0
        except InvalidInput as refusal:
            error = refusal.message
        except Unavailable as refusal:
            n_lost += 1
            if n_lost == _MOST_IN_A_ROW:
                raise
            error = refusal.message
        _keep(dictation_id, clip.id, heard, error)


def _next_clip(dictation_id: str) -> Clip | None:
    rows = select(Clip).join(Transcript, col(Transcript.clip_id) == col(Clip.id))
    rows = rows.where(
        Transcript.dictation_id == dictation_id, col(Transcript.heard).is_(None), col(Transcript.error) == ""
    )
    with db.read() as session:
        return session.exec(rows.order_by(col(Transcript.position)).limit(1)).first()


def _hear(dictation: Dictation, clip: Clip, owner: User) -> str:
    """Return what the model hears in a clip.

    Raises:
        InvalidInput: the recording can't be used.
        Unavailable: the inference process did not survive it.
        StudioError: the model, or the adapter, can't be used.
    """
    path = layout.blob_path(clip.sha256)
    if not path.is_file():
        raise InvalidInput("The recording is no longer on the disk.")
    sound = _waiting_for(dictation.id, lambda: trial_clips.decode(path, actor=owner))
    try:
        ticket = prepare(dictation, sound, owner)
        _waiting_for(dictation.id, lambda: inference.host.submit(ticket))
        _follow(ticket, dictation.id)
    finally:
        sound.path.unlink(missing_ok=True)
    return (ticket.result(0).heard[0].text or "").strip()


def _waiting_for(dictation_id: str, begin: Callable[[], T]) -> T:
    """Begin something when it is its turn: people who try models are before it."""
    while True:
        try:
            return begin()
        except TooManyTries:
            time.sleep(_LOOK_EVERY_S)
            _check_wanted(dictation_id)


def _follow(ticket: Ticket, dictation_id: str) -> None:
    try:
        while not ticket.ended.wait(_LOOK_EVERY_S):
            _check_wanted(dictation_id)
    except BaseException:
        ticket.cancel()
        ticket.ended.wait(_HEED_WITHIN_S)
        raise


def _check_wanted(dictation_id: str) -> None:
    """Raise _Stopped if the dictation was stopped or deleted."""
    try:
        with db.read() as session:
            status = session.exec(select(Dictation.status).where(Dictation.id == dictation_id)).first()
    except DatabaseBusy:
        return
    if status not in ACTIVE:
        raise _Stopped


def _keep(dictation_id: str, clip_id: str, heard: str | None, error: str) -> None:
    def write() -> None:
        with db.write() as session:
            done = {"n_done": col(Dictation.n_done) + 1}
            if not _changed(session.execute(_of(dictation_id).values(**done))):
                raise _Stopped
            row = session.get(Transcript, (dictation_id, clip_id))
            if row is not None:  # else the clip has gone meanwhile
                row.heard, row.error = heard, error[:500]
                session.add(row)

    _patiently(write)


def _change(dictation_id: str, **values: Any) -> bool:
    """Change the row of a dictation that is under way; False when it is not any more."""
    with db.write() as session:
        return _changed(session.execute(_of(dictation_id).values(**values)))


def _of(dictation_id: str) -> Any:
    return update(Dictation).where(col(Dictation.id) == dictation_id, col(Dictation.status).in_(ACTIVE))


def _changed(result: Any) -> bool:
    return isinstance(result, CursorResult) and result.rowcount == 1


def _end(dictation_id: str, status: DictationStatus, error: str = "") -> None:
    _patiently(lambda: _change(dictation_id, status=status, error=error[:1000], finished_at=utc_now()))


def _patiently(write: Callable[[], T]) -> T:
    """Write to the database, waiting a while when it is busy."""
    for seconds in _WAITS_S:
        try:
            return write()
        except DatabaseBusy:
            time.sleep(seconds)
    return write()
