"""The page of one job as a tab calls it: what is new of it, and its log by attempt, level and text."""

import asyncio
import threading
import time
from types import SimpleNamespace

import pytest

from qlora_studio.contracts.enums import JobStatus
from qlora_studio.core.errors import NotFound
from qlora_studio.db import engine as db
from qlora_studio.db.models import Job
from qlora_studio.jobs import stamps
from qlora_studio.services import jobs
from qlora_studio.state import job as job_state
from qlora_studio.state import job_look
from qlora_studio.state.job import JobState
from qlora_studio.state.job_look import JobLook
from qlora_studio.storage import layout
from tests.conftest import make_user
from tests.jobs.workbench import make_dataset, make_model, make_spec
from tests.state.calling import call


@pytest.fixture
def job_id(data_folder, session, user):
    spec = make_spec(make_dataset(session, user), make_model(session, user))
    with db.write() as writing:
        job = jobs.submit(writing, actor=user, spec=spec)
        job.attempt = 2
        writing.add(job)
    return job.id


def write_log(job_id, attempt, text):
    folder = layout.attempt_path(job_id, attempt)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "worker.log").open("a") as file:
        file.write(text)


def test_a_page_is_told_where_the_log_ends_and_not_what_it_says(job_id, user):
    write_log(job_id, 1, "one\n")
    write_log(job_id, 2, "two\n")
    look = JobLook(user, job_id, tab="logs")
    first = look.text()
    assert first["log_end"] == "2-4 queued"
    assert [value for value, _ in first["log_attempts"]] == ["", "2", "1"]
    assert look._log() == {}
    write_log(job_id, 2, "more\n")
    assert look._log()["log_end"] == "2-9 queued"
    assert JobLook(user, job_id, tab="logs", attempt="1").text()["log_end"] == "1-4 queued"
    assert "log_end" not in JobLook(user, job_id, tab="charts").text()


def test_the_place_in_the_queue_moves_with_other_peoples_jobs(job_id, session, user, monkeypatch):
    monkeypatch.setattr(job_look, "ROW_EVERY_S", 0.0)
    spec = make_spec(make_dataset(session, user), make_model(session, user))
    with db.write() as writing:
        first = jobs.submit(writing, actor=user, spec=spec).id
        writing.get_one(Job, first).rank = 0.0
    look = JobLook(user, job_id, tab="overview")
    assert "Place 2 in the queue" in look.everything()["job"].phase
    with db.write() as writing:
        jobs.stop(writing, actor=user, job_id=first)
    assert look.has_news()
    assert "Place 1 in the queue" in look.news()["job"].phase
    with db.write() as writing:
        jobs.stop(writing, actor=user, job_id=job_id)
    look.everything()
    assert not look.has_news(), "a job that has ended stands still"


def advance(job_id, step, status=JobStatus.RUNNING):
    with db.write() as writing:
        job = writing.get_one(Job, job_id)
        job.step, job.total_steps, job.status = step, 10, status


def test_progress_is_counted_after_a_while_and_a_turn_is_shown_at_once(job_id, user, monkeypatch):
    monkeypatch.setattr(job_look, "ROW_EVERY_S", 1000.0)
    advance(job_id, 1)
    look = JobLook(user, job_id, tab="overview")
    assert look.everything()["job"].progress == "1 of 10"
    advance(job_id, 2)
    stamps.touch_progress(job_id)
    assert (look.has_news(), "job" in look.news(), look.has_news()) == (True, False, False)
    stamps.touch(job_id)
    assert look.has_news()
    assert look.news()["job"].progress == "2 of 10"
    assert not look.has_news()


async def test_a_page_is_woken_by_what_its_server_does_to_the_job(opened, job_id, monkeypatch):
    async def enter(self):
        return self

    async def leave(self, *_):
        return None

    monkeypatch.setattr(JobState, "__aenter__", enter)
    monkeypatch.setattr(JobState, "__aexit__", leave)
    monkeypatch.setattr(job_state, "CHECK_EVERY_S", 1000.0)
    monkeypatch.setattr(job_look, "ROW_EVERY_S", 1000.0)
    monkeypatch.setattr(stamps, "LOOK_EVERY_S", 1000.0)
    advance(job_id, 1)
    state = opened(JobState, job_id=job_id)
    state.router.url = SimpleNamespace(path=f"/training/{job_id}", query_parameters={})
    watching = asyncio.create_task(call(state, "watch"))
    async with asyncio.timeout(10):
        while job_id not in stamps._rooms:
            await asyncio.sleep(0.01)
        advance(job_id, 10, JobStatus.SUCCEEDED)
        threading.Thread(target=stamps.touch, args=(job_id,)).start()
        await watching
    assert (state.job.status, job_id in stamps._rooms) == ("succeeded", False)


async def test_the_address_names_level_text_and_attempt(opened, job_id):
    given = {"tab": "logs", "level": "error", "search": "loss is", "attempt": "1"}
    state = opened(JobState, given, job_id=job_id)
    await call(state, "load")
    assert (state.log_level, state.log_search, state.log_attempt) == ("error", "loss is", "1")
    assert state.log_end.startswith("1-")
    (sent,) = await call(state, "search_log", text="a b & c")
    assert "tab=logs&level=error&search=a+b+%26+c&attempt=1" in sent
    (sent,) = await call(state, "choose_attempt", attempt="")
    assert "attempt" not in sent
    (sent,) = await call(state, "choose_attempt", attempt="9; drop")
    assert "drop" not in sent


@pytest.mark.parametrize("attempt", ["0", "-1", "x", "²", "9" * 30])
async def test_an_odd_attempt_is_the_newest(opened, job_id, attempt):
    state = opened(JobState, {"tab": "logs", "attempt": attempt}, job_id=job_id)
    await call(state, "load")
    assert (state.log_attempt, state.load_error) == ("", "")


def test_tabs_of_one_person_read_a_step_once_and_another_person_reads_for_himself(
    job_id, session, user, monkeypatch
):
    advance(job_id, 1)
    stamps.touch(job_id)
    reads = []
    read = jobs.get_view
    monkeypatch.setattr(jobs, "get_view", lambda *a, **k: reads.append(k["actor"].id) or read(*a, **k))
    tabs = [JobLook(user, job_id, tab="overview") for _ in range(3)]
    for tab in tabs:
        tab.everything()
    reads.clear()
    advance(job_id, 2)
    stamps.touch(job_id)
    first, *others = tabs
    assert (first.has_news(), first.is_at_hand()) == (True, False)
    assert first.news()["job"].progress == "2 of 10"
    for tab in others:
        assert (tab.has_news(), tab.is_at_hand()) == (True, True)
        assert tab.news()["job"].progress == "2 of 10"
    assert reads == [user.id]
    monkeypatch.setattr(job_look, "ROW_EVERY_S", 1000.0)
    for tab in tabs:
        tab.everything()
        tab._next_row = time.monotonic() + 400  # not due, but soon enough to go along with points
    stamps.touch_progress(job_id)
    assert [tab.has_news() for tab in tabs] == [True] * 3
    first.news()
    assert not others[0].is_at_hand(), "its row would be read where everybody waits"
    bob = make_user(session, "bob")
    with pytest.raises(NotFound):
        JobLook(bob, job_id, tab="overview").everything()
