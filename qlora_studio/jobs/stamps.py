"""A cheap answer to "has anything of this job changed since I last looked?" for whoever watches one.

The stamp is the modification time of one empty file in the run folder. Looking costs one `stat`, in any
process; the supervisor and the services touch it after each change that can be seen.
"""

import contextlib
import os
import time

from qlora_studio.storage import layout

_NAME = ".changed"


def touch(job_id: str) -> None:
    """Tell watchers that the job has changed."""
    path = layout.run_path(job_id) / _NAME
    with contextlib.suppress(OSError):
        now = time.time_ns()
        try:
            os.utime(path, ns=(now, now))
        except FileNotFoundError:
            path.touch()


def read(job_id: str) -> int:
    """Return the stamp: any other value than last time means that there is something new."""
    try:
        return os.stat(layout.run_path(job_id) / _NAME).st_mtime_ns
    except OSError:
        return 0
