"""The slot that the supervisor leaves to a step that is being tried."""

import os
import time

from qlora_studio.contracts.enums import JobStatus
from qlora_studio.jobs import rehearsal_slot
from qlora_studio.jobs.supervisor import Supervisor
from qlora_studio.storage import layout
from tests.jobs.conftest import load


class _NoLauncher:
    def launch(self, attempt_path) -> None:
        """Nothing: the queue is what is looked at."""


def test_no_job_gets_the_slot_of_a_step_until_it_is_released(make_job):
    job = make_job()
    supervisor = Supervisor(_NoLauncher())
    rehearsal_slot.keep()
    assert supervisor._claim_next() is None
    assert load(job.id).status is JobStatus.QUEUED
    rehearsal_slot.release()
    assert supervisor._claim_next().id == job.id


def test_after_a_step_a_job_comes_first_and_then_the_next_step(make_job):
    jobs = [make_job(name) for name in ("first", "second")]
    supervisor = Supervisor(_NoLauncher())
    rehearsal_slot.keep("0")
    rehearsal_slot.give_jobs_a_turn()
    rehearsal_slot.keep()
    assert rehearsal_slot.find() is None, "the next step waits already, and has no claim yet"
    assert supervisor._claim_next().id == jobs[0].id
    assert not rehearsal_slot.is_jobs_turn()
    assert rehearsal_slot.find() == "0"


def test_a_turn_that_no_job_takes_is_soon_over(make_job):
    make_job()
    rehearsal_slot.keep()
    rehearsal_slot.give_jobs_a_turn()
    assert rehearsal_slot.n_held() == 0
    then = time.time() - rehearsal_slot.TURN_S - 1
    os.utime(layout.data_path() / "rehearsal.tried", (then, then))
    assert rehearsal_slot.n_held() == 1


def test_what_a_dead_process_has_left_means_nothing(make_job):
    job = make_job()
    rehearsal_slot.keep("3")
    assert rehearsal_slot.find() == "3"
    rehearsal_slot.keep()
    assert rehearsal_slot.find() == "3", "one that waits does not forget where the other is"
    then = time.time() - rehearsal_slot.HELD_S - 1
    os.utime(layout.data_path() / "rehearsal.slot", (then, then))
    assert (rehearsal_slot.find(), rehearsal_slot.n_held()) == (None, 0)
    assert Supervisor(_NoLauncher())._claim_next().id == job.id
