"""Where the time of a training step goes in fast mode, as shares of the processor's time.

    python -m benchmarks.where_time_goes [--whisper FOLDER] [--clips JSONL] [--steps 12] [--threads 1]

Runs our loop under torch's profiler: Whisper (with `--whisper` a pretrained one, else random weights) with
adapters everywhere and in its decoder alone, and the models of `p1_families`. The first epoch, in which
features and codes are made, is left out. `docs/training.md` says what follows from it.
"""

import argparse
import contextlib
import io
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile

from benchmarks.p1_families import SIDES, write_clips
from benchmarks.p1_throughput import BATCH, RANDOM_MODEL
from qlora_studio.contracts.enums import Task
from qlora_studio.contracts.spec import WorkerSpec
from qlora_studio.training import models
from qlora_studio.training.attempt import Attempt, run_attempt
from qlora_studio.training.loop import TrainingRun
from tests.training import tiny

# The first group whose word is in an operator's name takes its time.
GROUPS = {
    "attention": ("scaled_dot_product", "flash_attention", "softmax"),
    "matrix products": ("addmm", "::mm", "bmm", "linear"),
    "convolutions": ("conv",),
    "unpacking 4 bits": ("dequantize", "gemm_4bit", "bitsandbytes"),
    "activations and norms": ("gelu", "silu", "sigmoid", "norm", "dropout", "tanh", "nll", "ctc"),
    "copies": ("copy_", "cat", "contiguous", "clone", "to_copy", "index", "fill_", "zero_"),
    "optimiser": ("adam", "foreach", "lerp", "addcdiv"),
    "sums and products": ("add", "mul", "sum", "div", "sub"),
}


class Watched(TrainingRun):
    """A run whose steps after the first epoch are profiled."""

    shares: dict[str, float]

    def run(self) -> Any:
        """Train and read the profile."""
        profiler = profile(activities=[ProfilerActivity.CPU])
        after, n_first = self._after_step, -(-len(self._count_clips()) // BATCH)

        def watch(step: int, values: dict[str, float]) -> bool:
            if step == n_first:
                profiler.start()
            return after(step, values)

        self._after_step = watch  # type: ignore[method-assign]
        result = super().run()
        profiler.stop()
        self.shares = _shares(profiler)
        return result

    def _count_clips(self) -> list[str]:
        return self.spec.clips_path.read_text().splitlines()


def _shares(profiler: profile) -> dict[str, float]:
    seconds: defaultdict[str, float] = defaultdict(float)
    for event in profiler.key_averages():
        name = event.key.lower()
        groups = (group for group, words in GROUPS.items() if any(word in name for word in words))
        seconds[next(groups, "the rest")] += event.self_cpu_time_total
    total = sum(seconds.values()) or 1.0
    return {group: seconds[group] / total for group in (*GROUPS, "the rest")}


def measure(root: Path, run: tuple[Path, Task, Any], clips: Path, arguments: argparse.Namespace) -> Any:
    """Train a (model, task, targets) past one epoch; return the shares by group."""
    model, task, targets = run
    n_epoch = -(-len(clips.read_text().splitlines()) // BATCH)
    spec: WorkerSpec = tiny.make_spec(
        root,
        model,
        clips,
        qlora={"target_modules": targets},
        optimization={"max_steps": n_epoch + arguments.steps, "batch_size": BATCH, "mode": "fast"},
        evaluation={"save_every_steps": 10**6, "every_steps": 10**6, "probe": False},
    ).model_copy(update={"task": task, "threads": arguments.threads})
    tiny.write_spec(spec)
    kept: list[Watched] = []

    def body(attempt: Attempt) -> Any:
        kept.append(Watched(attempt, models.choose_device("cpu")))
        return kept[0].run()

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        run_attempt(spec, body, device="cpu", versions={})
    return kept[0].shares


def main() -> int:
    """Print one column a model."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--whisper", type=Path)
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--n-clips", type=int, default=64)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        clips = write_clips(arguments.clips, root / "clips.jsonl", arguments.n_clips)
        whisper = arguments.whisper or tiny.make_whisper(root / "whisper", **RANDOM_MODEL)
        runs = {
            "whisper": (whisper, Task.SPEECH_TO_TEXT, "auto"),
            "decoder": (whisper, Task.SPEECH_TO_TEXT, "decoder"),
        }
        for name, side in SIDES.items():
            runs[name] = (side.make(root / "models" / name), side.task, ["q_proj", "v_proj"])
        found = {name: measure(root / name, run, clips, arguments) for name, run in runs.items()}
    print(f"{'share of the time, %':>24} " + " ".join(f"{name:>15}" for name in found))
    for group in (*GROUPS, "the rest"):
        print(f"{group:>24} " + " ".join(f"{100 * shares[group]:>15.1f}" for shares in found.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
