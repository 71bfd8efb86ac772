"""Clips that somebody tries a model on, and sounds made: kept for an hour, then gone.

trials/<user id>/snd_….wav      a sound that a model made of a text
trials/<user id>/trc_….f32      little-endian 32-bit floats, one channel, at `RATE`
trials/<user id>/trc_….upload   bytes as they came, while they are being decoded
"""

import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf

from qlora_studio.audio.peaks import PeakMeter
from qlora_studio.core.errors import InvalidInput, NotFound, StorageFull
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
_LONGEST_ANSWER_BYTES = 96 << 20  # ten minutes of floats, in base64, and some
_N_BARS = 100
_SOUND = re.compile(r"snd_[0-9a-z]{12}(-[1-9])?")
_sampler = Renderer(COMMAND, limit_s=60.0, max_answer_bytes=_LONGEST_ANSWER_BYTES)


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


def take_in(upload: Path, *, actor: User) -> TrialClip:
    """Decode received bytes in the child that may crash. The bytes are removed, whatever comes out.

    Raises:
        InvalidInput: they are no usable recording; the sentence says why.
        TooManyTries: too many others are being decoded.
    """
    try:
        return decode(upload, actor=actor)
    finally:
        upload.unlink(missing_ok=True)


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
    _keep_few(target.parent)
    meter = PeakMeter(len(samples), _N_BARS)
    meter.add(samples)
    return TrialClip(clip_id, target, len(samples) / RATE, meter.to_bytes())


def get_clip(clip_id: str, *, actor: User) -> TrialClip:
    """Return one of the actor's clips.

    Raises:
        NotFound: it isn't there any more, or isn't the actor's.
    """
    path = layout.trials_path(actor.id) / f"{clip_id}.f32"
    if not is_id(clip_id, "trc") or not path.is_file():
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
    for path in sorted(folder.glob("*.wav"), key=lambda path: path.stat().st_mtime)[:-KEPT_SOUNDS]:
        path.unlink(missing_ok=True)
    return folder / f"{new_id('snd')}.wav"


def get_sound(sound_id: str, *, actor: User) -> Path:
    """Return the WAV file of a sound that was made for the actor.

    Raises:
        NotFound: it isn't there any more, or isn't the actor's.
    """
    path = layout.trials_path(actor.id) / f"{sound_id}.wav"
    if not is_id(sound_id.partition("-")[0], "snd") or not _SOUND.fullmatch(sound_id) or not path.is_file():
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
    """Remove what nobody has asked about for an hour."""
    oldest = time.time() - KEPT_S
    for path in (layout.data_path() / "trials").glob("*/*"):
        if path.stat().st_mtime < oldest:
            path.unlink(missing_ok=True)


def _keep_few(folder: Path) -> None:
    """The newest few of one account: whoever tries many clips has done with the first ones."""
    clips = sorted(folder.glob("*.f32"), key=lambda path: path.stat().st_mtime)
    for path in clips[:-KEPT_EACH]:
        path.unlink(missing_ok=True)
