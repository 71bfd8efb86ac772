"""Vectors that stand for speakers: given beside the model's weights, or made from the training clips."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from qlora_studio.audio.resample import load_mono
from qlora_studio.contracts.spec import ClipItem
from qlora_studio.training.failures import BadData, ModelNotUsable
from qlora_studio.training.tasks.base import Features

FILE = "speaker_embeddings.safetensors"
DEFAULT = "default"
_CLIPS_A_VOICE = 20
_SEED = 5


@dataclass(frozen=True)
class Voices:
    """Speakers by name, and a vector for each: float32, (speakers, width). The first is the usual one."""

    names: list[str]
    vectors: np.ndarray

    def number(self, speaker: str | None) -> int:
        """Return a speaker's row; the first one's for a speaker without."""
        name = (speaker or DEFAULT).strip()
        return self.names.index(name) if name in self.names else 0

    def unknown(self, clips: Sequence[ClipItem]) -> list[str]:
        """Return the speakers of some clips that have no vector, sorted."""
        return sorted({(c.speaker or "").strip() for c in clips} - {*self.names, ""})


def default(width: int) -> Voices:
    """The one voice of a model that nobody gave any."""
    return Voices([DEFAULT], np.ones((1, width), dtype=np.float32))


def read(folder: Path, *, width: int) -> Voices | None:
    """Read the voices beside a model: one vector of `width` numbers for each name, or None without a file.

    Raises:
        ModelNotUsable: the file holds something else.
    """
    if not (folder / FILE).is_file():
        return None
    try:
        found = load_file(folder / FILE)
    except (OSError, SafetensorError) as error:
        raise ModelNotUsable(f"{FILE} cannot be read.") from error
    vectors = {name: np.asarray(v, dtype=np.float32).reshape(-1) for name, v in sorted(found.items())}
    if not vectors or any(v.shape != (width,) or not np.isfinite(v).all() for v in vectors.values()):
        raise ModelNotUsable(f"{FILE} should hold vectors of {width} numbers by the names of speakers.")
    return Voices(list(vectors), np.stack(list(vectors.values())))


def write(folder: Path, voices: Voices) -> None:
    """Write voices for `read`."""
    save_file({name: voices.vectors[i].copy() for i, name in enumerate(voices.names)}, folder / FILE)


def derive(
    clips: Sequence[ClipItem], features: Callable[[np.ndarray], Features], *, rate: int, width: int
) -> Voices:
    """Make a vector for each speaker of some clips, the commonest speaker first; without clips, the default.

    Mean and deviation of the speaker's log-mel bins over up to 20 clips, turned into `width` numbers by a
    fixed random matrix. This tells voices apart and is the same on every machine, but it is no x-vector: a
    model that learnt from x-vectors does not know the voice by it before it is trained.

    Raises:
        BadData: a clip cannot be decoded; the sentence names it.
    """
    if not clips:
        return default(width)
    counts = Counter((clip.speaker or "").strip() or DEFAULT for clip in clips)
    chosen: dict[str, list[ClipItem]] = defaultdict(list)
    for clip in clips:
        its = chosen[(clip.speaker or "").strip() or DEFAULT]
        if len(its) < _CLIPS_A_VOICE:
            its.append(clip)
    names = [name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    facts = np.stack([_facts(chosen[name], features, rate) for name in names])
    matrix = np.random.default_rng(_SEED).standard_normal((facts.shape[1], width))
    vectors = facts @ matrix
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return Voices(names, vectors.astype(np.float32))


def _facts(clips: Sequence[ClipItem], features: Callable[[np.ndarray], Features], rate: int) -> np.ndarray:
    frames = []
    for clip in clips:
        try:
            samples = load_mono(Path(clip.path), sample_rate=rate)
        except (OSError, ValueError) as error:
            raise BadData(f"Clip {clip.id} cannot be read ({error}). Exclude it and try again.") from error
        frames.append(features(samples)["frames"])
    together = np.concatenate(frames).astype(np.float64)
    return np.concatenate([together.mean(axis=0), together.std(axis=0)])
