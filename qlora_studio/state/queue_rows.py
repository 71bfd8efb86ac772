"""The queue as the list of jobs shows it."""

from dataclasses import dataclass

from qlora_studio.contracts.enums import Role
from qlora_studio.db.models import User
from qlora_studio.services.queue import QueuePublic
from qlora_studio.state import formats


@dataclass(frozen=True)
class QueuePanel:
    """Whether the queue moves. `why` is a sentence when it does not; `can_go_on` if a click may change it."""

    is_shown: bool = False
    is_paused: bool = False
    why: str = ""
    slots: str = ""
    may_pause: bool = False
    can_go_on: bool = False


@dataclass(frozen=True)
class QueuedRow:
    """One queued job. `is_first` and `is_last` are among its owner's."""

    id: str
    name: str
    href: str
    place: str
    detail: str
    own_position: int
    is_first: bool
    is_last: bool


def queue_panel(found: QueuePublic, actor: User) -> QueuePanel:
    """Return the head of the section."""
    is_admin = actor.role is Role.ADMIN
    return QueuePanel(
        is_shown=bool(found.items) or found.is_paused,
        is_paused=found.is_paused,
        why=_why(found, is_admin),
        slots=f"{found.n_busy} of {formats.count(found.n_slots, 'slot')} busy, {found.n_queued} waiting",
        may_pause=is_admin and not found.is_paused,
        can_go_on=is_admin and found.is_paused,
    )


def _why(found: QueuePublic, is_admin: bool) -> str:
    if found.is_paused:
        by = f" by {found.changed_by}" if found.changed_by else ""
        note = found.note or "No reason was given."
        ask = "" if is_admin else " An admin can let it go on."
        return f"The queue is paused{by}. {note}{ask} Jobs keep their places, and what runs goes on."
    if not found.n_slots:
        return "No job is started: QLORA_STUDIO_SLOTS is 0. Jobs keep their places."
    return ""


def queued_rows(found: QueuePublic, actor: User) -> list[QueuedRow]:
    """Return the queued jobs, first in line first; of other people's (an admin sees them) with the owner."""
    rows: list[QueuedRow] = []
    for item in found.items:
        is_mine = item.owner == actor.username
        parts = [
            "" if is_mine else f"of {item.owner}",
            f"after “{item.after}”" if item.after else "",
            f"{item.n_devices} devices" if item.n_devices > 1 else "",
        ]
        rows.append(
            QueuedRow(
                id=item.id,
                name=item.name,
                href=f"/training/{item.id}" if is_mine else "",
                place=str(item.position),
                detail=", ".join(part for part in parts if part),
                own_position=item.own_position,
                is_first=item.own_position == 1,
                is_last=item.own_position == item.n_own,
            )
        )
    return rows
