"""The toy worker as a process of its own: the whole protocol, quickly enough for every check."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qlora_studio.contracts.enums import ExitReason
from qlora_studio.contracts.events import ResultFile
from qlora_studio.contracts.spec import WorkerSpec
from qlora_studio.storage import checkpoints
from tests.training import tiny


@pytest.fixture
def spec(tmp_path: Path) -> WorkerSpec:
    spec = tiny.make_spec(tmp_path / "run", tmp_path, tmp_path / "none.jsonl", optimization={"max_steps": 10})
    tiny.write_spec(spec)
    return spec


def start(spec: WorkerSpec, module: str = "qlora_studio.training.toy", **env: str) -> subprocess.Popen[bytes]:
    path = tiny.write_spec(spec)
    command = [sys.executable, "-m", module, *(["run"] if module.endswith("training") else []), str(path)]
    names = {f"QLORA_STUDIO_TOY_{key}": value for key, value in env.items()}
    with (spec.attempt_path / "worker.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **names})


def result_of(spec: WorkerSpec) -> ResultFile:
    return ResultFile.model_validate_json((spec.attempt_path / "result.json").read_text())


def wait_for_step(spec: WorkerSpec, step: int, deadline_s: float = 60) -> None:
    """Return when the attempt has reported a step."""
    end = time.monotonic() + deadline_s
    path = spec.attempt_path / "events.jsonl"
    while time.monotonic() < end:
        lines = path.read_text().splitlines() if path.exists() else []
        steps = [event["step"] for event in map(json.loads, lines) if event["type"] == "metric"]
        if steps and steps[-1] >= step:
            return
        time.sleep(0.02)
    raise AssertionError(f"step {step} was not reached: {(spec.attempt_path / 'worker.log').read_text()}")


def test_a_run_from_start_to_result(spec: WorkerSpec) -> None:
    assert start(spec, STEP_S="0").wait(30) == 0
    events = tiny.read_events(spec)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["type"] for event in (events[0], events[-1])] == ["started", "finished"]
    assert [event["step"] for event in events if event["type"] == "metric"] == list(range(1, 11))
    result = result_of(spec)
    assert result.reason is ExitReason.OK
    assert (Path(result.adapter_path or "") / "adapter_config.json").is_file()


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        ("nan", ExitReason.NAN_LOSS),
        ("oom", ExitReason.OOM_HOST),
        ("bad_data", ExitReason.BAD_DATA),
        ("disk_full", ExitReason.DISK_FULL),
    ],
)
@pytest.mark.slow
def test_failures_are_told_with_their_reason(spec: WorkerSpec, failure: str, reason: ExitReason) -> None:
    assert start(spec, STEP_S="0", FAIL=failure).wait(30) == 1
    result = result_of(spec)
    assert result.reason is reason
    assert result.message.endswith(".")
    assert tiny.read_events(spec, "finished")[-1]["reason"] == reason


def test_a_crash_leaves_no_result(spec: WorkerSpec) -> None:
    assert start(spec, STEP_S="0", FAIL="crash").wait(30) == -signal.SIGKILL
    assert not (spec.attempt_path / "result.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["file", "signal"])
def test_stop_and_keep_then_resume(spec: WorkerSpec, how: str) -> None:
    process = start(spec, STEP_S="0.1")
    wait_for_step(spec, 6)
    if how == "file":
        (spec.attempt_path / "stop.json").write_text('{"mode": "save"}')
    else:
        process.terminate()
    assert process.wait(30) == 0
    result = result_of(spec)
    assert result.reason is ExitReason.USER_STOP
    assert 6 <= result.step < 10
    assert (Path(result.adapter_path or "") / "adapter_model.safetensors").is_file()

    update = {"attempt": 2, "resume": True, "attempt_path": spec.run_path / "attempt-2"}
    again = spec.model_copy(update=update)
    assert start(again, STEP_S="0").wait(30) == 0
    newest = checkpoints.find_newest(spec.run_path / "checkpoints")
    assert newest is not None
    steps = [event["step"] for event in tiny.read_events(again, "metric")]
    assert steps == list(range(result.step + 1, 11))


@pytest.mark.slow
def test_a_worker_ends_when_its_parent_dies(spec: WorkerSpec) -> None:
    """The parent here is a process in between, killed hard."""
    code = (
        "import subprocess, sys, time\n"
        "worker = subprocess.Popen([sys.executable, '-m', 'qlora_studio.training.toy', sys.argv[1]])\n"
        "print(worker.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    env = {**os.environ, "QLORA_STUDIO_TOY_STEP_S": "5"}
    path = str(spec.attempt_path / "spec.json")
    with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, env=env) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        deadline = time.monotonic() + 20
        while not (spec.attempt_path / "events.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.1)
        parent.kill()
    deadline = time.monotonic() + 10
    while _is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_running(pid)


def _is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False


def test_the_toy_loads_nothing_heavy() -> None:
    code = (
        "import sys, qlora_studio.training.toy\n"
        "heavy = {'torch', 'transformers', 'peft', 'numpy', 'reflex', 'sqlmodel'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
