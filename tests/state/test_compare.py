"""Jobs side by side, as their page shows them and as a tab calls it."""

import asyncio

import pytest

from qlora_studio.contracts.enums import JobStatus
from qlora_studio.db import engine as db
from qlora_studio.db.models import Job, JobSample
from qlora_studio.jobs.metrics import MetricsWriter, sequence
from qlora_studio.services import comparisons, jobs
from qlora_studio.state import compare
from qlora_studio.state.compare import CompareFeed, CompareState
from qlora_studio.state.compare_rows import Cell, clip_rows, figure_lines, setting_lines
from qlora_studio.state.jobs import TrainingState
from qlora_studio.storage import layout
from tests.jobs.workbench import make_dataset, make_model, make_spec
from tests.state.calling import call


@pytest.fixture
def job_ids(data_folder, session, user):
    dataset, model = make_dataset(session, user), make_model(session, user)
    ids = []
    for rank, wer in ((4, 0.2), (8, 0.1), (16, None)):
        spec = make_spec(dataset, model, name=f"rank {rank}", qlora={"rank": rank})
        with db.write() as writing:
            job = jobs.submit(writing, actor=user, spec=spec)
            job.status, job.step, job.epoch = JobStatus.SUCCEEDED, 20, 2.0
            job.base_metrics, job.best_metrics = {"wer": 0.5}, {} if wer is None else {"wer": wer}
            writing.add(job)
            if wer is not None:
                values = {"clip_id": "a", "reference": "press two", "now": "press to", "error": wer}
                writing.add(JobSample(job_id=job.id, step=4, **values))
            ids.append(job.id)
    return ids


def points(first, last):
    return {"loss": [(sequence(1, i), i, float(i), 1 / i) for i in range(first, last)]}


def test_settings_and_figures_are_lines_with_a_cell_for_each_job(session, user, job_ids):
    found = comparisons.compare_jobs(session, actor=user, job_ids=job_ids)
    lines = {line.label: [cell.text for cell in line.cells] for line in setting_lines(found)}
    assert lines == {"Rank": ["4", "8", "16"]}
    (line,) = figure_lines(found)
    assert line.label == "Word error rate"
    assert line.cells == [
        Cell("20.0\u00a0%", "from 50.0\u00a0%", False),
        Cell("10.0\u00a0%", "from 50.0\u00a0%", True),
        Cell("–", "from 50.0\u00a0%", False),
    ]


def test_a_clip_says_what_each_job_made_of_it(session, user, job_ids):
    found = comparisons.compare_jobs(session, actor=user, job_ids=job_ids)
    (row,) = clip_rows(found)
    assert [output.has_output for output in row.outputs] == [True, True, False]
    assert [word.kind for word in row.outputs[0].row.now] == ["same", "wrong", "missing"]


async def test_the_address_names_the_jobs(opened, job_ids):
    state = opened(CompareState, {"ids": ",".join(job_ids[:2])})
    MetricsWriter(layout.run_path(job_ids[0]) / "metrics").append(points(1, 5))
    await call(state, "load")
    assert [job.name for job in state.jobs] == ["rank 4", "rank 8"]
    assert (state.load_error, state.keys, state.has_epochs) == ("", ["loss"], True)
    assert [run["epochs"] for run in state.runs] == [0.1, 0.1]


@pytest.mark.parametrize("ids", ["", "job_none", "job_none,job_neither"])
async def test_a_wrong_address_is_said_and_nothing_shown(opened, job_ids, ids):
    state = opened(CompareState, {"ids": ids})
    await call(state, "load")
    assert state.load_error
    assert state.jobs == []


async def test_a_job_deleted_in_another_tab_is_said(opened, user, job_ids, monkeypatch):
    async def enter(self):
        return self

    async def leave(self, *_):
        return None

    monkeypatch.setattr(CompareState, "__aenter__", enter)
    monkeypatch.setattr(CompareState, "__aexit__", leave)
    monkeypatch.setattr(compare, "LOOK_EVERY_S", 0.01)
    with db.write() as writing:
        job = writing.get_one(Job, job_ids[1])
        job.status = JobStatus.QUEUED
        writing.add(job)
    state = opened(CompareState, {"ids": ",".join(job_ids[:2])})
    await call(state, "load")
    with db.write() as writing:
        jobs.delete(writing, actor=user, job_id=job_ids[0])
    async with asyncio.timeout(10):
        assert await call(state, "watch") == [], "no toast"
    assert "no such" in state.load_error
    assert state.jobs == []


def test_curves_come_whole_and_then_what_is_new_by_number_of_the_job(job_ids):
    writer = MetricsWriter(layout.run_path(job_ids[1]) / "metrics")
    writer.append(points(1, 5))
    feed = CompareFeed(job_ids[:2])
    assert {key: part["x"] for key, part in feed.news()["curves"].items()} == {"1/loss": [1, 2, 3, 4]}
    assert feed.news() == {}
    writer.append(points(5, 7))
    assert feed.news()["tail"]["1/loss"]["x"] == [5, 6]
    MetricsWriter(layout.run_path(job_ids[0]) / "metrics").append(points(1, 3))
    assert set(feed.news()["curves"]) == {"0/loss", "1/loss"}  # a curve that is new: all of them


async def test_rows_are_ticked_up_to_six(opened, job_ids):
    state = opened(TrainingState)
    for i in range(7):
        await call(state, "select_row", row_id=f"job_{i}", is_ticked=True)
    assert state.selected == [f"job_{i}" for i in range(6)]
    await call(state, "select_row", row_id="job_0", is_ticked=False)
    assert state.selected[0] == "job_1"
    await call(state, "clear_selection")
    assert state.selected == []
