"""Every way to fail has a reason and a sentence without a trace or a path in it."""

import errno

import pytest

from qlora_studio.contracts.enums import ExitReason
from qlora_studio.training.failures import BadData, ModelNotUsable, diagnose


class OutOfMemoryError(RuntimeError):
    """Stands for torch's own, which has this name."""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), ExitReason.OOM_HOST),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), ExitReason.OOM_HOST),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), ExitReason.OOM_HOST),
        (ImportError("libtorch.so: failed to map segment from shared object"), ExitReason.OOM_HOST),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate"), ExitReason.OOM_CUDA),
        (OSError(errno.ENOSPC, "No space left on device"), ExitReason.DISK_FULL),
        (RuntimeError("I/O error: No space left on device (os error 28)"), ExitReason.DISK_FULL),
        (BadData("There is no clip to train on."), ExitReason.BAD_DATA),
        (ModelNotUsable("No weights."), ExitReason.MODEL_LOAD),
        (KeyError("/secret/path"), ExitReason.INTERNAL),
    ],
)
def test_reasons(error: Exception, reason: ExitReason) -> None:
    diagnosis = diagnose(error)
    assert diagnosis.reason is reason
    assert diagnosis.message.endswith(".")
    assert "/" not in diagnosis.message


def test_the_cause_is_looked_at_too() -> None:
    error = ValueError("could not save")
    error.__cause__ = OSError(errno.ENOSPC, "full")
    assert diagnose(error).reason is ExitReason.DISK_FULL
