"""One step of a job tried in a process of its own, which may say anything, hang or be killed."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlmodel import Session

from qlora_studio.contracts.enums import ExitReason, JobStatus, Role
from qlora_studio.core import devices
from qlora_studio.core.errors import Conflict, Forbidden, InvalidInput, NotFound, Unavailable
from qlora_studio.db.models import Job, User
from qlora_studio.jobs import rehearsal_slot
from qlora_studio.jobs.supervisor import Supervisor
from qlora_studio.launchers.base import Launcher
from qlora_studio.services import queue, rehearsals, taking_up
from qlora_studio.services.rehearsals import Rehearsal, RehearsalPublic
from qlora_studio.state.rehearsal import rows_of, view_of
from tests.conftest import make_user
from tests.jobs.workbench import make_dataset, make_model, make_spec
from tests.waiting import wait_for

STUB = """
import json, os, pathlib, signal, sys, time
mode, spec = sys.argv[1], json.loads(pathlib.Path(sys.argv[2]).read_text())
assert sys.argv[3] == "--memory" and int(sys.argv[4]) > 0
folder = pathlib.Path(spec["attempt_path"]) / "rehearsal"
folder.mkdir(parents=True)
event = {"v": 1, "seq": 1, "ts": 1, "type": "phase", "name": "model", "label": "Loading"}
(folder / "events.jsonl").write_text(json.dumps(event, separators=(",", ":")) + "\\n")
if mode == "hang":
    time.sleep(60)
if mode == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if mode == "chatty":
    os.write(2, b"x" * 50_000)
    deadline = time.monotonic() + 10
    while os.fstat(2).st_size > 1000:
        assert time.monotonic() < deadline
        time.sleep(0.01)
if mode == "nonsense":
    print("what?"); sys.exit(3)
n_clips = len(pathlib.Path(spec["clips_path"]).read_text().splitlines())
found = {"step_s": 2.0, "peak_rss_bytes": 10**9, "checkpoint_bytes": 10**6, "n_clips": n_clips}
found |= {"ok": True, "reason": "ok", "message": "One step works.", "n_clips_read": n_clips}
if mode == "bad_data":
    found |= {"ok": False, "reason": "bad_data", "message": "Clip c cannot be read."}
print(json.dumps(found))
sys.exit(0 if found["ok"] else 1)
"""
Start = Callable[..., Rehearsal]


@pytest.fixture
def start(session: Session, user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Begin a rehearsal with a process that behaves as told."""
    stub = tmp_path / "stub.py"
    stub.write_text(STUB)
    monkeypatch.setattr(rehearsals, "_LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(rehearsals, "_LOOK_FOR_SLOT_EVERY_S", 0.02)
    spec = make_spec(make_dataset(session, user), make_model(session, user), **{
        "optimization": {"max_steps": 8, "batch_size": 2, "gradient_accumulation": 3}
    })  # fmt: skip

    def begin(mode: str = "fine", *, actor: User = user, is_waiting: bool = False) -> Rehearsal:
        monkeypatch.setattr(rehearsals, "COMMAND", (sys.executable, str(stub), mode))
        return rehearsals.start(session, actor=actor, spec=spec, is_waiting=is_waiting)

    yield begin
    for thread in threading.enumerate():
        if thread.name.startswith("rehearsal-"):
            thread.join(10)


def ended(rehearsal: Rehearsal) -> Rehearsal:
    wait_for(lambda: rehearsal.status == "done" and not rehearsal.folder.exists())
    return rehearsal


def make_busy(session: Session, user: User, start: Start, status: JobStatus = JobStatus.RUNNING) -> Job:
    job = Job(
        owner_id=user.id,
        name="other",
        status=status,
        training_type="qlora",  # type: ignore[arg-type]
        dataset_id=make_dataset(session, user).id,
        model_id=make_model(session, user).id,
    )
    session.add(job)
    session.commit()
    return job


def test_a_step_that_works_tells_what_it_took(start: Start, user: User) -> None:
    found = ended(start())
    assert found.report is not None
    assert (found.report.ok, found.report.n_clips_read) == (True, 9)
    public = RehearsalPublic.of(rehearsals.get(found.id, actor=user))
    assert (public.status, public.steps_s) == ("done", 2.0 * 8 * 3)
    assert view_of(found).sentence == "One step works. All 9 clips can be read."
    rows = {row.name: (row.foretold, row.found) for row in rows_of(found)}
    assert rows["Memory"][1] == "1.0 GB"
    assert rows["All steps at this pace"][1] == "48 s"
    with pytest.raises(NotFound):
        rehearsals.get("try_none", actor=user)


@pytest.mark.parametrize(
    ("mode", "reason", "words"),
    [
        ("bad_data", ExitReason.BAD_DATA, "Clip c cannot be read."),
        ("killed", ExitReason.OOM_HOST, "signal 9"),
        ("nonsense", ExitReason.INTERNAL, "status 3"),
    ],
)
def test_a_step_that_fails_says_why(mode: str, reason: ExitReason, words: str, start: Start) -> None:
    report = ended(start(mode)).report
    assert report is not None
    assert (report.ok, report.reason) == (False, reason)
    assert words in report.message


def test_a_folder_that_can_not_be_written_is_not_called_a_full_disk(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(rehearsals, "_write", denied)
    with pytest.raises(Unavailable, match="Permission denied"):
        start()


def test_what_the_process_prints_is_bounded(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsals, "_MAX_OUTPUT_BYTES", 10_000)
    assert ended(start("chatty")).report.ok  # type: ignore[union-attr]


def test_of_a_log_of_any_size_only_the_end_is_read(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        log.truncate(1 << 40)  # takes no space
    assert rehearsals._read_report(tmp_path, 3).reason is ExitReason.INTERNAL


def test_a_library_that_gives_up_for_want_of_memory_is_told_as_that(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("OpenBLAS error: Memory allocation still failed after retries.\n")
    report = rehearsals._read_report(tmp_path, 1)
    assert report.reason is ExitReason.OOM_HOST
    assert "by a library" in report.message


def test_it_can_be_called_off_and_only_one_is_under_way(start: Start, user: User, session: Session) -> None:
    found = start("hang")
    wait_for(lambda: found.label == "Loading")
    with pytest.raises(Conflict, match=found.id):
        start()
    with pytest.raises(NotFound):
        rehearsals.cancel(found.id, actor=make_user(session, "mallory"))
    rehearsals.cancel(found.id, actor=user)
    assert ended(found).report.reason is ExitReason.USER_STOP  # type: ignore[union-attr]
    assert rows_of(found) == []
    assert ended(start()).report.ok  # type: ignore[union-attr]


def test_a_step_without_end_is_ended(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsals, "LIMIT_S", 0.1)
    assert ended(start("hang")).report.reason is ExitReason.HUNG  # type: ignore[union-attr]


def test_none_begins_while_a_job_has_the_only_device(
    start: Start, user: User, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "count_slots", lambda: 1)
    job = make_busy(session, user, start)
    with pytest.raises(Conflict) as refused:
        start()
    assert refused.value.message == rehearsals.BUSY
    found = start(is_waiting=True)
    wait_for(lambda: "Waiting until" in found.label)
    job.status = JobStatus.SUCCEEDED
    session.add(job)
    session.commit()
    assert ended(found).report.ok  # type: ignore[union-attr]


def test_a_step_that_waits_comes_before_queued_jobs(
    start: Start, user: User, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor looks at the queue all the time, and there is always a job in it."""
    monkeypatch.setattr(devices, "count_slots", lambda: 1)
    running = make_busy(session, user, start)
    queued = make_busy(session, user, start, JobStatus.QUEUED)
    supervisor = Supervisor(_NoLauncher())
    assert supervisor._claim_next() is None
    found = start(is_waiting=True)
    wait_for(lambda: "Waiting until" in found.label)
    assert queue.get_queue(session, actor=user).n_busy == 1, "and not two of one"
    running.status = JobStatus.SUCCEEDED
    session.add(running)
    session.commit()
    claimed: list[Job | None] = [None]
    wait_for(lambda: claimed.append(supervisor._claim_next()) or claimed[-1] is not None)
    assert found.status == "done", "the job had to wait for it"
    assert ended(found).report.ok  # type: ignore[union-attr]
    assert claimed[-1].id == queued.id  # type: ignore[union-attr]


def test_between_two_steps_a_queued_job_starts(
    start: Start, user: User, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line of steps does not keep all jobs waiting."""
    monkeypatch.setattr(devices, "count_slots", lambda: 1)
    queued = make_busy(session, user, start, JobStatus.QUEUED)
    ended(start())
    second = start(is_waiting=True)
    wait_for(lambda: second.label != "Waiting")
    claimed = Supervisor(_NoLauncher())._claim_next()
    assert claimed is not None
    assert claimed.id == queued.id
    assert second.status == "waiting"
    session.rollback()  # what it has read is older than the claim
    queued.status = JobStatus.SUCCEEDED
    session.add(queued)
    session.commit()
    assert ended(second).report.ok  # type: ignore[union-attr]


def test_a_step_keeps_its_slot_when_that_of_another_process_ends(start: Start, user: User) -> None:
    found = start("hang")
    wait_for(lambda: found.label == "Loading")
    rehearsal_slot.give_jobs_a_turn()
    wait_for(lambda: rehearsal_slot.n_held() == 1)
    rehearsals.cancel(found.id, actor=user)
    ended(found)
    assert rehearsal_slot.n_held() == 0


def test_no_step_waits_for_jobs_of_a_paused_queue(
    start: Start, user: User, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "count_slots", lambda: 1)
    make_busy(session, user, start, JobStatus.QUEUED)
    queue.set_paused(session, actor=user, is_paused=True)
    session.commit()
    ended(start())
    second = start("hang")
    wait_for(lambda: second.status == "running")
    rehearsals.cancel(second.id, actor=user)
    ended(second)


class _NoLauncher(Launcher):
    def launch(self, attempt_path: Path) -> None:
        """Nothing: the queue is what is looked at."""


def test_one_that_waits_can_be_called_off(
    start: Start, user: User, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "count_slots", lambda: 1)
    make_busy(session, user, start)
    found = start(is_waiting=True)
    rehearsals.cancel(found.id, actor=user)
    assert ended(found).report.reason is ExitReason.USER_STOP  # type: ignore[union-attr]


def test_what_a_killed_process_left_is_swept_but_nothing_that_waits(
    start: Start, user: User, session: Session, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that starts while the command line tries a step knows nothing of it but its folder."""
    monkeypatch.setattr(devices, "count_slots", lambda: 1)
    make_busy(session, user, start)
    waiting = start(is_waiting=True)
    left = data_folder / "rehearsals" / "try_left"
    left.mkdir()
    (left / "log").write_text("killed")
    long_ago = time.time() - 2 * 3600
    for path in (waiting.folder, *waiting.folder.iterdir(), left / "log", left):
        os.utime(path, (long_ago, long_ago))
    wait_for(lambda: waiting.folder.stat().st_mtime > long_ago + 3600)
    monkeypatch.setattr(rehearsals, "_stage", rehearsals._Stage())
    monkeypatch.setattr(taking_up, "_hold_the_folder", lambda: None)
    monkeypatch.setattr(taking_up.supervisor, "start", lambda: None)
    taking_up.begin()
    assert (left.exists(), waiting.folder.exists()) == (False, True)
    waiting.is_cancelled = True
    ended(waiting)


def test_what_could_not_be_launched_is_not_tried(start: Start, session: Session, user: User) -> None:
    viewer = make_user(session, "viv", role=Role.VIEWER)
    with pytest.raises(Forbidden):
        start(actor=viewer)
    with pytest.raises(InvalidInput):  # another person's dataset and model are not there
        start(actor=make_user(session, "mallory"))
