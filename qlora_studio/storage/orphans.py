"""What processes that were killed have left behind: files and folders that belong to nothing any more."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

AFTER_S = 3600.0  # another process may be making something before its row is there


def sweep(root: Path, is_known: Callable[[str], bool]) -> None:
    """Remove what lies in a folder under no known name and was not touched for an hour."""
    for path in root.iterdir() if root.is_dir() else ():
        if not is_known(path.name) and time.time() - _touched_at(path) > AFTER_S:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _touched_at(path: Path) -> float:
    """When it was, or something directly in it; now if somebody is removing it already."""
    try:
        inside = path.iterdir() if path.is_dir() and not path.is_symlink() else ()
        return max(found.lstat().st_mtime for found in (path, *inside))
    except OSError:
        return time.time()
