"""Which of the machine's CUDA devices a job gets."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from qlora_studio.core import devices
from qlora_studio.core.settings import get_settings
from qlora_studio.db.models import Job
from qlora_studio.jobs import rehearsal_slot
from qlora_studio.storage import layout


def n_devices(job: Job) -> int:
    """How many devices, and so slots, a job takes."""
    return int(job.spec.get("optimization", {}).get("devices", 1))


def choose(job: Job, active: Iterable[Job]) -> list[str]:
    """Return the least used devices for a job about to start; none on a machine without any.

    Args:
        active: the jobs that run, whose devices are in their attempts' specs.
    """
    used = count_used((other for other in active if other.id != job.id), tried_on=rehearsal_slot.find())
    return least_used(devices.list_cards(), used, n_devices(job))


def choose_any(active: Iterable[Job]) -> str:
    """Return the device that the fewest jobs are on; empty on a machine without any."""
    return next(iter(least_used(devices.list_cards(), count_used(active), 1)), "")


def count_open(active: Iterable[Job]) -> int | None:
    """Count the devices with a free slot; None on a machine without any, whose slots are all alike."""
    found, n_slots = devices.list_cards(), get_settings().slots
    if not found:
        return None
    used = count_used(active, tried_on=rehearsal_slot.find())
    return sum(used[name] < n_slots for name in found)


def count_used(active: Iterable[Job], *, tried_on: str | None = None) -> Counter[str]:
    """Count the jobs on each device; one that has none yet counts on the least used, where it will go.

    Args:
        tried_on: the device of the step that is being tried, empty if it has none yet.
    """
    found = devices.list_cards()
    taken = [(n_devices(job), _cards_of(job)) for job in active]
    if tried_on is not None:
        taken.append((1, [tried_on] if tried_on else []))
    used = Counter(name for _, names in taken for name in names)
    for n_wanted, names in taken:
        if not names:
            used.update(least_used(found, used, n_wanted))
    return used


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
