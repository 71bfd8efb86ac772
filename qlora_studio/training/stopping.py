"""How a worker learns that it should stop: `stop.json` in the attempt's folder, or SIGTERM."""

import json
import signal
from pathlib import Path
from types import FrameType

from qlora_studio.contracts.enums import StopMode


class StopRequested(Exception):
    """Raised between pieces of work once a stop was asked for; the run then ends in order."""


class StopRequest:
    """Answers, cheaply and at every step, whether somebody asked this attempt to stop."""

    def __init__(self, attempt_path: Path) -> None:
        self._path = attempt_path / "stop.json"
        self._is_requested = False

    def listen_for_sigterm(self) -> None:
        """Treat SIGTERM as "stop and keep". Main thread only."""
        signal.signal(signal.SIGTERM, self._on_signal)

    def _on_signal(self, _signum: int, _frame: FrameType | None) -> None:
        self._is_requested = True

    def is_requested(self) -> bool:
        """Whether to stop. Once true it stays true."""
        if not self._is_requested:
            self._is_requested = self._path.exists()
        return self._is_requested

    def raise_if_requested(self) -> None:
        """Raise `StopRequested` when a stop was asked for."""
        if self.is_requested():
            raise StopRequested

    @property
    def mode(self) -> StopMode:
        """`save` unless the file says `kill` (then nothing more is written than the result)."""
        try:
            return StopMode(json.loads(self._path.read_text())["mode"])
        except (OSError, ValueError, KeyError, TypeError):
            return StopMode.SAVE
