"""Kill, freeze and starve workers; each test is one line of the table of faults (F1, F14, …)."""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from qlora_studio.contracts.enums import ExitReason, JobStatus, StopMode
from qlora_studio.core.errors import Conflict
from qlora_studio.jobs import logs, metrics
from qlora_studio.storage import checkpoints, layout
from tests.faults.harness import (
    DETECTED_WITHIN_S,
    ROOT,
    STOPPED_WITHIN_S,
    adapter_bytes,
    adapter_of,
    events,
    is_gone,
    load,
    long,
    loss_steps,
    resume,
    shim_record,
    stop,
    wait_for,
    wait_for_end,
    wait_for_status,
    wait_for_step,
    written_steps,
)

pytestmark = pytest.mark.slow


MOMENTS = {
    "at step 0": "kill_in_eval@0",
    "before the first checkpoint": "crash@7",
    "in mid-epoch": "crash@15",
    "inside a save": "kill_in_save@20",
    "inside an evaluation": "kill_in_eval@20",
    "at the last step": "crash@40",
    "while the adapter is written": "kill_in_adapter",
}


@pytest.mark.fault(
    "F1",
    "kill -9 the worker: " + ", ".join(MOMENTS),
    "killed by signal 9; resumed from the newest checkpoint; each step once; adapter bytes are the control's",
)
def test_f1_worker_killed_at_every_moment(supervisor, launch, user, saw):
    control = launch(40, "control")
    killed = {moment: launch(40, moment) for moment in MOMENTS}
    faults = ",".join(f"{moment}:{fault}" for moment, fault in MOMENTS.items())
    supervisor.start(QLORA_STUDIO_TOY_FAIL=faults, QLORA_STUDIO_SLOTS="8", QLORA_STUDIO_TOY_STEP_S="0.02")
    slowest = 0.0
    for moment, job in killed.items():
        failed = wait_for_status(job.id, JobStatus.FAILED)
        last = events(job.id)[-1]["ts"]
        slowest = max(slowest, failed.finished_at.timestamp() - last)
        assert failed.reason is ExitReason.KILLED, moment
        assert "killed by signal 9" in failed.message, moment
        assert adapter_of(job.id) is None, moment
        resume(user, job.id)
    assert slowest < DETECTED_WITHIN_S
    assert wait_for_end(control.id).status is JobStatus.SUCCEEDED
    for moment, job in killed.items():
        done = wait_for_end(job.id)
        assert (done.status, done.attempt) == (JobStatus.SUCCEEDED, 2), (moment, done.message)
        assert loss_steps(job.id) == list(range(1, 41)), moment
        assert adapter_bytes(job.id) == adapter_bytes(control.id), moment
        assert done.best_metrics == load(control.id).best_metrics, moment
    first = {moment: (written_steps(job.id, 2) or [41])[0] for moment, job in killed.items()}
    assert first == dict(zip(MOMENTS, (1, 1, 11, 11, 11, 31, 41), strict=True))
    saw(f"{len(MOMENTS)} moments, seen within {slowest:.1f} s")


@pytest.mark.fault(
    "F14",
    "Stop ten times, server killed in between",
    "one end, nothing alive, adapter kept",
)
def test_f14_stop_ten_times_with_the_server_killed_in_between(supervisor, launch, user):
    job = launch(4_000)
    supervisor.start()
    wait_for_step(job.id, 25)
    record = shim_record(job.id)
    for i in range(10):
        stop(user, job.id)
        if i == 4:
            supervisor.kill()
    supervisor.start()
    done = wait_for_end(job.id, STOPPED_WITHIN_S)
    assert (done.status, done.reason) == (JobStatus.STOPPED, ExitReason.USER_STOP)
    assert is_gone(record["worker_pid"])
    with pytest.raises(ProcessLookupError):
        os.killpg(record["worker_pid"], 0)
    adapter = adapter_of(job.id)
    assert adapter is not None
    result = json.loads((layout.attempt_path(job.id, 1) / "result.json").read_text())
    assert result["step"] == loss_steps(job.id)[-1]
    assert (layout.run_path(job.id) / "adapter" / "adapter_model.safetensors").stat().st_size > 0


@pytest.mark.fault("F14", "Stop during the start, at the last step, too late", "one final state")
def test_f14_stop_during_start_at_the_last_step_and_after_the_end(supervisor, launch, user):
    early, late = launch(4_000, "early"), launch(30, "late")
    supervisor.start()
    wait_for(lambda: load(early.id).status is not JobStatus.QUEUED, within_s=20, what="started")
    stop(user, early.id)
    assert wait_for_end(early.id, STOPPED_WITHIN_S).status is JobStatus.STOPPED
    wait_for_step(late.id, 28)
    with contextlib.suppress(Conflict):  # it may have been quicker
        stop(user, late.id)
    done = wait_for_end(late.id, STOPPED_WITHIN_S)
    assert done.status in (JobStatus.STOPPED, JobStatus.SUCCEEDED)
    assert adapter_of(late.id) is not None
    with pytest.raises(Conflict):
        stop(user, late.id)
    assert load(late.id).status is done.status


@pytest.mark.fault("F14", "Stop and discard", "every process of it gone within 5 s")
def test_f14_kill_proves_that_the_process_tree_is_gone(supervisor, launch, user):
    job = launch(4_000)
    supervisor.start()
    wait_for_step(job.id, 5)
    record = shim_record(job.id)
    asked_at = time.monotonic()
    stop(user, job.id, StopMode.KILL)
    assert wait_for_end(job.id).status is JobStatus.STOPPED
    assert time.monotonic() - asked_at < DETECTED_WITHIN_S
    assert is_gone(record["worker_pid"])
    assert is_gone(record["shim_pid"])


@pytest.mark.fault(
    "F14",
    "Stop during a save",
    "stopped at that step, with its checkpoint and its adapter",
)
def test_f14_stop_during_a_save(supervisor, launch, user):
    job, control = launch(4_000, "stopped"), launch(20, "control")
    supervisor.start(QLORA_STUDIO_TOY_FAIL="stopped:slow_save@20", QLORA_STUDIO_SLOTS="2")
    partial = layout.run_path(job.id) / "checkpoints" / ".partial-step-00000020"
    wait_for(partial.exists, within_s=30, what="the save begins")
    stop(user, job.id)
    done = wait_for_end(job.id, STOPPED_WITHIN_S)
    assert (done.status, done.reason, done.step) == (JobStatus.STOPPED, ExitReason.USER_STOP, 20)
    newest = checkpoints.find_newest(layout.run_path(job.id) / "checkpoints")
    assert (newest.step, partial.exists()) == (20, False)
    assert wait_for_end(control.id).status is JobStatus.SUCCEEDED
    assert adapter_bytes(job.id) == adapter_bytes(control.id)


@pytest.mark.fault(
    "F15",
    "SIGSTOP; deaf to SIGTERM",
    "shown as stalled; Stop ends it by force and says so; nothing is left",
)
@pytest.mark.parametrize("how", ["frozen", "deaf"])
def test_f15_a_worker_that_does_not_answer_is_stopped_by_force(supervisor, launch, user, saw, how):
    job = launch(4_000)
    supervisor.start(QLORA_STUDIO_TOY_FAIL="hang@12" if how == "deaf" else "")
    wait_for_step(job.id, 11)
    record = shim_record(job.id)
    if how == "frozen":
        assert not load(job.id).is_stalled
        os.kill(record["worker_pid"], signal.SIGSTOP)
        seen_s = wait_for(lambda: load(job.id).is_stalled, within_s=15, what="shown as stalled")
        saw(f"shown as stalled after {seen_s:.1f} s")
    asked_at = time.monotonic()
    stop(user, job.id)
    done = wait_for_end(job.id, STOPPED_WITHIN_S)
    assert done.status is JobStatus.STOPPED
    assert "by force" in done.message
    assert is_gone(record["worker_pid"])
    saw(f"{how}: stopped after {time.monotonic() - asked_at:.1f} s")


@pytest.mark.fault(
    "F16",
    "out of memory: on the GPU (raised), on the machine (an address-space limit)",
    "the reason and one next action; the next job starts within 5 s",
)
def test_f16_out_of_memory(supervisor, launch, saw):
    jobs_by_fault = {name: launch(40, name) for name in ("oom_cuda", "oom_host")}
    after = launch(3, "next")
    supervisor.start(QLORA_STUDIO_TOY_FAIL="oom_cuda:oom_cuda@5,oom_host:oom_host@5")
    for name, job in jobs_by_fault.items():
        failed = wait_for_end(job.id)
        assert (failed.status, failed.reason) == (JobStatus.FAILED, ExitReason(name))
        assert "Halve the batch size" in failed.message
    assert wait_for_end(after.id).status is JobStatus.SUCCEEDED
    gap = (load(after.id).started_at - load(jobs_by_fault["oom_host"].id).finished_at).total_seconds()
    assert 0 <= gap < DETECTED_WITHIN_S
    saw(f"the next one started after {gap:.1f} s")


@pytest.mark.fault(
    "F17",
    "the loss of step 15 is not a number",
    "stopped at once, naming the step and the last good checkpoint; a gap in the curve; resumed without it",
)
def test_f17_not_a_number(supervisor, launch, user):
    job = launch(40)
    supervisor.start(QLORA_STUDIO_TOY_FAIL="nan@15", QLORA_STUDIO_TOY_STEP_S="0.02")
    failed = wait_for_end(job.id)
    assert (failed.status, failed.reason) == (JobStatus.FAILED, ExitReason.NAN_LOSS)
    assert "at step 15" in failed.message
    assert "step 10" in failed.message
    curve = metrics.read_all(layout.run_path(job.id) / "metrics", "loss")[:]
    assert curve["step"].tolist() == list(range(1, 16))
    assert [math.isnan(value) for value in curve["value"]] == [False] * 14 + [True]
    resume(user, job.id)
    assert wait_for_end(job.id).status is JobStatus.SUCCEEDED
    curve = metrics.read_all(layout.run_path(job.id) / "metrics", "loss")[:]
    assert curve["step"].tolist() == list(range(1, 41))
    assert not any(math.isnan(value) for value in curve["value"])


NOISE = """
import os
line = b"x" * 10_000_000 + b"\\n"
junk = os.urandom(1 << 20) + b"\\x1b[2J\\x1b]0;title\\x07" * 1000 + b"\\n"
left = {n_bytes}
while left > 0:
    for piece in (line, junk):
        os.write(1, piece)
        left -= len(piece)
print("token=hf_abcdefghijklmnopqrstuvwxyz0123456789 the last line")
"""


@pytest.mark.fault(
    "F27",
    "10 MB lines, binary, terminal escapes: 60 MB, and 1 GB",
    "two files at most, the end is readable and clean, shim and reader stay small",
)
@pytest.mark.parametrize("n_bytes", [60_000_000, pytest.param(1_000_000_000, marks=long)])
def test_f27_a_worker_that_logs_without_end_is_capped(tmp_path, saw, n_bytes):
    attempt = tmp_path / "attempt-1"
    attempt.mkdir()
    command = [sys.executable, "-c", NOISE.format(n_bytes=n_bytes)]
    (attempt / "launch.json").write_text(json.dumps({"command": command, "log_max_bytes": 4_000_000}))
    shim = [sys.executable, "-I", "-S", str(ROOT / "qlora_studio/jobs/shim.py"), str(attempt)]
    assert subprocess.run(shim, check=False, timeout=30).returncode == 0
    wait_for((attempt / "shim.json").exists, within_s=10, what="shim.json")
    pid = json.loads((attempt / "shim.json").read_text())["shim_pid"]
    peak = 0

    def is_over() -> bool:
        nonlocal peak
        with contextlib.suppress(OSError, IndexError):
            status = Path(f"/proc/{pid}/status").read_text()
            peak = max(peak, int(status.split("VmHWM:")[1].split()[0]))
        return (attempt / "exit.json").exists()

    wait_for(is_over, within_s=120, what="exit.json")
    assert json.loads((attempt / "exit.json").read_text())["returncode"] == 0
    assert sum(p.stat().st_size for p in attempt.glob("worker.log*")) <= 8_100_000
    assert 0 < peak < 40_000, "kB of the shim"
    tracemalloc.start()
    tail = logs.read_tail(attempt, 200)
    reader = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reader < 32 * 2**20
    assert tail.lines[-1].text.endswith("the last line")
    assert "hf_abc" not in tail.lines[-1].text
    assert not any("\x1b" in line.text or len(line.text) > logs.MAX_LINE + 10 for line in tail.lines)
    assert subprocess.run(shim, check=False, timeout=30).returncode == 3  # an attempt is used once
    saw(f"{n_bytes // 1_000_000} MB: shim at most {peak / 1024:.0f} MB, reader {reader / 2**20:.0f} MB")
