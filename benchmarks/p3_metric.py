"""P3's other half: what a QLoRA job reaches against full fine-tuning of the same model, on clips of its own.

    python -m benchmarks.p3_metric --model FOLDER --sounds FOLDER --texts FILE [--epochs 3] [--seeds 1 2]
        [--qlora RATE …] [--full RATE …] [--rank 32] [--layers all-linear] [--out FOLDER] [--parallel 1]

`--texts` has a line `name: what is said` for each `name.wav` of `--sounds`, plain or gzipped. White noise
at 0 to 10 dB is added to every recording, always the same. Of the clips a fifth is for choosing and a fifth
for measuring, and nothing is chosen by the latter: each side's learning rate is the one that does best on
the former with seed 0; with it each side then trains anew for every seed and is measured once. Both sides
have the same clips, batches and epochs, in fast mode. Jobs of this project's worker; those with a result in
`--out` are not run again. Ends with 1 above the floor.
"""

import argparse
import gzip
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import librosa
import numpy as np
import soundfile

from qlora_studio.contracts.enums import Split, TrainingType
from qlora_studio.contracts.events import ResultFile
from qlora_studio.contracts.spec import ClipItem
from tests.training import tiny

FLOOR = 1.02
RATE = 16_000
MIN_S, MAX_S = 0.4, 20.0
BATCH = 8
Part = Literal["choose", "measure"]


@dataclass(frozen=True)
class Trial:
    """One job: a side with its rate and seed, and which clips it is measured with."""

    side: str
    rate: float
    seed: int
    part: Part

    @property
    def name(self) -> str:
        return f"{self.side}-{self.rate:g}-seed{self.seed}-{self.part}"


def read_texts(path: Path) -> Iterator[tuple[str, str]]:
    """Names and what is said, for lines that have both; sounds without words have theirs in brackets."""
    data = path.read_bytes()
    for line in (gzip.decompress(data) if path.suffix == ".gz" else data).decode().splitlines():
        name, colon, text = line.partition(":")
        words = " ".join(text.split())
        if colon and words and not line.startswith(";") and "[" not in words and "(" not in words:
            yield name.strip(), words


def make_clips(sounds: Path, texts: Path, folder: Path) -> list[ClipItem]:
    """Write the noisy recordings, in an order that says nothing; always the same."""
    folder.mkdir(parents=True, exist_ok=True)
    clips = []
    for number, (name, text) in enumerate(sorted(read_texts(texts))):
        source = sounds / f"{name}.wav"
        if not source.is_file():
            continue
        sound, _ = librosa.load(source, sr=RATE)
        if not MIN_S <= len(sound) / RATE <= MAX_S:
            continue
        rng = np.random.default_rng(number)
        snr_db = rng.uniform(0, 10)
        level = np.sqrt(np.mean(sound**2)) * 10 ** (-snr_db / 20)
        target = folder / f"{number:04d}.wav"
        soundfile.write(target, np.clip(sound + level * rng.standard_normal(len(sound)), -1, 1), RATE)
        clips.append(
            ClipItem(
                id=f"clip_{number:04d}",
                path=str(target),
                duration_s=len(sound) / RATE,
                text=text,
                split="train",
            )  # type: ignore[arg-type]
        )
    random.Random(0).shuffle(clips)
    return clips


def write_splits(clips: list[ClipItem], folder: Path) -> dict[Part, Path]:
    """Three fifths to train on; a fifth each to choose and to measure by, in files of their own."""
    fifth = len(clips) // 5
    held: dict[Part, list[ClipItem]] = {"choose": clips[:fifth], "measure": clips[fifth : 2 * fifth]}
    paths: dict[Part, Path] = {}
    for part, some in held.items():
        rows = clips[2 * fifth :] + [clip.model_copy(update={"split": Split.VALIDATION}) for clip in some]
        paths[part] = folder / f"{part}.jsonl"
        paths[part].write_text("".join(row.model_dump_json() + "\n" for row in rows))
    return paths


def run(trial: Trial, out: Path, clips: Path, arguments: argparse.Namespace) -> ResultFile:
    """Train and measure, or read what an earlier run has left."""
    root = out / trial.name
    is_qlora = trial.side == "qlora"
    spec = tiny.make_spec(
        root,
        arguments.model,
        clips,
        training_type=TrainingType.QLORA if is_qlora else TrainingType.PRETRAINING,
        qlora={
            "target_modules": arguments.layers,
            "rank": arguments.rank,
            "alpha": 2 * arguments.rank,
            "dropout": arguments.dropout,
        },
        optimization={
            "max_steps": None,
            "epochs": arguments.epochs,
            "batch_size": BATCH,
            "learning_rate": trial.rate,
            "seed": trial.seed,
            "mode": "fast",
        },
        evaluation={"every_steps": 10**6, "save_every_steps": 10**6},
    )
    result = spec.attempt_path / "result.json"
    if not result.is_file():
        command = [sys.executable, "-m", "qlora_studio.training", "run", str(tiny.write_spec(spec))]
        subprocess.run(command, check=True, capture_output=True)
    return ResultFile.model_validate(json.loads(result.read_text()))


def wer(result: ResultFile) -> float:
    """Normalised word errors, a share."""
    return result.metrics["wer_normalised"] or 0.0


def main() -> int:
    """Print every job and the ratio; 0 when the floor holds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path)
    parser.add_argument("--sounds", type=Path)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--qlora", type=float, nargs="+", default=[5e-4, 1e-3, 2e-3])
    parser.add_argument("--full", type=float, nargs="+", default=[2e-5, 5e-5, 1e-4])
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--layers", default="all-linear")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--parallel", type=int, default=1)
    arguments = parser.parse_args()
    if not (arguments.model and arguments.sounds and arguments.texts):
        print("Left out: it needs a model and recordings with texts (--model --sounds --texts).")
        return 0
    sides: dict[str, list[float]] = {"qlora": arguments.qlora, "full": arguments.full}
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(arguments.parallel) as pool:
        out = arguments.out or Path(scratch)
        clips = make_clips(arguments.sounds, arguments.texts, out / "clips")
        paths = write_splits(clips, out)
        n_words = sum(
            len((clip.text or "").split()) for clip in clips[len(clips) // 5 : 2 * (len(clips) // 5)]
        )
        print(f"{len(clips)} clips, a fifth with {n_words} words to measure by; {arguments.epochs:g} epochs")

        def done(trial: Trial) -> tuple[Trial, ResultFile]:
            result = run(trial, out, paths[trial.part], arguments)
            before = result.base_metrics.get("wer_normalised")
            peak = (result.peak_rss_bytes or 0) / 1e6
            print(f"{trial.name:32} {before or 0:.4f} -> {wer(result):.4f}, {peak:,.0f} MB", flush=True)
            return trial, result

        chosen = list(
            pool.map(done, [Trial(s, rate, 0, "choose") for s, rates in sides.items() for rate in rates])
        )
        best: dict[str, float] = {}
        for side in sides:
            best[side] = min((wer(r), t.rate) for t, r in chosen if t.side == side)[1]
        measured = list(
            pool.map(done, [Trial(s, best[s], seed, "measure") for seed in arguments.seeds for s in sides])
        )
        found: dict[str, Any] = {s: [wer(r) for t, r in measured if t.side == s] for s in sides}
    ratio = statistics.mean(found["qlora"]) / statistics.mean(found["full"])
    each = ", ".join(f"{q / f:.3f}" for q, f in zip(found["qlora"], found["full"], strict=True))
    print(f"rates {best}; ratio of the means {ratio:.3f} (floor {FLOOR}); by seed {each}")
    return 0 if ratio <= FLOOR else 1


if __name__ == "__main__":
    sys.exit(main())
