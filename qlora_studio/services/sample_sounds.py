"""Sounds that a job's model made for the clips of its panel, kept in the run's folder."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import soundfile
from sqlmodel import Session

from qlora_studio.audio.peaks import PeakMeter
from qlora_studio.contracts.spec import SAMPLES_FOLDER
from qlora_studio.core.errors import NotFound
from qlora_studio.db.models import JobSample, User
from qlora_studio.services.access import Action
from qlora_studio.services.jobs import get_job
from qlora_studio.storage import layout

Which = Literal["now", "base"]
_KEYS: dict[Which, str] = {"now": "sound", "base": "base_sound"}
_NAME = re.compile(rf"{SAMPLES_FOLDER}/(base|\d{{1,12}})/\d{{1,4}}\.flac")
_MAX_S = 60.0


@dataclass(frozen=True)
class Shape:
    """What a player draws before a sound is fetched: its length in seconds and its peaks."""

    seconds: float
    peaks: bytes


def get_path(
    session: Session, *, actor: User, job_id: str, step: int, clip_id: str, which: Which = "now"
) -> Path:
    """Return the file of what the model made of a clip's text at a step, or of what the base model made.

    Raises:
        NotFound: it isn't the actor's, there is no such sample, or it has no sound.
    """
    get_job(session, actor=actor, job_id=job_id, action=Action.SEE)
    sample = session.get(JobSample, (job_id, step, clip_id))
    path = _path_of(sample, which) if sample is not None else None
    if path is None:
        raise NotFound("There is no such sound.")
    return path


def _path_of(sample: JobSample, which: Which) -> Path | None:
    """The file, if the sample names one of the run's own and it is still there."""
    name = sample.details.get(_KEYS[which])
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return None
    path = layout.run_path(sample.job_id) / name
    return path if path.is_file() and not path.is_symlink() else None


def read_shape(sample: JobSample, which: Which) -> Shape | None:
    """Read what to draw of a sample's sound; None if it has none. The caller checks who asks."""
    path = _path_of(sample, which)
    if path is None:
        return None
    try:
        rate = soundfile.info(path).samplerate
        samples, _ = soundfile.read(path, frames=round(_MAX_S * rate), dtype="float32", always_2d=True)
    except (OSError, soundfile.LibsndfileError):
        return None
    meter = PeakMeter(len(samples))
    meter.add(samples[:, 0])
    return Shape(len(samples) / rate, meter.to_bytes())
