"""An end without a record is never a success."""

from dataclasses import replace

import pytest

from qlora_studio.contracts.enums import ExitReason, JobStatus, StopMode
from qlora_studio.contracts.events import ErrorEvent, ExitFile, ResultFile
from qlora_studio.jobs.outcome import Records, decide, read_records, read_stop, write_stop
from qlora_studio.storage import checkpoints

ENDED = {"ended_at": 1.0}
OK = ResultFile(reason=ExitReason.OK, step=3)
STOPPED = ResultFile(reason=ExitReason.USER_STOP, step=3)
NAN = ResultFile(reason=ExitReason.NAN_LOSS, message="Not a number at step 3.", step=3)
ERROR = ErrorEvent(seq=1, ts=1, reason=ExitReason.BAD_DATA, message="No clip could be read.")


@pytest.mark.parametrize(
    ("records", "status", "reason"),
    [
        (Records(result=OK), JobStatus.SUCCEEDED, ExitReason.OK),
        (Records(result=OK, exit=ExitFile(returncode=0, **ENDED)), JobStatus.SUCCEEDED, ExitReason.OK),
        (Records(result=STOPPED), JobStatus.STOPPED, ExitReason.USER_STOP),
        (Records(result=NAN), JobStatus.FAILED, ExitReason.NAN_LOSS),
        (Records(exit=ExitFile(returncode=0, **ENDED)), JobStatus.FAILED, ExitReason.INTERNAL),
        (Records(exit=ExitFile(returncode=1, **ENDED)), JobStatus.FAILED, ExitReason.INTERNAL),
        (Records(exit=ExitFile(returncode=73, **ENDED)), JobStatus.FAILED, ExitReason.DISK_FULL),
        (Records(exit=ExitFile(returncode=1, **ENDED), error=ERROR), JobStatus.FAILED, ExitReason.BAD_DATA),
        (Records(exit=ExitFile(returncode=-9, signal=9, **ENDED)), JobStatus.FAILED, ExitReason.KILLED),
        (
            Records(exit=ExitFile(returncode=-9, signal=9, **ENDED), stop=StopMode.KILL),
            JobStatus.STOPPED,
            ExitReason.USER_STOP,
        ),
        (
            Records(exit=ExitFile(returncode=None, **ENDED), stop=StopMode.SAVE),
            JobStatus.STOPPED,
            ExitReason.USER_STOP,
        ),
        (Records(), JobStatus.LOST, None),
        (Records(is_rebooted=True), JobStatus.LOST, ExitReason.REBOOT),
        (Records(stop=StopMode.SAVE), JobStatus.LOST, None),
    ],
)
def test_the_outcome_follows_from_the_records(records, status, reason):
    outcome = decide(records)
    assert (outcome.status, outcome.reason) == (status, reason)


def test_a_killed_worker_is_told_with_its_signal():
    assert "killed by signal 9" in decide(Records(exit=ExitFile(returncode=-9, signal=9, **ENDED))).message


@pytest.mark.parametrize(
    "records",
    [
        Records(),
        Records(is_rebooted=True),
        Records(exit=ExitFile(returncode=-9, signal=9, **ENDED)),
        Records(exit=ExitFile(returncode=-15, escalated=True, **ENDED), stop=StopMode.SAVE),
    ],
)
def test_going_on_is_offered_only_where_there_is_something_to_go_on_from(records, tmp_path):
    assert "from the beginning" in decide(records).message
    checkpoints.save(tmp_path, step=3, fill=lambda _: None, state={})
    message = decide(replace(records, checkpoints_path=tmp_path)).message
    assert "from the last checkpoint" in message
    assert "beginning" not in message


def test_a_damaged_checkpoint_is_none(tmp_path):
    folder = tmp_path / "checkpoints"
    path, _ = checkpoints.save(folder, step=3, fill=lambda f: (f / "a").write_text("a"), state={})
    assert read_records(tmp_path / "attempt-1").has_checkpoint
    (path / "a").write_text("b!")
    assert not read_records(tmp_path / "attempt-1").has_checkpoint


def test_an_end_that_promises_nothing_reads_no_checkpoint(tmp_path, monkeypatch):
    checkpoints.save(tmp_path / "checkpoints", step=3, fill=lambda _: None, state={})
    monkeypatch.setattr(checkpoints, "verify", lambda _: pytest.fail("it was read"))
    (tmp_path / "attempt-1").mkdir()
    (tmp_path / "attempt-1" / "result.json").write_text(OK.model_dump_json())
    assert decide(read_records(tmp_path / "attempt-1")).status is JobStatus.SUCCEEDED
    (tmp_path / "attempt-1" / "result.json").unlink()
    (tmp_path / "attempt-1" / "exit.json").write_text(ExitFile(returncode=1, **ENDED).model_dump_json())
    assert decide(read_records(tmp_path / "attempt-1")).reason is ExitReason.INTERNAL


def test_broken_records_count_as_missing(tmp_path):
    (tmp_path / "result.json").write_text('{"reason": "ok"')
    (tmp_path / "exit.json").write_text("")
    assert decide(read_records(tmp_path)).status is JobStatus.LOST


def test_a_kill_is_not_taken_back(tmp_path):
    assert read_stop(tmp_path) is None
    write_stop(tmp_path, StopMode.SAVE)
    assert read_stop(tmp_path) is StopMode.SAVE
    write_stop(tmp_path, StopMode.KILL)
    write_stop(tmp_path, StopMode.SAVE)
    assert read_stop(tmp_path) is StopMode.KILL
