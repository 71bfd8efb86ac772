"""Puts a run folder in order when its attempt has ended and nothing of it is alive."""

import contextlib
import shutil
from pathlib import Path

from qlora_studio.storage import atomic

_SWAPPED = ("adapter", "model", "held-out")


def clear(run_path: Path, attempt_path: Path) -> None:
    """Remove what a killed process was in the middle of writing; half-made swaps are ended.

    Call only while no process of the job lives. What can't be removed now is left for the next end.
    """
    for name in _SWAPPED:
        with contextlib.suppress(OSError):
            atomic.put_back_folder(run_path / name)
    # somebody may be asking a job to stop that has just ended
    half_done = [
        *(run_path / "checkpoints").glob(".partial-*"),
        *run_path.glob(".*.partial"),
        *(path for path in attempt_path.glob(".*.partial") if not atomic.is_being_written(path)),
        attempt_path / ".reserve",
    ]
    for path in half_done:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
