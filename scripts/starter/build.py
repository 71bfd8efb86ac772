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
from collections.abc import Mapping
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Stage:
    """One pre-training job.

    Attributes:
        name: Of its folder.
        optimization: As in any job.
        max_duration_s: Longer clips are left out.
        espeak_every: Of the rule-based voices, one clip in so many.
        config: What is changed in the model's configuration before the job.
    """

    name: str
    optimization: OptimizationSpec
    max_duration_s: float
    espeak_every: int
    config: Mapping[str, float] = field(default_factory=dict)

    def uses(self, clip: ClipItem) -> bool:
        """Whether a clip is trained on or measured on in this stage."""
        is_rule_based = (clip.speaker or "").startswith("espeak-ng")
        return clip.duration_s <= self.max_duration_s and not (
            is_rule_based and int(clip.id) % self.espeak_every
        )


# 36 clips a step: short clips, whose gradients are noisy, have to agree on a direction.
_FIRST = OptimizationSpec(
    learning_rate=1.2e-3,
    batch_size=36,
    max_steps=3_000,
    scheduler="linear",
    warmup_ratio=0.07,
    weight_decay=0.01,
    max_grad_norm=1.0,
    seed=2026,
    mode="fast",
)
# What keeps a model from learning its clips by heart: while it is trained further, and in what is shipped.
_FORGETFUL = {
    "hidden_dropout": 0.1,
    "conformer_conv_dropout": 0.1,
    "final_dropout": 0.1,
    "mask_time_prob": 0.15,
    "mask_feature_prob": 0.05,
}
_SHIPPED = {
    "hidden_dropout": 0.05,
    "conformer_conv_dropout": 0.05,
    "final_dropout": 0.05,
    "mask_time_prob": 0.05,
    "mask_feature_prob": 0.0,
}
_AGAIN = _FIRST.model_copy(update={"learning_rate": 8e-4, "max_steps": 1_000, "warmup_ratio": 0.05})
STAGES = (
    # Short clips and few machine voices until it writes; without any masking, which would cost it steps.
    Stage("first", _FIRST, max_duration_s=5.0, espeak_every=2),
    # Then everything, three times: each time the learning rate falls to nothing, and what is left is kept.
    Stage("second", _AGAIN, max_duration_s=6.0, espeak_every=1, config=_FORGETFUL),
    Stage(
        "third",
        _AGAIN.model_copy(update={"seed": 2027}),
        max_duration_s=6.0,
        espeak_every=1,
        config=_FORGETFUL,
    ),
    Stage(
        "fourth",
        _AGAIN.model_copy(update={"seed": 2028, "max_steps": 3_000}),
        max_duration_s=6.0,
        espeak_every=1,
        config=_FORGETFUL,
    ),
)
EVALUATION = EvaluationSpec(every_steps=500, save_every_steps=250, metric="wer", n_samples=5)


def write_spec(work: Path, stage: Stage, model: Path, *, threads: int) -> Path:
    """Write the stage's clips and `spec.json`; a run that was broken off is resumed.

    Returns:
        The path of the spec.
    """
    run = work / stage.name
    attempt = run / "attempt"
    attempt.mkdir(parents=True, exist_ok=True)
    clips_path = run / "clips.jsonl"
    lines = [clip.model_dump_json() for clip in read_clips(work) if stage.uses(clip)]
    clips_path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    spec = WorkerSpec(
        job_id=f"starter-{stage.name}",
        task=Task.SPEECH_TO_TEXT,
        train=TrainSpec(
            name=f"Starter speech recogniser, {stage.name} stage",
            dataset_id="synthetic-speech",
            model_id="starter-asr",
            training_type=TrainingType.PRETRAINING,
            optimization=stage.optimization,
            evaluation=EVALUATION,
        ),
        model_path=model,
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


def read_clips(work: Path) -> list[ClipItem]:
    """All synthetic clips."""
    lines = (work / "speech" / "clips.jsonl").read_text(encoding="utf-8").splitlines()
    return [ClipItem.model_validate_json(line) for line in lines]


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
    target.chmod(0o644)


def count_parameters(model: Path) -> int:
    """Number of weights in a model folder."""
    from safetensors import safe_open

    with safe_open(model / "model.safetensors", framework="numpy") as weights:
        return sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118


def change_config(model: Path, changes: Mapping[str, float]) -> None:
    """Change entries of a model folder's `config.json`."""
    path = model / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | dict(changes)
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def train_all(work: Path, *, threads: int) -> ResultFile:
    """Run the stages one after the other, each from the model of the one before; skip those that are done."""
    model = work / "blueprint"
    write_blueprint(model)
    for stage in STAGES:
        change_config(model, stage.config)
        done = work / stage.name / "attempt" / "result.json"
        if not done.exists():
            pretrain(write_spec(work, stage, model, threads=threads))
        model = work / stage.name / "model"
    return ResultFile.model_validate_json(done.read_text(encoding="utf-8"))


def install(model: Path, target: Path) -> None:
    """Put the trained model in the package: configuration, processor, halved weights."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in ("config.json", "processor_config.json", "tokenizer_config.json", "vocab.json"):
        shutil.copyfile(model / name, target / name)
    change_config(target, _SHIPPED)
    halve(model / "model.safetensors", target / "model.safetensors")


def describe(work: Path, target: Path, result: ResultFile, *, threads: int) -> None:
    """Fine-tune the installed model once and write its card with the figures."""
    spoken = [clip for clip in read_clips(work) if clip.split is Split.TRAIN and STAGES[-1].uses(clip)]
    run = work / "measured"
    shutil.rmtree(run, ignore_errors=True)
    write_card(
        target / "README.md",
        result,
        fine_tune(target, run, threads=threads),
        n_clips=len(spoken),
        hours=sum(clip.duration_s for clip in spoken) / 3600,
        n_steps=sum(stage.optimization.max_steps or 0 for stage in STAGES),
        millions=count_parameters(target) / 1e6,
        threads=threads,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the starter model.")
    parser.add_argument("--work", type=Path, required=True, help="folder for speech and runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--target", type=Path, default=STARTER_MODEL.path)
    args = parser.parse_args()
    work: Path = args.work.resolve()
    if not (work / "speech" / "clips.jsonl").exists():
        make_speech(work / "speech", n_clips=N_CLIPS, n_validation=N_VALIDATION, processes=args.threads)
    result = train_all(work, threads=args.threads)
    install(work / STAGES[-1].name / "model", args.target)
    describe(work, args.target, result, threads=args.threads)
    print(f"{args.target}: {sum(path.stat().st_size for path in args.target.iterdir()) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
