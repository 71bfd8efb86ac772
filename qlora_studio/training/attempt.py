"""One attempt at a job, from `started` to `result.json`: what the toy and the real worker share."""

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from qlora_studio.contracts.enums import ExitReason
from qlora_studio.contracts.events import EXIT_DISK_FULL, ResultFile
from qlora_studio.contracts.spec import PROTOCOL_VERSION, WorkerSpec
from qlora_studio.storage import atomic, checkpoints
from qlora_studio.training.events import EventWriter
from qlora_studio.training.failures import (
    BadData,
    DiskFull,
    RanksParted,
    TrainingFailure,
    diagnose,
    is_disk_full,
)
from qlora_studio.training.heartbeat import Heartbeat, peak_gpu_bytes
from qlora_studio.training.stopping import StopRequest, StopRequested

PARTED = 77  # exit status of one of several processes that another one left
_OOM_SCORE = "600"  # of 1000: the inference process has 800 and goes before, the server 0
_RESERVE = ".reserve"
_RESERVE_BYTES = 256 * 1024
_LEAVE_LAST_S = 1.0  # so that the launcher sees first who ended first


class Attempt:
    """The worker's hands: its spec, its event stream, its heartbeat and the request to stop."""

    def __init__(
        self, spec: WorkerSpec, events: EventWriter, heartbeat: Heartbeat, stop: StopRequest
    ) -> None:
        self.spec = spec
        self.events = events
        self.heartbeat = heartbeat
        self.stop = stop

    @property
    def checkpoints_path(self) -> Path:
        return self.spec.run_path / "checkpoints"

    @property
    def adapter_path(self) -> Path:
        return self.spec.run_path / "adapter"

    def phase(self, name: str, label: str) -> None:
        """Announce a stretch of work, after looking whether to stop before it."""
        self.stop.raise_if_requested()
        self.events.emit("phase", name=name, label=label)

    def warn(self, code: str, message: str) -> None:
        """Tell the user something that does not end the run."""
        print(f"warning: {message}", file=sys.stderr, flush=True)
        self.events.emit("warning", code=code, message=message)


def let_me_die_first() -> None:
    """Let the kernel choose the job before the server when memory ends: a job can be resumed."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)


def read_spec(path: Path) -> WorkerSpec:
    """Read and check `spec.json`.

    Raises:
        BadData: the file is not there, not a spec, or of a newer protocol.
    """
    try:
        spec = WorkerSpec.model_validate_json(path.read_text())
    except (OSError, ValueError) as error:
        raise BadData(f"The job's spec cannot be read: {type(error).__name__}.") from error
    if spec.v > PROTOCOL_VERSION:
        raise BadData("This job was written by a newer version of QLoRA Studio.")
    return spec


def run_attempt(
    spec: WorkerSpec, body: Callable[[Attempt], ResultFile], *, device: str, versions: dict[str, str]
) -> int:
    """Run `body` as one attempt and record how it ended.

    Returns:
        The process's exit status: 0 after `ok` or `user_stop`, 1 otherwise. The reason is in `result.json`;
        without that file an attempt is never a success. `EXIT_DISK_FULL` where there is no room for the file.
        `PARTED` where another of the job's processes ended: then the launcher says how, and nothing is
        recorded here.
    """
    try:
        return _run(spec, body, device, versions)
    except OSError as error:
        if not is_disk_full(error):
            raise
        print("error: the disk is full; not even the result could be written", file=sys.stderr, flush=True)
        return EXIT_DISK_FULL


def _run(
    spec: WorkerSpec, body: Callable[[Attempt], ResultFile], device: str, versions: dict[str, str]
) -> int:
    spec.attempt_path.mkdir(parents=True, exist_ok=True)
    stop = StopRequest(spec.attempt_path)
    n_processes = spec.train.optimization.devices
    if n_processes == 1:  # to several, SIGTERM says that one of them has failed
        stop.listen_for_sigterm()
    with EventWriter(spec.attempt_path / "events.jsonl") as events:
        events.emit("started", pid=os.getpid(), device=device, versions=versions)  # before any heartbeat
        with Heartbeat(events, spec.run_path, n_processes=n_processes, cards=spec.cards) as heartbeat:
            try:
                result = _outcome(Attempt(spec, events, heartbeat, stop), body)
            except RanksParted as error:
                print(f"error: another process of this job ended ({error})", file=sys.stderr, flush=True)
                time.sleep(_LEAVE_LAST_S)
                return PARTED
            result.peak_rss_bytes = heartbeat.peak_rss_bytes or None
            result.peak_gpu_bytes = peak_gpu_bytes()
            give_back_reserve(spec.attempt_path)
            _record(spec, events, result)
    return 0 if result.reason in (ExitReason.OK, ExitReason.USER_STOP) else 1


def _reserve_space(folder: Path) -> None:
    """Hold a little disk space, given back before the result is written: also a full disk is reported.

    Raises:
        DiskFull: there is not even that much.
    """
    try:
        (folder / _RESERVE).write_bytes(b"\0" * _RESERVE_BYTES)
    except OSError as error:
        give_back_reserve(folder)
        if is_disk_full(error):
            raise DiskFull("The disk is full. Free some space, then start it again.") from None
        raise


def give_back_reserve(folder: Path) -> None:
    """Free the space that an attempt holds for its result."""
    (folder / _RESERVE).unlink(missing_ok=True)


def _outcome(attempt: Attempt, body: Callable[[Attempt], ResultFile]) -> ResultFile:
    try:
        _reserve_space(attempt.spec.attempt_path)
        return body(attempt)
    except StopRequested:
        return _stopped_early(attempt)
    except RanksParted:
        raise
    except Exception as error:
        if not isinstance(error, TrainingFailure) or error.__cause__ is not None:
            traceback.print_exc()
        reason, message = diagnose(error)
        print(f"error: {message}", file=sys.stderr, flush=True)
        attempt.events.emit("error", reason=reason, message=message)
        return ResultFile(reason=reason, message=message, step=attempt.heartbeat.step)


def _stopped_early(attempt: Attempt) -> ResultFile:
    """The result of an attempt that was stopped before it made a step."""
    message, step = "Stopped before the first step; there is no adapter yet.", 0
    kept = checkpoints.list_steps(attempt.checkpoints_path)
    if kept:
        step = kept[-1][0]
        message = f"Stopped before it went on; what was reached by step {step} is kept. Resume to go on."
    return ResultFile(reason=ExitReason.USER_STOP, message=message, step=step)


def _record(spec: WorkerSpec, events: EventWriter, result: ResultFile) -> None:
    """Write `finished`, then `result.json` last: whoever sees the result has all events before it."""
    events.emit("finished", reason=result.reason)
    events.sync()
    atomic.write_text(spec.attempt_path / "result.json", result.model_dump_json(indent=2) + "\n")
