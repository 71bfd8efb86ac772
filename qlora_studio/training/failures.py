"""From an exception to one sentence a person can act on."""

import errno
from typing import NamedTuple

from qlora_studio.contracts.enums import ExitReason


class TrainingFailure(Exception):
    """A failure with a known reason; the text is shown to the user as it is."""

    reason = ExitReason.INTERNAL


class BadData(TrainingFailure):
    """The clips cannot be trained on."""

    reason = ExitReason.BAD_DATA


class ModelNotUsable(TrainingFailure):
    """The base model's folder cannot be loaded or does not fit the job."""

    reason = ExitReason.MODEL_LOAD


class NotANumber(TrainingFailure):
    """The loss or the gradient stopped being a number."""

    reason = ExitReason.NAN_LOSS


class DiskFull(TrainingFailure):
    """No space is left for a checkpoint or the adapter."""

    reason = ExitReason.DISK_FULL


class RanksParted(Exception):
    """Another process of the job has ended, so that this one cannot go on; that one knows the reason."""


class Diagnosis(NamedTuple):
    reason: ExitReason
    message: str


_ADVICE = {
    ExitReason.OOM_CUDA: "The GPU ran out of memory. Halve the batch size and try again.",
    ExitReason.OOM_HOST: "The machine ran out of memory. Halve the batch size and try again.",
    ExitReason.DISK_FULL: "The disk is full. Free some space and resume: the last good checkpoint is kept.",
    ExitReason.INTERNAL: "The training program failed unexpectedly ({name}). The log has the details.",
}


# torch's allocator on Linux and elsewhere, the loader of shared libraries
_OUT_OF_MEMORY = (
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "failed to map segment",
)


def diagnose(error: BaseException) -> Diagnosis:
    """Return the exit reason and the sentence for an exception that ended a run.

    Never raises and never quotes a path or a trace: those stay in the log.
    """
    if isinstance(error, TrainingFailure):
        return Diagnosis(error.reason, str(error))
    reason = _reason_of(error)
    return Diagnosis(reason, _ADVICE[reason].format(name=type(error).__name__))


def advice(reason: ExitReason) -> str:
    """The sentence for a reason that needs no more than itself."""
    return _ADVICE[reason]


def _reason_of(error: BaseException) -> ExitReason:
    if is_disk_full(error):
        return ExitReason.DISK_FULL
    for link in _chain(error):
        text = str(link).lower()
        if type(link).__name__ == "OutOfMemoryError" or "cuda out of memory" in text:
            return ExitReason.OOM_CUDA
        if isinstance(link, MemoryError) or (isinstance(link, OSError) and link.errno == errno.ENOMEM):
            return ExitReason.OOM_HOST
        if any(words in text for words in _OUT_OF_MEMORY):
            return ExitReason.OOM_HOST
    return ExitReason.INTERNAL


def is_disk_full(error: BaseException) -> bool:
    """Whether an exception, or what caused it, says that the disk or the quota is full."""
    return any(
        (isinstance(link, OSError) and link.errno in (errno.ENOSPC, errno.EDQUOT))
        or "no space left on device" in str(link).lower()
        for link in _chain(error)
    )


def _chain(error: BaseException | None) -> list[BaseException]:
    links: list[BaseException] = []
    while error is not None and error not in links:
        links.append(error)
        error = error.__cause__ or error.__context__
    return links
