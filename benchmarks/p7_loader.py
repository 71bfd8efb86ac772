"""P7: batches a second with cached features against features on the fly.

    python -m benchmarks.p7_loader [--model FOLDER] [--clips JSONL] [--repeats 5]

Both sides make the same batches of 8 of the same clips, in the standard 30 s window: ours from the feature
store after its first epoch, theirs as the plain script of P1 does, by decoding, resampling and transforming
each time. Ends with 1 below the floor, or when a batch differs.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import soundfile
import soxr
import torch

from benchmarks.p1_throughput import RANDOM_MODEL, example_clips
from qlora_studio.contracts.spec import ClipItem
from qlora_studio.training import families
from qlora_studio.training.feature_store import FeatureStore
from qlora_studio.training.tasks.whisper import WhisperTask
from tests.training import tiny

FLOOR, AIM = 3.0, 10.0
BATCH_SIZE = 8


def _on_the_fly(task: WhisperTask, clips: list[ClipItem]) -> Any:
    waves = []
    for clip in clips:
        samples, rate = soundfile.read(clip.path, dtype="float32")
        waves.append(samples if rate == 16_000 else soxr.resample(samples, rate, 16_000))
    found = task.processor.feature_extractor(waves, sampling_rate=16_000, return_tensors="pt")
    labels = [torch.tensor(task.encode(clip.text or "")) for clip in clips]
    padded = torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-100)
    return {"input_features": found.input_features, "labels": padded}


def _rate(make: Callable[[list[ClipItem]], Any], batches: list[list[ClipItem]]) -> float:
    started = time.perf_counter()
    for batch in batches:
        make(batch)
    return len(batches) / (time.perf_counter() - started)


def main() -> int:
    """Print the table; 0 when the floor holds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path)
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model = arguments.model or tiny.make_whisper(root / "model", **RANDOM_MODEL)
        clips = tiny.read_clips(arguments.clips or example_clips(root / "clips.jsonl", n_clips=160))
        task = WhisperTask(model, families.read_config(model))
        store = FeatureStore(task)
        batches = [clips[i : i + BATCH_SIZE] for i in range(0, len(clips) - BATCH_SIZE + 1, BATCH_SIZE)]
        gap = max(_difference(store.batch(batch), _on_the_fly(task, batch)) for batch in batches)
        print(f"batches/s of {BATCH_SIZE} clips, {len(clips)} clips")
        print(f"{'repeat':>6} {'cached':>9} {'on the fly':>11}")
        ours, theirs = [], []
        for number in range(arguments.repeats):
            ours.append(_rate(store.batch, batches))
            theirs.append(_rate(lambda batch: _on_the_fly(task, batch), batches))
            print(f"{number + 1:>6} {ours[-1]:>9.1f} {theirs[-1]:>11.1f}", flush=True)
    ratio = statistics.median(ours) / statistics.median(theirs)
    print(
        f"median ratio {ratio:.1f} (floor {FLOOR:g}, aim {AIM:g}); largest difference of features {gap:.1e}"
    )
    return 0 if ratio >= FLOOR and gap == 0 else 1


def _difference(ours: Any, theirs: Any) -> float:
    assert torch.equal(ours["labels"], theirs["labels"])
    return float((ours["input_features"] - theirs["input_features"]).abs().max())


if __name__ == "__main__":
    sys.exit(main())
