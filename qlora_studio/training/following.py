"""An attempt in a process that is not the job's first: it trains along and reports nothing."""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from qlora_studio.contracts.enums import ExitReason
from qlora_studio.contracts.spec import WorkerSpec
from qlora_studio.storage import atomic
from qlora_studio.training.attempt import PARTED, Attempt
from qlora_studio.training.failures import RanksParted, diagnose


class RankFailure(BaseModel):
    """`rank-N.json`: why a process that reports nothing itself has failed."""

    reason: ExitReason
    message: str
    step: int = 0


def failure_path(attempt_path: Path, rank: int) -> Path:
    """Where a process leaves its `RankFailure`."""
    return attempt_path / f"rank-{rank}.json"


def read_failure(attempt_path: Path, n_ranks: int) -> RankFailure | None:
    """Return what the first process that failed has left, if any did."""
    found = []
    for rank in range(n_ranks):
        path = failure_path(attempt_path, rank)
        try:
            found.append((path.stat().st_mtime_ns, RankFailure.model_validate_json(path.read_bytes())))
        except (OSError, ValidationError):
            continue
    return min(found, key=lambda item: item[0])[1] if found else None


class _Silence:
    """Takes the place of the event stream, the heartbeat and the wish to stop."""

    step = 0

    def emit(self, *_: Any, **__: Any) -> None:
        """Nothing: the first process reports."""

    metric = emit

    def is_requested(self) -> bool:
        """False: the first process says when it is over."""
        return False

    def raise_if_requested(self) -> None:
        """Nothing, for the same reason."""


class _Follower(Attempt):
    def warn(self, code: str, message: str) -> None:
        """Nothing: the first process warns of the same."""


def follow(spec: WorkerSpec, body: Callable[[Attempt], Any], rank: int, size: int) -> int:
    """Run `body` beside the job's first process; returns the exit status."""
    silence: Any = _Silence()
    attempt = _Follower(spec, silence, silence, silence)
    try:
        body(attempt)
    except RanksParted:
        # The first process may have ended in order, as it does when it is stopped before the first step.
        return 0 if (spec.attempt_path / "result.json").exists() else PARTED
    except Exception as error:
        traceback.print_exc()
        reason, message = diagnose(error)
        print(f"error (process {rank + 1} of {size}): {message}", file=sys.stderr, flush=True)
        failure = RankFailure(reason=reason, message=message, step=silence.step)
        atomic.write_text(failure_path(spec.attempt_path, rank), failure.model_dump_json() + "\n")
        return 1
    return 0


def silence_output() -> None:
    """Send standard output nowhere; standard error still reaches the log."""
    sys.stdout.flush()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
