"""`python -m qlora_studio.training run SPEC` and `... validate SPEC`."""

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from qlora_studio.contracts.enums import TrainingType
from qlora_studio.contracts.spec import WorkerSpec
from qlora_studio.training import launching
from qlora_studio.training.attempt import PARTED, Attempt, let_me_die_first, read_spec, run_attempt
from qlora_studio.training.failures import TrainingFailure

_COMMANDS = {
    "run": "train",
    "rehearse": "try one step; prints JSON",
    "validate": "check without training; prints JSON",
}


def main() -> int:
    """Parse the command line and do it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="qlora_studio.training")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in _COMMANDS.items():
        commands.add_parser(name, help=text).add_argument("spec", type=Path)
    bound = "let allocations beyond so many bytes fail"
    commands.choices["rehearse"].add_argument("--memory", type=int, metavar="BYTES", help=bound)
    arguments = parser.parse_args()
    try:
        spec = read_spec(arguments.spec)
    except TrainingFailure as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if arguments.command == "rehearse":
        return _rehearse(spec, arguments.memory)
    return _run(spec) if arguments.command == "run" else _validate(spec)


def _run(spec: WorkerSpec) -> int:
    let_me_die_first()
    if spec.train.optimization.devices > 1:
        return launching.launch(spec)
    launching.take_card(spec)
    return run_rank(spec)


def run_rank(spec: WorkerSpec, rank: int = 0, size: int = 1) -> int:
    """Do one process's part of an attempt; returns the exit status.

    It is `PARTED` where the first process has nothing more to do before the others know: a stop before the
    first step. They are ended then.
    """
    met: list[Any] = []

    def body(attempt: Attempt) -> Any:
        # Heavy imports come after `started` and the first heartbeat, so that the job is seen to live.
        attempt.phase("imports", "Starting torch")
        from qlora_studio.training import models, validation

        validation.check_type(spec)
        device = models.choose_device(spec.device)
        if size == 1:
            return _run_of(spec)(attempt, device).run()
        from qlora_studio.training.ranks import Ranks

        models.refuse_several_devices(spec)
        meeting = spec.attempt_path / "launcher" / "ranks"
        met.append(Ranks(rank, size, meeting=meeting, device=device))
        return _run_of(spec)(attempt, device, met[0]).run()

    if rank:
        from qlora_studio.training import following

        following.silence_output()
        return following.follow(spec, body, rank, size)
    status = run_attempt(spec, body, device=spec.device, versions=_versions())
    return PARTED if size > 1 and status == 0 and not (met and met[0].has_parted) else status


def _run_of(spec: WorkerSpec) -> Any:
    """The class of the run: trying rates has its own."""
    if spec.train.optimization.scheduler == "range_test":
        from qlora_studio.training.range_test import RangeTest

        return RangeTest
    return _learner_of(spec)


def _learner_of(spec: WorkerSpec) -> Any:
    """The class of a run that learns: from pairs it has its own, which loads trl."""
    if spec.train.training_type is TrainingType.PREFERENCE:
        from qlora_studio.training.preference import PreferenceRun

        return PreferenceRun
    from qlora_studio.training.loop import TrainingRun

    return TrainingRun


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": sys.version.split()[0]}
    for name in ("qlora-studio", "torch", "transformers", "peft", "bitsandbytes", "accelerate", "trl"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def _rehearse(spec: WorkerSpec, memory_bytes: int | None) -> int:
    from qlora_studio.training import rehearsal

    let_me_die_first()
    launching.take_card(spec)
    rehearsal.bound_memory(memory_bytes)
    with contextlib.redirect_stdout(sys.stderr):
        report = rehearsal.rehearse(spec, _learner_of, _versions())
    print(report.model_dump_json(indent=2))
    return 0 if report.ok else 1


def _validate(spec: WorkerSpec) -> int:
    from qlora_studio.training.validation import validate

    report = validate(spec)
    print(json.dumps(report, indent=2))
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
