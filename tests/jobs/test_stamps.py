"""Who watches a job sees at little cost that it changed, and is woken by this process's changes."""

import asyncio
import threading
import time

import pytest

from qlora_studio.jobs import stamps
from qlora_studio.storage import layout


@pytest.fixture
def job_id(data_folder):
    layout.run_path("job_stamped").mkdir(parents=True)
    return "job_stamped"


def test_progress_changes_one_stamp_and_all_else_both(job_id):
    assert (stamps.read(job_id), stamps.read_turn(job_id)) == (0, 0)
    stamps.touch(job_id)
    changed, turned = stamps.read(job_id), stamps.read_turn(job_id)
    assert changed >= turned > 0
    stamps.touch_progress(job_id)
    assert (stamps.read(job_id) > changed, stamps.read_turn(job_id)) == (True, turned)
    stamps.touch(job_id)
    assert stamps.read_turn(job_id) > turned


async def test_who_waits_is_woken_from_another_thread_and_not_by_another_job(job_id):
    with stamps.Ear(job_id) as ear, stamps.Ear("job_other") as other:
        waiting = asyncio.create_task(ear.wait(30))
        bystander = asyncio.create_task(other.wait(30))
        threading.Thread(target=stamps.touch_progress, args=(job_id,)).start()
        await asyncio.wait_for(waiting, 10)
        assert not bystander.done()
        bystander.cancel()


async def test_what_happened_between_two_waits_is_heard_once(job_id):
    with stamps.Ear(job_id) as ear:
        stamps.touch(job_id)
        started = time.monotonic()
        await ear.wait(30)
        assert time.monotonic() - started < 10
        await ear.wait(0.01)
        assert time.monotonic() - started >= 0.01, "it comes back by itself"
    stamps.touch(job_id)
    await ear.wait(0.0)
    assert not stamps._rooms, "nobody listens any more"


def test_a_touch_outlives_a_loop_that_was_closed(job_id):
    async def make():
        return stamps.Ear(job_id)

    ear = asyncio.run(make())
    with ear:
        stamps.touch(job_id)
    assert stamps.read(job_id) > 0


async def test_what_another_process_touches_is_heard_whoever_leaves(job_id):
    with stamps.Ear(job_id) as second:
        with stamps.Ear(job_id) as first:
            both = asyncio.gather(first.wait(30), second.wait(30))
            await asyncio.sleep(0)
            assert len(stamps._rooms[job_id]) == 1, "one looks for both"
            stamps._mark(job_id, stamps._CHANGED)  # as another process does: nobody is rung
            await asyncio.wait_for(both, 10)
            assert first.stamps == (stamps.read(job_id), stamps.read_turn(job_id))
        await second.wait(0)
        waiting = asyncio.create_task(second.wait(30))
        await asyncio.sleep(0)
        stamps._mark(job_id, stamps._CHANGED)
        await asyncio.wait_for(waiting, 10)
    assert not stamps._rooms
