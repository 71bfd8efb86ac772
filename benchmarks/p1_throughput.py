"""P1: our job's samples a second against a plain Trainer + peft + bitsandbytes script, exact mode.

    python -m benchmarks.p1_throughput [--model FOLDER] [--clips JSONL] [--repeats 5] [--steps 6] [--fast]

Both sides run as processes of their own, one after the other in turns, with the same model, clips and seed.
Without --model a Whisper with random weights is made (the work is the same, the words are not); without
--clips the embedded example dataset is used. `--fast` adds our fast mode, with LoRA everywhere and in the
decoder alone; of that the steps after the first epoch count, in which the encoder runs once over each clip,
and the figure with that epoch is printed beside it. Ends with 1 when the losses differ or a ratio is below
its floor.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import soundfile

from qlora_studio.contracts.spec import ClipItem, WorkerSpec
from qlora_studio.examples.catalog import example_dataset_path
from tests.training import tiny

FLOOR = 0.99
FAST_FLOORS = {"fast": 3.0, "decoder": 15.0}
LOSS_TOLERANCE = 1e-5
BATCH = 8
RANDOM_MODEL = {"d_model": 192, "n_layers": 2, "ffn": 768}


def example_clips(path: Path, n_clips: int) -> Path:
    """Write the first training clips of the embedded dataset as `clips.jsonl`; return its path."""
    root = example_dataset_path()
    with (root / "metadata.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("split", "train") == "train"][:n_clips]
    lines = []
    for number, row in enumerate(rows):
        audio = root / row["file_name"]
        clip = ClipItem(
            id=f"clip_{number:04d}",
            path=str(audio),
            duration_s=soundfile.info(audio).duration,
            text=row["text"],
            split="train",  # type: ignore[arg-type]
        )
        lines.append(clip.model_dump_json())
    path.write_text("\n".join(lines) + "\n")
    return path


def fold_spaces(source: Path, target: Path) -> None:
    """Copy clips with single spaces in their texts: we fold them, and a plain script does not."""
    clips = [ClipItem.model_validate_json(line) for line in source.read_text().splitlines()]
    folded = [clip.model_copy(update={"text": " ".join((clip.text or "").split())}) for clip in clips]
    target.write_text("\n".join(clip.model_dump_json() for clip in folded) + "\n")


class Figures:
    """Samples a second over all steps but the first, and the losses."""

    def __init__(self, ends: list[float], losses: list[float], batch_size: int) -> None:
        self._ends, self._batch_size = ends, batch_size
        self.losses = losses

    @property
    def rate(self) -> float:
        return self.rate_after(1)

    @property
    def gaps(self) -> dict[int, float]:
        """Seconds from the end of each step to that of the next; what is done after a step is in its gap."""
        pairs = zip(self._ends, self._ends[1:], strict=False)
        return {step: later - earlier for step, (earlier, later) in enumerate(pairs, 1)}

    def rate_after(self, n_steps: int) -> float:
        """Samples a second over the steps after so many."""
        ends = self._ends[n_steps - 1 :]
        return self._batch_size * (len(ends) - 1) / (ends[-1] - ends[0])


def run_ours(spec: WorkerSpec) -> Figures:
    """Run a job of ours."""
    path = tiny.write_spec(spec)
    (spec.attempt_path / "events.jsonl").unlink(missing_ok=True)
    subprocess.run(
        [sys.executable, "-m", "qlora_studio.training", "run", str(path)], check=True, capture_output=True
    )
    metrics = tiny.read_events(spec, "metric")
    losses = [event["values"]["loss"] for event in metrics]
    return Figures([event["ts"] for event in metrics], losses, spec.train.optimization.batch_size)


def run_script(spec: WorkerSpec, script: str = "p1_plain_script") -> Figures:
    """Run a competitor's script of this folder."""
    path = tiny.write_spec(spec)
    command = [sys.executable, "-m", f"benchmarks.{script}", str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    printed = json.loads(done.stdout.splitlines()[-1])
    return Figures(printed["ends"], printed["losses"], spec.train.optimization.batch_size)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path)
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--fast-steps", type=int, default=100)
    return parser.parse_args()


def main() -> int:
    """Print the table; 0 when the floor holds."""
    arguments = _parse()
    with tempfile.TemporaryDirectory() as folder:
        return _compare(arguments, Path(folder))


def _compare(arguments: argparse.Namespace, root: Path) -> int:
    model = arguments.model or tiny.make_whisper(root / "model", **RANDOM_MODEL)
    clips = root / "clips.jsonl"
    if arguments.clips:
        fold_spaces(arguments.clips, clips)
    else:
        example_clips(clips, n_clips=BATCH * arguments.steps)

    def spec_of(side: str, mode: str, targets: str = "auto") -> WorkerSpec:
        n_steps = arguments.fast_steps if mode == "fast" else arguments.steps
        optimization = {"max_steps": n_steps, "batch_size": BATCH, "learning_rate": 1e-3, "mode": mode}
        evaluation = {"save_every_steps": 10**6, "every_steps": 10**6, "probe": False}
        spec = tiny.make_spec(
            root / side,
            model,
            clips,
            qlora={"target_modules": targets},
            optimization=optimization,
            evaluation=evaluation,
        )
        return spec.model_copy(update={"threads": arguments.threads})

    sides = {
        "ours": lambda: run_ours(spec_of("ours", "exact")),
        "plain": lambda: run_script(spec_of("plain", "exact")),
    }
    if arguments.fast:
        sides["fast"] = lambda: run_ours(spec_of("fast", "fast"))
        sides["decoder"] = lambda: run_ours(spec_of("decoder", "fast", "decoder"))
    found: dict[str, list[Figures]] = {side: [] for side in sides}
    print(
        f"samples/s, batch {BATCH}, {arguments.steps} steps ({arguments.fast_steps} fast), the first left out"
    )
    print(f"{'repeat':>6} " + " ".join(f"{side:>9}" for side in sides))
    for number in range(arguments.repeats):
        for side in sides if number % 2 else reversed(sides):
            found[side].append(sides[side]())
        print(f"{number + 1:>6} " + " ".join(f"{found[side][-1].rate:>9.3f}" for side in sides), flush=True)
    ours, plain = found["ours"][0].losses, found["plain"][0].losses
    gap = max(abs(a - b) for a, b in zip(ours, plain, strict=True))
    rates = {side: statistics.median(f.rate for f in figures) for side, figures in found.items()}
    print(f"losses, ours : {[round(x, 6) for x in ours]}")
    print(f"losses, plain: {[round(x, 6) for x in plain]}")
    ratio = rates["ours"] / rates["plain"]
    print(f"median ratio {ratio:.3f} (floor {FLOOR}); largest difference of losses {gap:.2e}")
    n_epoch = -(-len(clips.read_text().splitlines()) // BATCH)
    if arguments.fast and n_epoch + 1 < arguments.fast_steps:
        with_encoder = rates["decoder"]
        rates["decoder"] = statistics.median(f.rate_after(n_epoch) for f in found["decoder"])
        print(f"decoder: {with_encoder:.3f} samples/s over all steps, {rates['decoder']:.3f} after one epoch")
    for side, floor in FAST_FLOORS.items():
        if side in rates:
            print(f"{side}: {rates[side] / rates['plain']:.2f} times the plain script (floor {floor:g})")
    is_fast_enough = all(rates[s] / rates["plain"] >= f for s, f in FAST_FLOORS.items() if s in rates)
    return 0 if ratio >= FLOOR and gap <= LOSS_TOLERANCE and is_fast_enough else 1


if __name__ == "__main__":
    sys.exit(main())
