"""P4: what a metric point costs the training thread, against TensorBoard's SummaryWriter.

    python -m benchmarks.p4_metric_cost

Both sides log the same steps of five numbers, alternated, on the same disk. Ends with 1 above the floor.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from qlora_studio.training.events import SYNC_EVERY_S, EventWriter

FLOOR = 0.5
AIM = 0.05
ROUNDS = 7
STEPS = 4_000
KEYS = ("loss", "learning_rate", "grad_norm", "samples_per_s", "audio_s_per_s")


def _values(step: int) -> dict[str, float]:
    return {key: 1.0 / (step + 1) + index for index, key in enumerate(KEYS)}


def _per_point(log_step: Callable[[int, dict[str, float]], None]) -> float:
    """Microseconds a number, in the calling thread."""
    steps = [_values(step) for step in range(STEPS)]
    started = time.perf_counter()
    for step, values in enumerate(steps):
        log_step(step, values)
    return (time.perf_counter() - started) / (STEPS * len(KEYS)) * 1e6


def _ours(folder: Path) -> float:
    with EventWriter(folder / "events.jsonl") as events:
        return _per_point(events.metric)


def _tensorboard(folder: Path) -> float:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(folder) as writer:

        def log_step(step: int, values: dict[str, float]) -> None:
            for key, value in values.items():
                writer.add_scalar(key, value, step)

        return _per_point(log_step)


def main() -> int:
    """Print the table; 0 when the ratio is within the floor."""
    ours, theirs = [], []
    print(f"{ROUNDS} rounds of {STEPS} steps of {len(KEYS)} numbers; microseconds a number, training thread")
    print(f"{'round':>5} {'ours':>8} {'tensorboard':>12} {'ratio':>7}")
    for number in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            ours.append(_ours(Path(folder)))
        with tempfile.TemporaryDirectory() as folder:
            theirs.append(_tensorboard(Path(folder)))
        print(f"{number + 1:>5} {ours[-1]:>8.2f} {theirs[-1]:>12.2f} {ours[-1] / theirs[-1]:>7.3f}")
    ratio = statistics.median(ours) / statistics.median(theirs)
    print(f"median ratio {ratio:.3f} (floor {FLOOR}, aim {AIM}); synced to disk every {SYNC_EVERY_S} s")
    return 0 if ratio <= FLOOR else 1


if __name__ == "__main__":
    sys.exit(main())
