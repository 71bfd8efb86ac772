"""Recordings of two speakers that a tiny model can tell apart: one hums low, the other high."""

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from qlora_studio.audio.turns import Turn, to_rttm
from qlora_studio.contracts.enums import Split, Task
from qlora_studio.contracts.spec import ClipItem, WorkerSpec
from tests.training import tiny, tones

PITCHES = {"ann": 300.0, "bob": 1200.0}
TURNS = {
    0: [("ann", 0.1, 0.7), ("bob", 0.5, 0.6)],
    1: [("bob", 0.0, 0.5), ("ann", 0.8, 0.4)],
    2: [("ann", 0.2, 0.9), ("bob", 0.9, 0.3)],
}
LENGTHS_S = (1.2, 1.3, 1.4)


def sound_of(said: list[Turn], duration_s: float, *, seed: int = 0) -> np.ndarray:
    """Each speaker's hum while they speak, float32 (samples,)."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(duration_s * tiny.RATE)) / tiny.RATE
    sound = 0.005 * rng.standard_normal(t.size)
    for turn in said:
        speaks = (turn.start_s <= t) & (t < turn.end_s)
        sound += 0.3 * speaks * np.sin(2 * np.pi * PITCHES.get(turn.speaker, 600.0) * t)
    return sound.astype(np.float32)


def write_recording(
    folder: Path, name: str, said: list[Turn], duration_s: float, split: Split = Split.TRAIN
) -> ClipItem:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.wav"
    soundfile.write(path, sound_of(said, duration_s), tiny.RATE, subtype="PCM_16")
    text = to_rttm(name, said)
    return ClipItem(id=f"id_{name}", path=str(path), duration_s=duration_s, text=text, split=split)


def write_voices(folder: Path, *, n_train: int = 12, n_validation: int = 3) -> Path:
    """Write recordings of 1.2 to 1.4 s, with overlaps and pauses, and `clips.jsonl`; returns its path."""
    clips = []
    for index in range(n_train + n_validation):
        said = [Turn(start, length, who) for who, start, length in TURNS[index % 3]]
        split = Split.TRAIN if index < n_train else Split.VALIDATION
        clips.append(write_recording(folder, f"talk{index:02d}", said, LENGTHS_S[index % 3], split))
    return tones.write_listing(folder / "clips.jsonl", clips)


def write_recordings(folder: Path) -> None:
    """The recordings of `write_voices`, each with its turns beside it as RTTM."""
    for line in write_voices(folder).read_text().splitlines():
        clip = ClipItem.model_validate_json(line)
        Path(clip.path).with_suffix(".rttm").write_text(clip.text or "")


def make_spec(root: Path, model_path: Path, clips_path: Path, **settings: Any) -> WorkerSpec:
    """`tiny.make_spec` for speaker diarization."""
    spec = tiny.make_spec(root, model_path, clips_path, **settings)
    return spec.model_copy(update={"task": Task.SPEAKER_DIARIZATION})


MAKERS = {name: tones.MAKERS[name] for name in ("wav2vec2", "wavlm", "wav2vec2-conformer", "wav2vec2-bert")}
