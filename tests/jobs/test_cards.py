"""Which devices a job gets, and how many slots it takes."""

from collections import Counter

import pytest

from qlora_studio.contracts.enums import JobStatus
from qlora_studio.core import devices
from qlora_studio.db.engine import read, write
from qlora_studio.db.models import Job
from qlora_studio.jobs import cards, rehearsal_slot
from qlora_studio.storage import atomic, layout
from tests.jobs.conftest import change_setting, load


@pytest.mark.parametrize(
    ("used", "n_wanted", "expected"),
    [
        ({}, 1, ["0"]),
        ({"0": 1}, 1, ["1"]),
        ({"1": 1}, 2, ["0", "2"]),
        ({"0": 2, "1": 1, "2": 1, "3": 1}, 1, ["1"]),
        ({}, 9, ["0", "1", "2", "3"]),
    ],
)
def test_the_least_used_devices_come_first(used: dict[str, int], n_wanted: int, expected: list[str]) -> None:
    assert cards.least_used(["0", "1", "2", "3"], Counter(used), n_wanted) == expected


def ask_for(job: Job, n_devices: int) -> None:
    with write() as session:
        row = session.get_one(Job, job.id)
        row.spec = {**row.spec, "optimization": {**row.spec["optimization"], "devices": n_devices}}
        session.add(row)


class _NoLauncher:
    def launch(self, attempt_path) -> None:
        """Nothing: the queue is what is looked at."""


def test_a_job_on_two_devices_takes_two_slots_and_is_not_overtaken(make_job, monkeypatch):
    from qlora_studio.jobs.supervisor import Supervisor

    change_setting(monkeypatch, "SLOTS", "2")
    narrow, wide, late = make_job("narrow"), make_job("wide"), make_job("late")
    ask_for(wide, 2)
    supervisor = Supervisor(_NoLauncher())
    assert supervisor._claim_next().id == narrow.id
    assert supervisor._claim_next() is None  # one slot is free, and the job whose turn it is wants two
    assert load(late.id).status is JobStatus.QUEUED
    with write() as session:
        session.get_one(Job, narrow.id).status = JobStatus.SUCCEEDED
    assert supervisor._claim_next().id == wide.id
    assert supervisor._claim_next() is None


def test_a_job_starts_on_devices_that_no_other_is_on(make_job, monkeypatch):
    monkeypatch.setattr(devices, "list_cards", lambda: ["0", "1", "2"])
    running, next_one = make_job("running"), make_job("next")
    folder = layout.attempt_path(running.id, 1)
    folder.mkdir(parents=True)
    atomic.write_text(folder / "spec.json", '{"cards": ["0"]}')
    ask_for(next_one, 2)
    with read() as session:
        jobs = [session.get_one(Job, job.id) for job in (running, next_one)]
        assert cards.choose(jobs[1], jobs) == ["1", "2"]


def test_two_free_slots_of_one_device_are_not_two_devices(make_job, monkeypatch):
    from qlora_studio.jobs.supervisor import Supervisor

    monkeypatch.setattr(devices, "list_cards", lambda: ["0", "1"])
    change_setting(monkeypatch, "SLOTS", "2")
    first, second, wide = make_job("first"), make_job("second"), make_job("wide")
    ask_for(wide, 2)
    for job in (first, second):
        run_on(job, "0")
    supervisor = Supervisor(_NoLauncher())
    assert supervisor._claim_next() is None
    run_on(second, "1")
    assert supervisor._claim_next().id == wide.id


def run_on(job: Job, card: str) -> None:
    folder = layout.attempt_path(job.id, 1)
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_text(folder / "spec.json", f'{{"cards": ["{card}"]}}')
    with write() as session:
        session.get_one(Job, job.id).status = JobStatus.RUNNING


def test_a_job_keeps_off_the_device_of_a_step_that_is_tried(make_job, monkeypatch):
    monkeypatch.setattr(devices, "list_cards", lambda: ["0", "1"])
    running, next_one = make_job("running"), make_job("next")
    run_on(running, "1")
    rehearsal_slot.keep("0")
    with read() as session:
        found = [session.get_one(Job, job.id) for job in (running, next_one)]
    assert cards.count_open(found[:1]) == 0
    assert cards.count_used(found, tried_on="") == {"0": 2, "1": 1}, "those without a place take the emptiest"
    rehearsal_slot.release()
    assert cards.choose(found[1], found) == ["0"]
    assert cards.choose_any(found[:1]) == "0"
