"""How an attempt ended, told from its records alone. An end without a record is never a success."""

import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from qlora_studio.contracts.enums import ExitReason, JobStatus, StopMode
from qlora_studio.contracts.events import EXIT_DISK_FULL, ErrorEvent, ExitFile, ResultFile
from qlora_studio.storage import atomic, checkpoints

_File = TypeVar("_File", ResultFile, ExitFile)
_SIGNAL_HINTS = {
    signal.SIGKILL: "Most often the machine ran out of memory.",
    signal.SIGSEGV: "A native library crashed.",
    signal.SIGBUS: "Most often the disk or the memory is full.",
}


@dataclass(frozen=True)
class Outcome:
    """The final state of a job and the sentence that explains it."""

    status: JobStatus
    reason: ExitReason | None
    message: str


@dataclass(frozen=True)
class Records:
    """What an attempt left: `result.json`, `exit.json`, `stop.json`, its last error event.

    `checkpoints_path` is the folder with those of this attempt and earlier ones. It is looked into only where
    the answer is told: a checkpoint may have gigabytes, and reading them keeps all other jobs waiting.
    """

    result: ResultFile | None = None
    exit: ExitFile | None = None
    stop: StopMode | None = None
    error: ErrorEvent | None = None
    is_rebooted: bool = False
    is_restored: bool = False
    checkpoints_path: Path | None = None

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is one to go on from."""
        path = self.checkpoints_path
        return path is not None and checkpoints.find_newest_whole(path) is not None

    @property
    def what_resuming_does(self) -> str:
        if self.has_checkpoint:
            return "Resume goes on from the last checkpoint."
        return "There is no checkpoint yet: it can be started again from the beginning."


def read_records(
    attempt_path: Path,
    *,
    error: ErrorEvent | None = None,
    is_rebooted: bool = False,
    is_restored: bool = False,
) -> Records:
    """Read an attempt's records; one that is missing or can't be read is None."""
    return Records(
        result=_read(attempt_path / "result.json", ResultFile),
        exit=_read(attempt_path / "exit.json", ExitFile),
        stop=read_stop(attempt_path),
        error=error,
        is_rebooted=is_rebooted,
        is_restored=is_restored,
        checkpoints_path=attempt_path.parent / "checkpoints",
    )


def read_stop(attempt_path: Path) -> StopMode | None:
    """How the attempt was asked to stop; None when it was not."""
    try:
        text = (attempt_path / "stop.json").read_text()
    except OSError:
        return None
    return StopMode.KILL if '"kill"' in text else StopMode.SAVE


def write_stop(attempt_path: Path, mode: StopMode, *, grace_s: float | None = None) -> None:
    """Ask the attempt to stop. A kill is never taken back by a later save.

    Args:
        grace_s: how long it may take before it is ended by force, where that is longer than usual.
    """
    if read_stop(attempt_path) is StopMode.KILL:
        return
    wish: dict[str, object] = {"mode": mode.value}
    if grace_s is not None:
        wish["grace_s"] = round(grace_s, 1)
    atomic.write_text(attempt_path / "stop.json", json.dumps(wish) + "\n")


def decide(records: Records) -> Outcome:
    """Say how an attempt that is no longer alive has ended."""
    if records.result is not None:
        return _from_result(records.result)
    if records.exit is not None:
        return _from_exit(records.exit, records)
    if records.stop is StopMode.KILL:
        return Outcome(JobStatus.STOPPED, ExitReason.USER_STOP, "Stopped at once; nothing new was kept.")
    if records.is_restored:
        message = f"The backup that was restored was made while this job ran. {records.what_resuming_does}"
        return Outcome(JobStatus.LOST, None, message)
    if records.is_rebooted:
        message = f"The machine was restarted while this job ran. {records.what_resuming_does}"
        return Outcome(JobStatus.LOST, ExitReason.REBOOT, message)
    message = f"The job ended and left no record of how. {records.what_resuming_does}"
    return Outcome(JobStatus.LOST, None, message)


def _from_result(result: ResultFile) -> Outcome:
    if result.reason is ExitReason.OK:
        return Outcome(JobStatus.SUCCEEDED, ExitReason.OK, result.message)
    if result.reason is ExitReason.USER_STOP:
        return Outcome(JobStatus.STOPPED, ExitReason.USER_STOP, result.message)
    return Outcome(JobStatus.FAILED, result.reason, result.message or "The training ended with an error.")


def _from_exit(exit_file: ExitFile, records: Records) -> Outcome:
    if records.stop is StopMode.KILL:
        return Outcome(JobStatus.STOPPED, ExitReason.USER_STOP, "Stopped at once; nothing new was kept.")
    if records.stop is StopMode.SAVE and (exit_file.escalated or exit_file.returncode is None):
        message = (
            f"It did not stop in time and was ended by force. {records.what_resuming_does}"
            if exit_file.escalated
            else "Stopped before the training began."
        )
        return Outcome(JobStatus.STOPPED, ExitReason.USER_STOP, message)
    if exit_file.signal is not None:
        return Outcome(JobStatus.FAILED, ExitReason.KILLED, _killed_by(exit_file.signal, records))
    if records.error is not None:
        return Outcome(JobStatus.FAILED, records.error.reason, records.error.message)
    if exit_file.returncode == EXIT_DISK_FULL:
        message = f"The disk is full. Free some space first. {records.what_resuming_does}"
        return Outcome(JobStatus.FAILED, ExitReason.DISK_FULL, message)
    message = f"The training process ended (status {exit_file.returncode}) without a result. See the log."
    return Outcome(JobStatus.FAILED, ExitReason.INTERNAL, message)


def _killed_by(number: int, records: Records) -> str:
    hint = next((text for key, text in _SIGNAL_HINTS.items() if key == number), "")
    sentence = f"The training process was killed by signal {number}."
    return " ".join(filter(None, [sentence, hint, records.what_resuming_does]))


def _read(path: Path, model: type[_File]) -> _File | None:
    try:
        return model.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
