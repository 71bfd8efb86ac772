"""Build the starter model from nothing: synthetic speech, pre-training, half the bytes, model card.

    apt install espeak-ng flite
    python -m scripts.starter.build --work FOLDER

The training itself is an ordinary pre-training job of this project: the same worker, the same protocol, as a
user's job. `FOLDER` keeps the speech and the run (about 1 GB); a second call goes on from there.
`docs/starter-model.md` has the figures of the model that is shipped.
"""

import argparse
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

from qlora_studio.contracts.enums import Split, Task, TrainingType
from qlora_studio.contracts.events import ResultFile
from qlora_studio.contracts.spec import (
    ClipItem,
    EvaluationSpec,
    OptimizationSpec,
    TrainSpec,
    WorkerSpec,
)
from qlora_studio.examples.catalog import STARTER_MODEL
from scripts.starter.blueprint import write_blueprint
from scripts.starter.card import write_card
from scripts.starter.measure import fine_tune
from scripts.starter.speech import make_speech

N_CLIPS, N_VALIDATION = 14_000, 120
# Small batches: what a CTC model needs first is many steps.
OPTIMIZATION = OptimizationSpec(
    learning_rate=2e-3,
    batch_size=10,
    max_steps=6_500,
    scheduler="linear",
    warmup_ratio=0.05,
    weight_decay=0.01,
    max_grad_norm=1.0,
    seed=2026,
    mode="fast",
)
# Regularisation that the shipped configuration asks for, so that fine-tuning does not learn by heart.
FINE_TUNING = {
    "hidden_dropout": 0.05,
    "conformer_conv_dropout": 0.05,
    "final_dropout": 0.05,
    "mask_time_prob": 0.05,
}
EVALUATION = EvaluationSpec(every_steps=500, save_every_steps=500, metric="wer", n_samples=5)


def write_spec(work: Path, clips_path: Path, *, max_steps: int, threads: int) -> Path:
    """Write the job's `spec.json`; a run that was broken off is resumed.

    Returns:
        Its path.
    """
    run, attempt = work / "run", work / "run" / "attempt"
    attempt.mkdir(parents=True, exist_ok=True)
    spec = WorkerSpec(
        job_id="starter",
        task=Task.SPEECH_TO_TEXT,
        train=TrainSpec(
            name="Starter speech recogniser",
            dataset_id="synthetic-speech",
            model_id="starter-blueprint",
            training_type=TrainingType.PRETRAINING,
            optimization=OPTIMIZATION.model_copy(update={"max_steps": max_steps}),
            evaluation=EVALUATION,
        ),
        model_path=work / "blueprint",
        clips_path=clips_path,
        run_path=run,
        attempt_path=attempt,
        resume=(run / "checkpoints").is_dir(),
        threads=threads,
        device="auto",
    )
    path = attempt / "spec.json"
    path.write_text(spec.model_dump_json(indent=2), encoding="utf-8")
    return path


def pretrain(spec_path: Path) -> ResultFile:
    """Run the project's training worker on the spec.

    Raises:
        subprocess.CalledProcessError: The worker failed; its log is on the terminal.
    """
    subprocess.run([sys.executable, "-m", "qlora_studio.training", "run", str(spec_path)], check=True)
    return ResultFile.model_validate_json((spec_path.parent / "result.json").read_text(encoding="utf-8"))


def halve(source: Path, target: Path) -> None:
    """Store float32 weights as float16; `config.json` keeps float32, so that loading widens them again."""
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(source)
    halves = {
        name: tensor.to(torch.float16) if tensor.dtype is torch.float32 else tensor
        for name, tensor in weights.items()
    }
    save_file(halves, target, metadata={"format": "pt"})


def count_parameters(model: Path) -> int:
    """Number of weights in a model folder."""
    from safetensors import safe_open

    with safe_open(model / "model.safetensors", framework="numpy") as weights:
        return sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118


def install(model: Path, target: Path) -> None:
    """Put the trained model in the package: configuration, processor, halved weights.

    Regularisation is switched on only now, for fine-tuning on few clips: pre-training sees too few epochs to
    need it.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in ("processor_config.json", "tokenizer_config.json", "vocab.json"):
        shutil.copyfile(model / name, target / name)
    config = json.loads((model / "config.json").read_text(encoding="utf-8")) | FINE_TUNING
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    halve(model / "model.safetensors", target / "model.safetensors")


def describe(work: Path, target: Path, result: ResultFile, *, threads: int) -> None:
    """Fine-tune the installed model once and write its card with the figures."""
    import tempfile

    clips = [
        ClipItem.model_validate_json(line)
        for line in (work / "speech" / "clips.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    spoken = [clip for clip in clips if clip.split is Split.TRAIN]
    with tempfile.TemporaryDirectory(dir=work) as folder:
        gain = fine_tune(target, Path(folder) / "run", threads=threads)
    write_card(
        target / "README.md",
        result,
        gain,
        n_clips=len(spoken),
        hours=sum(clip.duration_s for clip in spoken) / 3600,
        millions=count_parameters(target) / 1e6,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the starter model.")
    parser.add_argument("--work", type=Path, required=True, help="folder for speech and run")
    parser.add_argument("--clips", type=int, default=N_CLIPS)
    parser.add_argument("--steps", type=int, default=OPTIMIZATION.max_steps)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--target", type=Path, default=STARTER_MODEL.path)
    args = parser.parse_args()
    work: Path = args.work.resolve()
    clips_path = work / "speech" / "clips.jsonl"
    if not clips_path.exists():
        make_speech(work / "speech", n_clips=args.clips, n_validation=N_VALIDATION, processes=args.threads)
    write_blueprint(work / "blueprint")
    spec_path = write_spec(work, clips_path, max_steps=args.steps, threads=args.threads)
    result = pretrain(spec_path)
    install(work / "run" / "model", args.target)
    describe(work, args.target, result, threads=args.threads)
    print(f"{args.target}: {sum(path.stat().st_size for path in args.target.iterdir()) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
