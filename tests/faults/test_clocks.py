"""The machine's clock is moved by a day while a job runs: a line of the table of faults (F21)."""

import time

import pytest

from qlora_studio.contracts.enums import JobStatus
from qlora_studio.core.clock import utc_now
from qlora_studio.db.engine import read
from qlora_studio.jobs import metrics
from qlora_studio.jobs.supervisor import Supervisor
from qlora_studio.launchers.local import LocalLauncher
from qlora_studio.services import jobs
from qlora_studio.state import job_rows
from qlora_studio.storage import layout
from tests.faults.harness import kill_leftovers, load, loss_steps
from tests.jobs.conftest import tick_until

DAY_S = 86_400
pytestmark = pytest.mark.slow


@pytest.mark.fault(
    "F21",
    "the server's clock goes a day ahead, then two back; the worker's goes back by one",
    "nothing is lost, shown as stalled or negative; the curve is whole",
)
def test_f21_the_clock_is_moved_by_a_day(data_folder, launch, user, monkeypatch):
    monkeypatch.setenv("QLORA_STUDIO_TOY_STEP_S", "0.04")
    monkeypatch.setenv("QLORA_STUDIO_TOY_FAIL", "clock@90")
    supervisor = Supervisor(LocalLauncher("toy"))
    job = launch(120)
    real = time.time

    def page():
        with read() as session:
            view = jobs.get_view(session, actor=user, job_id=job.id)
        return job_rows.job_page(view, device="", checkpoint_step=None), view.job

    def move(by_s):
        before = utc_now()
        monkeypatch.setattr(time, "time", lambda: real() + by_s)
        return (utc_now() - before).total_seconds()

    try:
        for by_s, until_step in ((0, 20), (DAY_S, 50), (-DAY_S, 100)):
            moved = move(by_s)
            assert abs(moved) > DAY_S / 2 or by_s == 0
            shown, row = page()
            assert shown.stalled == "", by_s
            tick_until(supervisor, lambda step=until_step: load(job.id).step >= step)
            shown, row = page()
            assert (row.status, shown.stalled) == (JobStatus.RUNNING, ""), by_s
            assert "-" not in f"{shown.eta}{shown.took}{shown.progress}", by_s
            assert row.eta_s >= 0
        tick_until(supervisor, lambda: load(job.id).status is JobStatus.SUCCEEDED)
        shown, row = page()
        assert "-" not in shown.took
        assert (row.attempt, row.step) == (1, 120)
        assert loss_steps(job.id) == list(range(1, 121))
        seen = metrics.query(layout.run_path(job.id) / "metrics", ["loss"])["loss"]
        assert seen.step == list(range(1, 121))
    finally:
        kill_leftovers(data_folder)
