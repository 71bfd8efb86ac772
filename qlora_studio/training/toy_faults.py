"""What can be made to go wrong in a toy run, by `QLORA_STUDIO_TOY_FAIL`.

    crash              at half of the steps
    crash@7            at step 7
    first:crash@7      only in the job called "first"
    a:crash@7,b:nan    several, by commas

It happens in a job's first attempt only, so that the next one can go on.

    crash              killed by SIGKILL at the step
    kill_in_save       … while the step's checkpoint is written
    kill_in_eval       … while the model is measured at the step (0: the base model)
    kill_in_adapter    … while the adapter is written
    slow_save          the step's checkpoint takes two seconds
    nan                the step's loss is not a number
    oom                out of memory on the machine, as Python says it
    oom_host           … as an address-space limit makes it
    oom_cuda           … on the GPU, as torch says it
    disk_full          no space left at the step
    bad_data           refuses its clips at the start
    hang               neither goes on nor listens to SIGTERM
    ignore_term        goes on and listens to nothing
    clock              the worker's clock goes back by a day
"""

import errno
import os
import resource
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from qlora_studio.contracts.spec import WorkerSpec
from qlora_studio.storage import checkpoints
from qlora_studio.training.failures import NotANumber

_SETTING = "QLORA_STUDIO_TOY_FAIL"
_SLOW_SAVE_S = 2.0
_DAY_S = 86_400
_HEADROOM = 64 * 2**20


class OutOfMemoryError(RuntimeError):
    """Stands for torch's error of the same name, which is recognised by it."""


@dataclass(frozen=True)
class ToyFault:
    """One thing that goes wrong at one step; without a name, nothing does."""

    name: str = ""
    step: int = 0

    @classmethod
    def of(cls, spec: WorkerSpec, n_steps: int) -> "ToyFault":
        """The fault that the environment has for this attempt."""
        if spec.attempt > 1:
            return cls()
        for wish in os.environ.get(_SETTING, "").split(","):
            job, _, fault = wish.rpartition(":")
            if not job or job == spec.train.name:
                name, _, step = fault.partition("@")
                return cls(name, int(step or max(1, n_steps // 2)))
        return cls()

    def at_step(self, step: int, folder: Path) -> None:
        """Called before each step is done; `folder` holds the checkpoints."""
        if step == self.step:
            self._inject(step, folder)

    def in_save(self, step: int) -> None:
        """Called when a checkpoint's files are written and its manifest is not."""
        if step == self.step:
            if self.name == "kill_in_save":
                _kill()
            if self.name == "slow_save":
                time.sleep(_SLOW_SAVE_S)

    def in_evaluation(self, step: int) -> None:
        """Called in the middle of a measurement."""
        if self.name == "kill_in_eval" and step == self.step:
            _kill()

    def in_adapter(self) -> None:
        """Called when half of the adapter's files are written."""
        if self.name == "kill_in_adapter":
            _kill()

    def _inject(self, step: int, folder: Path) -> None:
        if self.name == "nan":
            raise NotANumber(_about_nan(step, folder))
        if self.name == "oom":
            raise MemoryError
        if self.name == "oom_host":
            _eat_memory()
        if self.name == "oom_cuda":
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        if self.name == "disk_full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self.name == "crash":
            _kill()
        if self.name == "hang":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(3600)
        if self.name == "clock":
            real = time.time
            time.time = lambda: real() - _DAY_S


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _eat_memory() -> None:
    """Take more than an address-space limit allows."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + _HEADROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
    taken = []
    while True:
        taken.append(bytearray(_HEADROOM // 4))


def _about_nan(step: int, folder: Path) -> str:
    kept = checkpoints.list_steps(folder)
    good = f"The checkpoint of step {kept[-1][0]} is good: " if kept else "There is no checkpoint yet: "
    return f"The loss is not a number at step {step}. {good}lower the learning rate and try again."
