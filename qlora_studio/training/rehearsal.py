"""Trying a job before it runs: everything that it does over and over, once, on its longest clips.

It is the job itself, cut short: the model is loaded as the job loads it, two batches are learnt from, one is
measured, and checkpoint and adapter are saved, all into a folder that is thrown away. So it fails where the
job would fail, with the job's own sentence.
"""

import math
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qlora_studio.contracts.enums import ExitReason
from qlora_studio.contracts.events import ResultFile
from qlora_studio.contracts.rehearsal import RehearsalReport
from qlora_studio.contracts.spec import WorkerSpec
from qlora_studio.storage import checkpoints
from qlora_studio.training import failures
from qlora_studio.training.attempt import Attempt, run_attempt

if TYPE_CHECKING:
    from qlora_studio.training.loop import TrainingRun

FOLDER = "rehearsal"  # in the attempt's folder, while it lasts: the events are there
STEPS = 2  # the first also sets things up, so that the second one's time counts
DECODE_S = 60.0  # for looking at all clips
_NEVER = 10**6
_NICE = 5
_AT_BOUND = 0.9


def bound_memory(n_bytes: int | None) -> None:
    """Let allocations beyond so much fail in this process, before the machine has none left."""
    os.nice(_NICE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if n_bytes is not None:
        with suppress(ValueError, OSError):
            _, hard = resource.getrlimit(resource.RLIMIT_DATA)
            resource.setrlimit(resource.RLIMIT_DATA, (n_bytes, hard))


def is_at_bound(peak_rss_bytes: int | None) -> bool:
    """Whether so much is about all that `bound_memory` let this process have.

    A library that is refused memory may fail with any error, most of which do not say so.
    """
    bound, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return bound != resource.RLIM_INFINITY and (peak_rss_bytes or 0) >= _AT_BOUND * bound


def rehearse(
    spec: WorkerSpec, choose: Callable[[WorkerSpec], Any], versions: dict[str, str]
) -> RehearsalReport:
    """Try a job and say how it went. Nothing of it is left.

    Args:
        choose: gives the class of the run.
    """
    spec.attempt_path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=spec.attempt_path, prefix=".rehearsal-") as folder:
        (spec.attempt_path / FOLDER).unlink(missing_ok=True)
        (spec.attempt_path / FOLDER).symlink_to(folder)
        try:
            small = cut_short(spec, Path(folder))
            run_attempt(small, lambda attempt: _body(attempt, choose), device=spec.device, versions=versions)
            return _report(small)
        finally:
            (spec.attempt_path / FOLDER).unlink(missing_ok=True)


def cut_short(spec: WorkerSpec, folder: Path) -> WorkerSpec:
    """The job's spec for two steps of one device's share of a batch, in another folder."""
    optimization, n_devices = spec.train.optimization, spec.train.optimization.devices
    is_range_test = optimization.scheduler == "range_test"
    small = optimization.model_copy(
        update={
            "devices": 1,
            "batch_size": math.ceil(optimization.batch_size / n_devices),
            "gradient_accumulation": 1,
            "max_steps": STEPS,
            "epochs": None,
            "scheduler": "constant" if is_range_test else optimization.scheduler,
        }
    )
    looks = {"every_steps": _NEVER, "save_every_steps": _NEVER, "probe": False, "n_samples": 1}
    evaluation = spec.train.evaluation.model_copy(update=looks)
    train = spec.train.model_copy(update={"optimization": small, "evaluation": evaluation})
    paths = {"run_path": folder, "attempt_path": folder, "resume": False}
    return spec.model_copy(update={"train": train, **paths})


def _body(attempt: Attempt, choose: Callable[[WorkerSpec], Any]) -> ResultFile:
    attempt.phase("imports", "Starting torch")
    from qlora_studio.training import models, validation

    validation.check_type(attempt.spec)
    run = choose(attempt.spec)(attempt, models.choose_device(attempt.spec.device))
    return run.rehearse()


def try_steps(run: "TrainingRun") -> ResultFile:
    """Train a run for its few steps on the longest clips, measure, save, and read all clips.

    Returns:
        A result whose `extra["rehearsal"]` tells what it took.
    """
    run.prepare()
    every, attempt = run.list_clips(), run.attempt
    run.keep_longest(run.train.optimization.batch_size)
    trainer = run.make_trainer()
    took: list[float] = []
    after_step = trainer._after_step

    def note_time(step: int, values: dict[str, float]) -> bool:
        took.append(values["step_s"])
        return after_step(step, values)

    trainer._after_step = note_time
    attempt.phase("training", "Trying a step on the longest clips")
    run.make_steps(trainer, None)
    run.reporter.checkpoints.wait()
    attempt.stop.raise_if_requested()
    attempt.phase("saving", "Saving the result")
    run.save_result(trainer.state.global_step)
    attempt.phase("data", "Reading all clips")
    n_read = read_all(every, run.store.check, attempt.stop.raise_if_requested)
    found = {"step_s": took[-1], "evaluation_s": run.reporter.evaluation_s, "device": run.device}
    found |= {"n_clips": len(every), "n_clips_read": n_read}
    return ResultFile(reason=ExitReason.OK, step=len(took), extra={"rehearsal": found})


def longest(clips: Sequence[Any], n: int, length_of: Callable[[Any], float]) -> list[Any]:
    """The `n` longest of some clips or pairs."""
    return sorted(clips, key=length_of, reverse=True)[:n]


def read_all(clips: Sequence[Any], read: Callable[[Any], object], check: Callable[[], None]) -> int:
    """Decode clips until all are read or the time for it is over; returns how many were.

    Raises:
        BadData: one cannot be decoded; the sentence names it.
        StopRequested: through `check`.
    """
    deadline = time.monotonic() + DECODE_S
    for n_read, clip in enumerate(clips):
        if time.monotonic() > deadline:
            return n_read
        check()
        read(clip)
    return len(clips)


def _report(spec: WorkerSpec) -> RehearsalReport:
    try:
        result = ResultFile.model_validate_json((spec.attempt_path / "result.json").read_bytes())
    except (OSError, ValueError):
        message = "The disk is full: not even the outcome could be written. Free some space first."
        return RehearsalReport(ok=False, reason=ExitReason.DISK_FULL, message=message)
    saved = [path for _, path in checkpoints.list_whole(spec.run_path / "checkpoints")]
    is_ok = result.reason is ExitReason.OK
    reason, message = result.reason, "One step works." if is_ok else result.message
    if reason is ExitReason.INTERNAL and is_at_bound(result.peak_rss_bytes):
        reason, message = ExitReason.OOM_HOST, failures.advice(ExitReason.OOM_HOST)
    return RehearsalReport(
        ok=is_ok,
        reason=reason,
        message=message,
        peak_rss_bytes=result.peak_rss_bytes,
        peak_gpu_bytes=result.peak_gpu_bytes,
        checkpoint_bytes=_size(saved[0]) if saved else None,
        result_bytes=_size(spec.run_path / "adapter") + _size(spec.run_path / "model") if is_ok else None,
        **result.extra.get("rehearsal", {}),
    )


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
