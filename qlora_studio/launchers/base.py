"""What the supervisor asks of a backend: start an attempt. Everything else goes through the run folder."""

from pathlib import Path
from typing import Protocol

from qlora_studio.core.errors import StudioError


class LaunchFailed(StudioError):
    """The backend could not start the attempt; nothing of it is running."""

    title = "The job could not be started"


class Launcher(Protocol):
    """A place where training runs.

    An implementation makes sure that, once `launch` has returned, the attempt's `shim.lock` is held for as
    long as anything of the attempt is alive, and that `exit.json` is written at its end.
    """

    def launch(self, attempt_path: Path) -> None:
        """Start the attempt whose `spec.json` is in `attempt_path`. Starting one that runs changes nothing.

        Raises:
            LaunchFailed: nothing was started.
        """
        ...
