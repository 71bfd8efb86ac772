"""A volume of a few megabytes, to fill."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path


class NoVolume(Exception):
    """This machine has no command `mount`, or gives no right to it; says which."""


def mount(folder: Path, size: int, *, again: bool = False) -> None:
    """Put a volume of `size` bytes at a folder; `again` changes the size of the one that is there.

    Raises:
        NoVolume: it can't be had here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    options = f"{'remount,' if again else ''}size={size}"
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise NoVolume("needs the command `mount`") from error
    if done.returncode:
        raise NoVolume(f"needs the right to mount a small volume: {done.stderr.strip()}")


def unmount(folder: Path) -> None:
    """Take the volume away, whoever still has a file of it open."""
    subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def small_volume(folder: Path, size: int) -> Iterator[bool]:
    """A volume of `size` bytes at a folder where this machine allows it; yields whether it does."""
    try:
        mount(folder, size)
    except NoVolume:
        yield False
        return
    try:
        yield True
    finally:
        unmount(folder)
