"""Which of the machine's CUDA devices a job gets."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from qlora_studio.core import devices
from qlora_studio.db.models import Job
from qlora_studio.storage import layout


def n_devices(job: Job) -> int:
    """How many devices, and so slots, a job takes."""
    return int(job.spec.get("optimization", {}).get("devices", 1))


def choose(job: Job, active: Iterable[Job]) -> list[str]:
    """Return the least used devices for a job about to start; none on a machine without any.

    Args:
        active: the jobs that run, whose devices are in their attempts' specs.
    """
    used = Counter(name for other in active if other.id != job.id for name in _cards_of(other))
    return least_used(devices.list_cards(), used, n_devices(job))


def choose_any(active: Iterable[Job]) -> str:
    """Return the device that the fewest jobs are on; empty on a machine without any."""
    used = Counter(name for job in active for name in _cards_of(job))
    return next(iter(least_used(devices.list_cards(), used, 1)), "")


def least_used(cards: Sequence[str], used: Counter[str], n_wanted: int) -> list[str]:
    """The first `n_wanted` of those that the fewest jobs are on, in the machine's order."""
    chosen = sorted(cards, key=lambda name: (used[name], cards.index(name)))[:n_wanted]
    return sorted(chosen, key=cards.index)


def _cards_of(job: Job) -> list[str]:
    try:
        spec: Any = json.loads((layout.attempt_path(job.id, job.attempt) / "spec.json").read_bytes())
    except (OSError, ValueError):
        return []  # about to start: its own choice comes later
    return list(spec.get("cards", []))
