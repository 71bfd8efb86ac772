"""Clips that somebody tries a model on, and sounds made: kept for an hour, then gone.

trials/<user id>/snd_….wav      a sound that a model made of a text
trials/<user id>/trc_….f32      little-endian 32-bit floats, one channel, at `RATE`
trials/<user id>/trc_….upload   bytes as they came, while they are being decoded
"""

import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf

from qlora_studio.audio.peaks import PeakMeter
from qlora_studio.core.errors import InvalidInput, NotFound, StorageFull, TooManyTries
from qlora_studio.core.ids import is_id, new_id
from qlora_studio.core.settings import get_settings
from qlora_studio.db.models import User
from qlora_studio.ingest import staging
from qlora_studio.services.rendering import Renderer
from qlora_studio.storage import layout

COMMAND = (sys.executable, "-m", "qlora_studio.audio.sampler")
RATE = 16_000  # what the models here listen at
KEPT_S = 3600.0
KEPT_EACH = 4
KEPT_SOUNDS = 16
SWEEP_EVERY_S = 300.0
MOST_DECODED = 8  # at once, or waiting for it
MOST_DECODED_EACH = 2  # of one account
_BUSY = "Too many clips are being read. Try again in a moment."
_N_BARS = 100
_SOUND = re.compile(r"snd_[0-9a-z]{12}(-[1-9])?")


def _longest_answer() -> int:
    """Bytes of the longest clip's floats, in base64, and some."""
    return round(get_settings().max_trial_s * RATE * 4 * 4 / 3) + (1 << 20)


_sampler = Renderer(COMMAND, limit_s=60.0, max_answer_bytes=_longest_answer)
_decoding: Counter[str] = Counter()
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class TrialClip:
    """A decoded clip: its samples' file, its length in seconds, and its waveform (`audio.peaks`)."""

    id: str
    path: Path
    duration_s: float
    peaks: bytes = b""


def make_upload(*, actor: User) -> Path:
    """Return the path of a new, empty file to receive bytes in; `take_in` removes it.

    Raises:
        StorageFull: the disk has no room for the largest upload.
    """
    sweep()
    if staging.free_bytes() < get_settings().max_trial_bytes:
        raise StorageFull("The disk is full. Free some space and try again.")
    folder = layout.trials_path(actor.id)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{new_id('trc')}.upload"
    path.touch(mode=0o600)
    return path


@contextmanager
def turn(*, actor: User) -> Iterator[None]:
    """Room to decode a clip in: few at once, so that nobody keeps the others waiting.

    Raises:
        TooManyTries: too many are being decoded, of this account or of all.
    """
    with _lock:
        if _decoding.total() >= MOST_DECODED or _decoding[actor.id] >= MOST_DECODED_EACH:
            raise TooManyTries(_BUSY, retry_after_s=2)
        _decoding[actor.id] += 1
    try:
        yield
    finally:
        with _lock:
            _decoding[actor.id] -= 1
            if not _decoding[actor.id]:
                del _decoding[actor.id]


def take_in(upload: Path, *, actor: User, is_in_use: Callable[[Path], bool] = lambda _: False) -> TrialClip:
    """Decode received bytes in the child that may crash. The bytes are removed, whatever comes out.

    Of an account's clips the newest few are kept, and those that somebody still waits for.

    Raises:
        InvalidInput: they are no usable recording; the sentence says why.
        TooManyTries: too many others are being decoded.
    """
    try:
        clip = decode(upload, actor=actor)
    finally:
        upload.unlink(missing_ok=True)
    for path in _oldest_first(clip.path.parent, "*.f32")[:-KEPT_EACH]:
        if not is_in_use(path):
            path.unlink(missing_ok=True)
    return clip


def decode(path: Path, *, actor: User) -> TrialClip:
    """Decode a file, which stays where it is.

    Raises:
        InvalidInput: it is no usable recording; the sentence says why.
        TooManyTries: too many others are being decoded.
    """
    try:
        content = _sampler.render(
            {"path": str(path), "sample_rate": RATE, "max_clip_s": get_settings().max_trial_s}
        )
    except InvalidInput as refusal:
        raise InvalidInput(refusal.message, fields={"file": refusal.message}) from refusal
    samples = np.frombuffer(content, dtype="<f4")
    clip_id = new_id("trc")
    target = layout.trials_path(actor.id) / f"{clip_id}.f32"
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    meter = PeakMeter(len(samples), _N_BARS)
    meter.add(samples)
    return TrialClip(clip_id, target, len(samples) / RATE, meter.to_bytes())


def get_clip(clip_id: str, *, actor: User) -> TrialClip:
    """Return one of the actor's clips.

    Raises:
        NotFound: it isn't there any more, or isn't the actor's.
    """
    path = layout.trials_path(actor.id) / f"{clip_id}.f32"
    if not is_id(clip_id, "trc") or not _is_kept(path):
        raise NotFound("That clip isn't here any more. Choose it again.")
    return TrialClip(clip_id, path, path.stat().st_size / 4 / RATE)


def new_sound_path(*, actor: User) -> Path:
    """Return where a sound for the actor is to be written.

    Raises:
        StorageFull: the disk has no room for it.
    """
    sweep()
    if staging.free_bytes() < get_settings().max_trial_bytes:
        raise StorageFull("The disk is full. Free some space and try again.")
    folder = layout.trials_path(actor.id)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in _oldest_first(folder, "*.wav")[:-KEPT_SOUNDS]:
        path.unlink(missing_ok=True)
    return folder / f"{new_id('snd')}.wav"


def get_sound(sound_id: str, *, actor: User) -> Path:
    """Return the WAV file of a sound that was made for the actor.

    Raises:
        NotFound: it isn't there any more, or isn't the actor's.
    """
    path = layout.trials_path(actor.id) / f"{sound_id}.wav"
    if not is_id(sound_id.partition("-")[0], "snd") or not _SOUND.fullmatch(sound_id) or not _is_kept(path):
        raise NotFound("That sound isn't here any more. Make it again.")
    return path


def measure_sound(path: Path) -> tuple[float, bytes]:
    """Return the seconds and the waveform of a sound that was made here."""
    samples, rate = sf.read(path, dtype="float32")
    meter = PeakMeter(len(samples), _N_BARS)
    meter.add(samples)
    return len(samples) / rate, meter.to_bytes()


def discard(clip_id: str, *, actor: User) -> None:
    """Remove one of the actor's clips.

    Raises:
        NotFound: it isn't there any more, or isn't the actor's.
    """
    get_clip(clip_id, actor=actor).path.unlink(missing_ok=True)


def sweep() -> None:
    """Remove what is older than an hour. Somebody has to do it now and then, whether clips come or not."""
    for path in (layout.data_path() / "trials").glob("*/*"):
        if not _is_kept(path):
            path.unlink(missing_ok=True)


def _is_kept(path: Path) -> bool:
    """Whether a file is there, and has not been for an hour."""
    return _written_at(path) > time.time() - KEPT_S


def _oldest_first(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern), key=_written_at)


def _written_at(path: Path) -> float:
    """Seconds since 1970; 0 if another request has removed it meanwhile."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
