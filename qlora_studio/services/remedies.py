"""What may help after each way to fail: one sentence on a button, and what it changes."""

from dataclasses import dataclass, field
from math import ceil
from typing import Any, Literal

from qlora_studio.contracts.enums import ExitReason, JobStatus, TrainingType
from qlora_studio.contracts.spec import OptimizationSpec
from qlora_studio.db.models import Job
from qlora_studio.storage import checkpoints, layout

Kind = Literal["change", "resume", "restart", "open"]
MAX_ACCUMULATION = 1024
RATE_FACTOR = 3  # a loss that is no number mostly comes from a rate a few times too high


@dataclass(frozen=True)
class NextAction:
    """The one thing to do after a failure.

    `change` trains again with `changes` (in the form of a clone's), `resume` and `restart` queue the job's
    next attempt, which has a checkpoint to go on from or not, and `open` leads to `href`, for a person.
    """

    kind: Kind
    label: str
    changes: dict[str, Any] = field(default_factory=dict)
    href: str = ""


def find_next_action(job: Job) -> NextAction | None:
    """Return what to do after a failure; None for a job that has not failed.

    It may read a checkpoint of gigabytes in full: don't ask while holding the database's write lock.
    """
    found = find_kind(job)
    if found is None or found.kind != "resume":
        return found
    newest = checkpoints.find_newest_whole(layout.run_path(job.id) / "checkpoints")
    kind: Kind = "restart" if newest is None else "resume"
    label = "Start again" if newest is None else f"Resume from step {newest[0]:,}"
    if job.reason is ExitReason.DISK_FULL:
        label += ", once there is space"
    return NextAction(kind, label)


def find_kind(job: Job) -> NextAction | None:
    """Return what to do as far as the job's row tells; `resume` stands for `restart` too."""
    if job.status not in (JobStatus.FAILED, JobStatus.LOST):
        return None
    match job.reason:
        case ExitReason.OOM_CUDA | ExitReason.OOM_HOST:
            return _with_less_memory(job)
        case ExitReason.NAN_LOSS:
            return _with_lower_rate(job)
        case ExitReason.BAD_DATA:
            return NextAction("open", "Open the dataset", href=f"/datasets/{job.dataset_id}")
        case ExitReason.MODEL_LOAD:
            return NextAction("open", "Open the model", href=f"/models/{job.model_id}")
        case ExitReason.INTERNAL:
            return NextAction("open", "Read the log", href=f"/training/{job.id}?tab=logs")
        case _:  # a full disk, killed, hung, a restart of the machine, or nobody knows
            return NextAction("resume", "Resume")


def _with_lower_rate(job: Job) -> NextAction:
    rate = float(f"{_optimization(job).learning_rate / RATE_FACTOR:.2g}")
    return NextAction(
        "change",
        f"Train again at a learning rate of {rate:g}",
        {"optimization": {"learning_rate": rate}},
    )


def _with_less_memory(job: Job) -> NextAction:
    """Ask for less, what changes least of what is learnt first."""
    optimization = _optimization(job)
    half = optimization.batch_size // 2
    accumulation = ceil(optimization.batch_size * optimization.gradient_accumulation / max(1, half))
    if half >= optimization.devices and accumulation <= MAX_ACCUMULATION:
        return NextAction(
            "change",
            f"Halve the batch to {half} and accumulate {accumulation}",
            {"optimization": {"batch_size": half, "gradient_accumulation": accumulation}},
        )
    if not optimization.gradient_checkpointing:
        changes: dict[str, Any] = {"gradient_checkpointing": True}
        return NextAction("change", "Train again with gradient checkpointing", {"optimization": changes})
    if optimization.mode == "exact":
        return NextAction(
            "change", "Train again in windows as short as the clips", {"optimization": {"mode": "fast"}}
        )
    if job.training_type is TrainingType.LORA:
        changes = {"training_type": TrainingType.QLORA.value, "qlora": {"bits": 4}}
        return NextAction("change", "Train again with the base in 4 bits", changes)
    return NextAction("open", "Choose a smaller model", href=f"/training/new?clone={job.id}")


def _optimization(job: Job) -> OptimizationSpec:
    return OptimizationSpec.model_validate(job.spec.get("optimization", {}))
