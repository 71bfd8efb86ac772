"""P13: how long a step takes in which a checkpoint is saved, against the median step.

    python -m benchmarks.p13_checkpoint_gap [--model FOLDER] [--clips JSONL] [--steps 16] [--every 4]

Twice, in turns with the stock Trainer that saves by itself at the same steps: a QLoRA job, whose checkpoint
is small, and training of all weights, whose checkpoint is three times the model. The gap is from one step's
end to the next one's. Without --model a Whisper of tiny size with random weights is made; without --clips
the embedded example dataset is used. Ends with 1 when a median gap of ours is above the floor.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.p1_throughput import Figures, example_clips, fold_spaces, run_ours, run_script
from qlora_studio.contracts.enums import TrainingType
from qlora_studio.contracts.spec import WorkerSpec
from tests.training import tiny

FLOOR, AIM = 3.0, 1.1
BATCH = 4
TINY_SIZE = {"d_model": 384, "n_layers": 4, "ffn": 1536}
KINDS = (TrainingType.QLORA, TrainingType.PRETRAINING)


def _report(name: str, figures: Figures, every: int) -> float:
    """Print one side's gaps and return the median one as a multiple of the median step."""
    gaps = figures.gaps
    at_saves = [gap for step, gap in gaps.items() if step % every == 0]
    step_s = statistics.median(gap for step, gap in gaps.items() if step % every)
    ratio, worst = statistics.median(at_saves) / step_s, max(at_saves) / step_s
    print(
        f"{name:<30} {step_s:>9.2f} {statistics.median(at_saves):>9.2f} {ratio:>7.2f} {worst:>7.2f}",
        flush=True,
    )
    return ratio


def main() -> int:
    """Print the table; 0 when the floor holds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path)
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--every", type=int, default=4)
    arguments = parser.parse_args()
    print(f"a checkpoint every {arguments.every} of {arguments.steps} steps; seconds, medians")
    print(f"{'side':<30} {'step':>9} {'at save':>9} {'ratio':>7} {'worst':>7}")
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model = arguments.model or tiny.make_whisper(root / "model", **TINY_SIZE)
        clips = root / "clips.jsonl"
        if arguments.clips:
            fold_spaces(arguments.clips, clips)
        else:
            example_clips(clips, n_clips=BATCH * arguments.steps)
        for kind in KINDS:
            ours = run_ours(_spec(root / kind.value, kind, arguments, model, clips))
            ratios.append(_report(f"{kind.value}, ours", ours, arguments.every))
            theirs = run_script(_spec(root / f"{kind.value}-plain", kind, arguments, model, clips))
            _report(f"{kind.value}, plain Trainer", theirs, arguments.every)
    print(f"ours: {', '.join(f'{ratio:.2f}' for ratio in ratios)} (floor {FLOOR}, aim {AIM})")
    return 0 if max(ratios) <= FLOOR else 1


def _spec(
    root: Path, kind: TrainingType, arguments: argparse.Namespace, model: Path, clips: Path
) -> WorkerSpec:
    length = {"max_steps": arguments.steps, "batch_size": BATCH, "learning_rate": 1e-5, "mode": "exact"}
    return tiny.make_spec(
        root,
        model,
        clips,
        training_type=kind,
        qlora={"target_modules": "auto"},
        optimization=length,
        evaluation={"save_every_steps": arguments.every, "every_steps": 10**6, "probe": False},
    )


if __name__ == "__main__":
    sys.exit(main())
