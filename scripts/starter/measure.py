"""Fine-tune the starter model on the example dataset as a user would, and say what it brought.

    python -m scripts.starter.measure [--work FOLDER] [--threads 2]

An ordinary QLoRA job of this project: the numbers are what the worker reports for the 96 held-out clips.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import soundfile as sf

from qlora_studio.contracts.enums import Split, Task
from qlora_studio.contracts.events import ResultFile
from qlora_studio.contracts.spec import (
    ClipItem,
    EvaluationSpec,
    OptimizationSpec,
    QLoraSpec,
    TrainSpec,
    WorkerSpec,
)
from qlora_studio.examples.catalog import example_dataset_path, starter_model_path

RECIPE = OptimizationSpec(learning_rate=3e-3, batch_size=4, epochs=8, warmup_ratio=0.1, seed=0)


@dataclass(frozen=True)
class Gain:
    """What fine-tuning did to the held-out clips. Error rates are fractions."""

    base_wer: float
    base_cer: float
    wer: float
    cer: float
    took_s: float
    steps: int

    @property
    def fall(self) -> float:
        """Relative fall of the word error rate."""
        return 1 - self.wer / self.base_wer


def write_clips(target: Path) -> Path:
    """Write the example dataset as the `clips.jsonl` of a run; return its path."""
    dataset = example_dataset_path()
    with (dataset / "metadata.csv").open(encoding="utf-8", newline="") as file:
        items = [
            ClipItem(
                id=Path(row["file_name"]).stem,
                path=str(dataset / row["file_name"]),
                duration_s=sf.info(dataset / row["file_name"]).duration,
                text=row["text"],
                split=Split(row["split"]),
            )
            for row in csv.DictReader(file)
        ]
    target.write_text("\n".join(item.model_dump_json() for item in items) + "\n", encoding="utf-8")
    return target


def fine_tune(model: Path, work: Path, *, recipe: OptimizationSpec = RECIPE, threads: int = 2) -> Gain:
    """Run one QLoRA job (NF4, rank 16, every linear layer) on the example dataset.

    Raises:
        subprocess.CalledProcessError: The worker failed; its log is on the terminal.
    """
    attempt = work / "attempt"
    attempt.mkdir(parents=True)
    spec = WorkerSpec(
        job_id="measure",
        task=Task.SPEECH_TO_TEXT,
        train=TrainSpec(
            name="Starter on English prompts",
            dataset_id="prompts-en",
            model_id="starter-asr",
            qlora=QLoraSpec(target_modules="all-linear"),
            optimization=recipe,
            evaluation=EvaluationSpec(metric="wer"),
        ),
        model_path=model,
        clips_path=write_clips(work / "clips.jsonl"),
        run_path=work,
        attempt_path=attempt,
        threads=threads,
    )
    path = attempt / "spec.json"
    path.write_text(spec.model_dump_json(indent=2), encoding="utf-8")
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "qlora_studio.training", "run", str(path)], check=True)
    took_s = time.monotonic() - started
    result = ResultFile.model_validate_json((attempt / "result.json").read_text(encoding="utf-8"))
    base, tuned = result.base_metrics, result.metrics
    return Gain(
        base_wer=base["wer"] or 0.0,
        base_cer=base["cer"] or 0.0,
        wer=tuned["wer"] or 0.0,
        cer=tuned["cer"] or 0.0,
        took_s=took_s,
        steps=result.step,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Fine-tune the starter model once.")
    parser.add_argument("--work", type=Path, help="an empty folder for the run (default: a temporary one)")
    parser.add_argument("--model", type=Path, default=starter_model_path())
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        gain = fine_tune(args.model, args.work or Path(folder) / "run", threads=args.threads)
    print(
        f"word error rate {gain.base_wer:.1%} -> {gain.wer:.1%} (down {gain.fall:.0%}), character error rate "
        f"{gain.base_cer:.1%} -> {gain.cer:.1%}, {gain.steps} steps, {gain.took_s:.0f} s with start and "
        f"evaluations"
    )


if __name__ == "__main__":
    main()
