"""Is anything of an attempt alive? Answered by its lock, never by a pid, a clock or elapsed time."""

import fcntl
import json
import os
from enum import StrEnum
from pathlib import Path
from typing import Any

# In place of a boot's id, in rows that were restored from a backup: nothing of them runs here.
RESTORED = "restored from a backup"


class Liveness(StrEnum):
    ALIVE = "alive"  # the lock is held by the shim, the worker, or a child of it
    DEAD = "dead"  # the lock is there and free
    ABSENT = "absent"  # no lock: this attempt was never started
    UNKNOWN = "unknown"  # could not be told; whoever asks does nothing


def look(attempt_path: Path) -> Liveness:
    """Say whether anything of the attempt lives.

    The test takes the lock shared for an instant, so that two readers never see each other.
    """
    try:
        descriptor = os.open(attempt_path / "shim.lock", os.O_RDONLY)
    except FileNotFoundError:
        return Liveness.ABSENT
    except OSError:
        return Liveness.UNKNOWN
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return Liveness.DEAD
    except BlockingIOError:
        return Liveness.ALIVE
    except OSError:
        return Liveness.UNKNOWN
    finally:
        os.close(descriptor)


def was_claimed(attempt_path: Path) -> bool:
    """Whether a shim has taken this attempt: it must not be started a second time."""
    return any((attempt_path / name).exists() for name in ("shim.json", "exit.json", "result.json"))


def read_shim_file(attempt_path: Path) -> dict[str, Any]:
    """What the shim wrote of itself, for display and the boot id; empty when it can't be read."""
    try:
        record = json.loads((attempt_path / "shim.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def boot_id() -> str:
    """The kernel's id of this boot; empty where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
