"""P3: peak memory of a QLoRA job against full fine-tuning of the same model, and what each reaches.

    python -m benchmarks.p3_memory [--model FOLDER --clips JSONL] [--steps 4 | --epochs E] [--repeats 3]

Both are jobs of this project's worker, in turns, with the same clips, seed, batches and windows: only what
moves differs. Without --model a Whisper of base size with random weights is made, whose error rates mean
nothing; with --model and --epochs the ratio of the word error rates counts as well. Memory is the process's
highest resident set, libraries included. Ends with 1 above a floor.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.p1_throughput import example_clips
from qlora_studio.contracts.enums import TrainingType
from qlora_studio.contracts.events import ResultFile
from tests.training import tiny

MEMORY_FLOOR, METRIC_FLOOR = 0.45, 1.02
BASE_SIZE = {"d_model": 512, "n_layers": 6, "ffn": 2048}
RATES = {TrainingType.QLORA: 1e-3, TrainingType.PRETRAINING: 1e-5}  # the usual ones of each


def _run(
    root: Path, kind: TrainingType, arguments: argparse.Namespace, model: Path, clips: Path
) -> ResultFile:
    length = {"epochs": arguments.epochs} if arguments.epochs else {"max_steps": arguments.steps}
    optimization: dict[str, Any] = {
        "max_steps": None,
        "batch_size": 4,
        "learning_rate": RATES[kind],
        **length,
    }
    spec = tiny.make_spec(
        root,
        model,
        clips,
        training_type=kind,
        qlora={"target_modules": "auto", "rank": 8},
        optimization=optimization,
        evaluation={"every_steps": 10**6, "save_every_steps": 10**6},
    )
    path = tiny.write_spec(spec)
    command = [sys.executable, "-m", "qlora_studio.training", "run", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return ResultFile.model_validate(json.loads((spec.attempt_path / "result.json").read_text()))


def main() -> int:
    """Print the table; 0 when the floors hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path)
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    peaks: dict[TrainingType, list[int]] = {kind: [] for kind in RATES}
    rates: dict[TrainingType, float] = {}
    print(f"{'repeat':>6} {'QLoRA, MB':>11} {'full, MB':>11}")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model = arguments.model or tiny.make_whisper(root / "model", **BASE_SIZE)
        clips = arguments.clips or example_clips(root / "clips.jsonl", n_clips=24)
        for number in range(arguments.repeats):
            for kind in RATES:
                result = _run(root / f"{kind}{number}", kind, arguments, model, clips)
                peaks[kind].append(result.peak_rss_bytes or 0)
                rate = result.metrics.get("wer_normalised")
                rates[kind] = math.nan if rate is None else rate
            shown = " ".join(f"{peaks[kind][-1] / 1e6:>11,.0f}" for kind in RATES)
            print(f"{number + 1:>6} {shown}", flush=True)
    ratio = statistics.median(peaks[TrainingType.QLORA]) / statistics.median(peaks[TrainingType.PRETRAINING])
    print(f"median ratio {ratio:.3f} (floor {MEMORY_FLOOR})")
    if not arguments.epochs:
        return 0 if ratio <= MEMORY_FLOOR else 1
    ours, theirs = rates[TrainingType.QLORA], rates[TrainingType.PRETRAINING]
    metric = ours / theirs if theirs else (math.inf if ours else 1.0)
    shown = ", ".join(f"{kind} {rate:.4f}" for kind, rate in rates.items())
    print(f"normalised word error rates {shown}: ratio {metric:.3f} (floor {METRIC_FLOOR})")
    return 0 if ratio <= MEMORY_FLOOR and metric <= METRIC_FLOOR else 1


if __name__ == "__main__":
    sys.exit(main())
