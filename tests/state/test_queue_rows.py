"""What the list of jobs says of the queue."""

from typing import Any

from qlora_studio.contracts.enums import Role
from qlora_studio.core.clock import utc_now
from qlora_studio.db.models import User
from qlora_studio.services.queue import QueuedJob, QueuePublic
from qlora_studio.state.queue_rows import queue_panel, queued_rows

ADA = User(username="ada", username_key="ada", email="", email_key="", password_hash="", role=Role.TRAINER)
ROOT = User(username="root", username_key="root", email="", email_key="", password_hash="", role=Role.ADMIN)


def item(name: str, own: int, n_own: int, **changes: Any) -> QueuedJob:
    given = {"owner": "ada", "position": own, "after": "", "n_devices": 1} | changes
    return QueuedJob(id=f"job_{name}", name=name, own_position=own, n_own=n_own, **given)


def found(*items: QueuedJob, **changes: Any) -> QueuePublic:
    given = {"is_paused": False, "note": "", "changed_by": "", "n_slots": 1, "n_busy": 1} | changes
    return QueuePublic(changed_at=utc_now(), n_queued=len(items), items=list(items), **given)


def test_an_empty_queue_that_moves_is_not_shown() -> None:
    panel = queue_panel(found(), ADA)
    assert (panel.is_shown, panel.why) == (False, "")
    assert queue_panel(found(item("a", 1, 1)), ADA).slots == "1 of 1 slot busy, 1 waiting"


def test_everybody_reads_why_and_an_admin_can_let_it_go_on() -> None:
    paused = found(is_paused=True, note="New disk.", changed_by="root")
    assert queue_panel(paused, ADA).why.startswith("The queue is paused by root. New disk. An admin can")
    assert not queue_panel(paused, ADA).can_go_on
    panel = queue_panel(paused, ROOT)
    assert (panel.can_go_on, panel.may_pause, panel.is_shown) == (True, False, True)
    assert queue_panel(found(), ROOT).may_pause


def test_a_queue_without_slots_says_so() -> None:
    assert "QLORA_STUDIO_SLOTS is 0" in queue_panel(found(item("a", 1, 1), n_slots=0), ADA).why


def test_a_row_tells_the_owner_to_others_and_where_it_can_be_moved() -> None:
    items = (item("a", 1, 2), item("b", 2, 2, position=3, after="a", n_devices=2))
    first, second = queued_rows(found(*items), ADA)
    assert (first.is_first, first.is_last, first.detail, first.href) == (True, False, "", "/training/job_a")
    assert (second.is_last, second.place, second.detail) == (True, "3", "after “a”, 2 devices")
    assert queued_rows(found(*items), ROOT)[0].detail == "of ada"
    assert queued_rows(found(*items), ROOT)[0].href == "", "only its owner has a page of it"
