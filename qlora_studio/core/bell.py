"""A cheap answer to "is there anything new for this person?", in any process.

The stamp is the modification time of one empty file a person, `bells/<user id>` in the data folder. Looking
costs one `stat`. It only says when to look into the database: that holds the truth.
"""

import contextlib
import os
import time
from pathlib import Path

from qlora_studio.core.settings import get_settings


def ring(user_id: str) -> None:
    """Tell who watches that this person's notifications have changed."""
    path = _path(user_id)
    with contextlib.suppress(OSError):  # whoever watches looks by itself, too, though not as soon
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        now = time.time_ns()
        os.utime(path, ns=(now, now))


def read(user_id: str) -> int:
    """Return the stamp: any other value than last time means that there is something new."""
    try:
        return os.stat(_path(user_id)).st_mtime_ns
    except OSError:
        return 0


def _path(user_id: str) -> Path:
    return get_settings().data_path / "bells" / user_id
