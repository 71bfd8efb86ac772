"""Make recordings of people talking to each other, with known times, out of clips of one voice each.

    python -m scripts.mixtures OUT --voice ann=FOLDER --voice bob=FOLDER [--voice …]

Writes `OUT/train/train0001.wav` with `train0001.rttm` beside it, and the same under `OUT/validation`, ready
to be added as a dataset for speaker diarization. Each mixture has two or three of the voices taking turns:
some come before the other has ended, most after a pause. A clip is in train or in validation, never in both.
The voices are in both: what is measured is telling known voices apart, not new ones.

The Debian packages asterisk-core-sounds-{en,fr,it,ru}-wav are four voices (8 kHz, CC-BY-SA and CC-BY).
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from qlora_studio.audio.resample import load_mono
from qlora_studio.audio.turns import Turn, to_rttm

RATE = 16_000
LEVEL = 0.08  # root mean square of a voice
_SOUND = (".wav", ".flac", ".ogg", ".mp3")
_SHORTEST_S, _LONGEST_S = 0.5, 4.0  # of a clip that is used
_TRIES = 200  # at a mixture
_FRAME = RATE // 100
_SPEECH_DB = -35.0  # of the clip's loudest frame: softer ends are cut off
_PAUSE_S = (0.1, 0.8)
_OVERLAP_S = (0.2, 1.0)

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Recipe:
    """How mixtures are made. `overlap` is the share of turns that begin before the last one has ended."""

    seconds: float = 10.0
    most_speakers: int = 3
    overlap: float = 0.3


def read_voice(folder: Path) -> list[Samples]:
    """Clips of one voice at 16 kHz, without silence at the ends, all equally loud."""
    clips = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SOUND):
        try:
            samples = _without_silent_ends(load_mono(path, sample_rate=RATE))
        except (OSError, ValueError):
            continue
        loudness = float(np.sqrt(np.mean(np.square(samples)))) if len(samples) else 0.0
        if _SHORTEST_S <= len(samples) / RATE <= _LONGEST_S and loudness > 1e-3:
            clips.append((samples * (LEVEL / loudness)).astype(np.float32))
    return clips


def _without_silent_ends(samples: Samples) -> Samples:
    n_frames = len(samples) // _FRAME
    if not n_frames:
        return samples[:0]
    power = np.square(samples[: n_frames * _FRAME]).reshape(n_frames, _FRAME).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 10 ** (_SPEECH_DB / 10))
    return samples[loud[0] * _FRAME : (loud[-1] + 1) * _FRAME]


def mix(
    voices: dict[str, Sequence[Samples]], recipe: Recipe, rng: np.random.Generator
) -> tuple[Samples, list[Turn]]:
    """One mixture: samples, float32 (n,), and who speaks when in it."""
    most = min(recipe.most_speakers, len(voices))
    present = rng.choice(sorted(voices), size=int(rng.integers(2, most + 1)), replace=False)
    gains = {name: 10 ** (rng.uniform(-6, 0) / 20) for name in present}
    sound = (10 ** (-55 / 20) * rng.standard_normal(round(recipe.seconds * RATE))).astype(np.float32)
    turns: list[Turn] = []
    end_s = float(rng.uniform(0, _PAUSE_S[1]))
    while True:
        others = [name for name in present if not turns or name != turns[-1].speaker]
        name = str(rng.choice(others))
        clip = voices[name][rng.integers(len(voices[name]))]
        start_s = end_s
        if turns and rng.random() < recipe.overlap:
            # Not before the one before last has ended: nobody speaks over themselves, and two are enough.
            earliest = max((turn.end_s for turn in turns[:-1]), default=0.0)
            start_s = max(end_s - float(rng.uniform(*_OVERLAP_S)), earliest, turns[-1].start_s + 0.1)
        elif turns:
            start_s += float(rng.uniform(*_PAUSE_S))
        first = round(start_s * RATE)
        if first + len(clip) > len(sound):
            return sound, turns
        sound[first : first + len(clip)] += gains[name] * clip
        turns.append(Turn(first / RATE, len(clip) / RATE, name))
        end_s = max(end_s, turns[-1].end_s)


def _talk(
    voices: dict[str, Sequence[Samples]], recipe: Recipe, rng: np.random.Generator
) -> tuple[Samples, list[Turn]]:
    """A mixture in which at least two speak."""
    for _ in range(_TRIES):
        sound, turns = mix(voices, recipe, rng)
        if len({turn.speaker for turn in turns}) > 1:
            return sound, turns
    raise ValueError(f"{recipe.seconds:g} s are too short for two people to speak. Make them longer.")


def write_split(
    folder: Path, voices: dict[str, Sequence[Samples]], n: int, recipe: Recipe, rng: np.random.Generator
) -> None:
    """Write `n` mixtures with their RTTM files.

    Raises:
        ValueError: the recipe leaves no room for two people.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(1, n + 1):
        sound, turns = _talk(voices, recipe, rng)
        name = f"{folder.name}{index:04d}"
        soundfile.write(folder / f"{name}.wav", sound, RATE, subtype="PCM_16")
        (folder / f"{name}.rttm").write_text(to_rttm(name, turns) + "\n")


def split_clips(clips: Sequence[Samples], rng: np.random.Generator) -> tuple[list[Samples], list[Samples]]:
    """Four fifths and one fifth of a voice's clips, drawn at random."""
    order = rng.permutation(len(clips))
    n_train = max(1, round(0.8 * len(clips)))
    return [clips[i] for i in order[:n_train]], [clips[i] for i in order[n_train:]]


def main() -> None:
    """Read the voices, split their clips, write both halves."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--voice", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--n-train", type=int, default=200)
    parser.add_argument("--n-validation", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=Recipe.seconds)
    parser.add_argument("--most-speakers", type=int, default=Recipe.most_speakers)
    parser.add_argument("--overlap", type=float, default=Recipe.overlap)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    train: dict[str, Sequence[Samples]] = {}
    held_out: dict[str, Sequence[Samples]] = {}
    for voice in args.voice:
        name, _, folder = voice.partition("=")
        if not name.strip() or not folder:
            parser.error(f"“{voice}” is no NAME=FOLDER.")
        if name in train:
            parser.error(f"Two voices are called {name}. Give each its own name.")
        clips = read_voice(Path(folder))
        if len(clips) < 5:
            parser.error(
                f"{folder} has {len(clips)} clips of {_SHORTEST_S:g} to {_LONGEST_S:g} s; 5 are needed."
            )
        train[name], held_out[name] = split_clips(clips, rng)
        print(f"{name}: {len(train[name])} clips to train on, {len(held_out[name])} held out")
    if len(train) < 2:
        parser.error("A mixture needs two voices.")
    recipe = Recipe(args.seconds, args.most_speakers, args.overlap)
    try:
        write_split(args.out / "train", train, args.n_train, recipe, rng)
        write_split(args.out / "validation", held_out, args.n_validation, recipe, rng)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
