"""This process must not take the machine down with it."""

import contextlib
import resource
from pathlib import Path

import psutil

from qlora_studio.engine.refusals import Refused

_SPARE_BYTES = 512 << 20
_FIRST_TO_GO = "800"  # of 1000; trainings have 600 and are killed after this one, the server after them


def bound() -> None:
    """Let a runaway allocation fail here, and let the kernel choose this process first when memory ends."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)
    total = psutil.virtual_memory().total
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (total, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def refuse_what_does_not_fit(model_path: Path) -> None:
    """Look before loading: the weights, once as they are and once in 32 bits at worst, and some room to work.

    Raises:
        Refused: less than that is free; the sentence has the numbers.
    """
    weights = sum(path.stat().st_size for path in model_path.glob("*.safetensors"))
    needed, free = 2 * weights + _SPARE_BYTES, psutil.virtual_memory().available
    if needed > free:
        raise Refused(
            f"This model needs about {needed / 2**30:.1f} GB of memory and {free / 2**30:.1f} GB are free. "
            "Wait until a training has ended, or choose a smaller model."
        )
