"""How far work is: a bar on a terminal, plain lines elsewhere, nothing for who reads JSON."""

import time
from types import TracebackType

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from qlora_studio.commands.console import err, plain, say

_TELL_EVERY_S = 3.0


class Bar:
    """One bar on standard error, or its sentences."""

    def __init__(self, *, quiet: bool) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        is_shown = err.is_terminal and not quiet
        self._progress = Progress(*columns, console=err, disable=not is_shown, transient=True)
        self._task = self._progress.add_task("", total=None)
        self._is_plain = not err.is_terminal and not quiet
        self._told, self._told_at = "", time.monotonic()

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, sentence: str, done: float = 0, total: float = 0) -> None:
        """Say how far it is; without a total the bar only moves."""
        self._progress.update(
            self._task, description=plain(sentence), completed=done, total=total if total > 0 else None
        )
        now = time.monotonic()
        if self._is_plain and sentence and sentence != self._told and now >= self._told_at + _TELL_EVERY_S:
            self._told, self._told_at = sentence, now
            say(sentence)
