"""P3: peak memory of a QLoRA job against full fine-tuning of the same model, and what each reaches.

    python -m benchmarks.p3_memory [--model FOLDER --clips JSONL] [--steps 20 | --epochs E] [--repeats 3]

All are jobs of this project's worker, in turns, with the same clips, seed and batches: full fine-tuning and
QLoRA in the standard 30 s windows, and QLoRA as the wizard starts it, in fast mode, over enough steps to have
some standard windows too. Without --model a Whisper of base size with random weights is made, whose error
rates mean nothing; with --model and --epochs the ratio of the word error rates counts as well. Memory is the
process's highest resident set, libraries included. Ends with 1 above a floor.
"""

import argparse
import json
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

# (training type, mode, learning rate: the usual ones of each)
SIDES = {
    "QLoRA": (TrainingType.QLORA, "fast", 1e-3),
    "exact": (TrainingType.QLORA, "exact", 1e-3),
    "full": (TrainingType.PRETRAINING, "exact", 1e-5),
}
EXACT_STEPS = 4  # every step of theirs is alike


def _run(root: Path, side: str, arguments: argparse.Namespace, model: Path, clips: Path) -> ResultFile:
    kind, mode, rate = SIDES[side]
    n_steps = arguments.steps if mode == "fast" else EXACT_STEPS
    length = {"epochs": arguments.epochs} if arguments.epochs else {"max_steps": n_steps}
    optimization: dict[str, Any] = {
        "max_steps": None,
        "batch_size": arguments.batch_size,
        "learning_rate": rate,
        "mode": mode,
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
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    peaks: dict[str, list[int]] = {side: [] for side in SIDES}
    rates: dict[str, float] = {}
    print(f"{'repeat':>6} " + " ".join(f"{side + ', MB':>11}" for side in SIDES))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model = arguments.model or tiny.make_whisper(root / "model", **BASE_SIZE)
        clips = arguments.clips or example_clips(root / "clips.jsonl", n_clips=48)
        for number in range(arguments.repeats):
            for side in SIDES:
                result = _run(root / f"{side}{number}", side, arguments, model, clips)
                peaks[side].append(result.peak_rss_bytes or 0)
                found = result.metrics.get("wer_normalised")
                rates[side] = float("nan") if found is None else found
            shown = " ".join(f"{peaks[side][-1] / 1e6:>11,.0f}" for side in SIDES)
            print(f"{number + 1:>6} {shown}", flush=True)
    middle = {side: statistics.median(found) for side, found in peaks.items()}
    ratio = middle["QLoRA"] / middle["full"]
    print(
        f"median ratio {ratio:.3f} (floor {MEMORY_FLOOR}); exact mode {middle['exact'] / middle['full']:.3f}"
    )
    if not arguments.epochs:
        return 0 if ratio <= MEMORY_FLOOR else 1
    metric = rates["QLoRA"] / rates["full"]
    shown = ", ".join(f"{side} {rate:.4f}" for side, rate in rates.items())
    print(f"normalised word error rates {shown}: ratio {metric:.3f} (floor {METRIC_FLOOR})")
    return 0 if ratio <= MEMORY_FLOOR and metric <= METRIC_FLOOR else 1


if __name__ == "__main__":
    sys.exit(main())
