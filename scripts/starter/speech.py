"""Make the synthetic speech that the starter model is trained on.

    python -m scripts.starter.speech --target FOLDER --clips 12000

Writes `clips/*.flac` and `clips.jsonl` (lines of `contracts.spec.ClipItem`). About 0.05 s a clip on one core.
The same seed and the same versions of the voices give the same clips.
"""

import argparse
import csv
import random
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import soundfile as sf

from qlora_studio.contracts.enums import Split
from qlora_studio.contracts.spec import ClipItem
from scripts.starter.prompts import TARGET as EXAMPLE
from scripts.starter.room import RATE_HZ, through_the_line
from scripts.starter.sentences import generate
from scripts.starter.voices import draw_voice, speak

SEED = 20261122
MAX_DURATION_S = 9.0


def example_texts() -> set[str]:
    """The texts that must not be trained on."""
    with (EXAMPLE / "metadata.csv").open(encoding="utf-8", newline="") as file:
        return {row["text"] for row in csv.DictReader(file)}


def make_clip(target: Path, index: int, text: str, split: Split) -> ClipItem | None:
    """Say one sentence and store it; None if it came out too long to be worth training on."""
    voice = draw_voice(random.Random(f"{SEED}/{index}"))
    audio = through_the_line(speak(voice, text), np.random.default_rng([SEED, index]))
    duration_s = len(audio) / RATE_HZ
    if duration_s > MAX_DURATION_S:
        return None
    path = target / "clips" / f"{index:06d}.flac"
    sf.write(path, audio, RATE_HZ, format="FLAC", subtype="PCM_16")
    speaker = f"{voice.engine} {voice.name}"
    return ClipItem(
        id=path.stem, path=str(path), duration_s=duration_s, text=text.lower(), speaker=speaker, split=split
    )


def make_speech(target: Path, *, n_clips: int, n_validation: int, processes: int = 1) -> Path:
    """Make the whole set.

    Returns:
        The path of `clips.jsonl`; the last `n_validation` clips are held out.
    """
    (target / "clips").mkdir(parents=True, exist_ok=True)
    texts = list(generate(n_clips, seed=SEED, forbidden=example_texts()))
    splits = [Split.VALIDATION if i >= n_clips - n_validation else Split.TRAIN for i in range(n_clips)]
    with ProcessPoolExecutor(processes) as pool:
        items = pool.map(make_clip, [target] * n_clips, range(n_clips), texts, splits, chunksize=32)
        lines = [item.model_dump_json() for item in items if item]
    (target / "clips.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return target / "clips.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description="Make synthetic speech.")
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=14_000)
    parser.add_argument("--validation", type=int, default=100)
    parser.add_argument("--processes", type=int, default=1)
    args = parser.parse_args()
    path = make_speech(
        args.target, n_clips=args.clips, n_validation=args.validation, processes=args.processes
    )
    print(path)


if __name__ == "__main__":
    main()
