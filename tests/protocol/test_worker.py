"""The real worker as a process: killed, stopped, resumed, out of space, on tiny models."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qlora_studio.contracts.enums import ExitReason
from qlora_studio.contracts.spec import WorkerSpec
from qlora_studio.storage import checkpoints
from tests.protocol.test_toy import result_of, start, wait_for_step
from tests.training import tiny, tones
from tests.training.running import adapter_bytes, losses

pytestmark = pytest.mark.slow
WORKER = "qlora_studio.training"
SETTINGS: dict[str, Any] = {
    "qlora": {"dropout": 0.1},
    "optimization": {"max_steps": 40},
    "evaluation": {"every_steps": 15, "save_every_steps": 10, "n_samples": 1},
}


@pytest.fixture(scope="module")
def clips_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_clips(tmp_path_factory.mktemp("clips"), n_train=24, n_validation=4)


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_wav2vec2_bert(tmp_path_factory.mktemp("model"))


def _next_attempt(spec: WorkerSpec) -> WorkerSpec:
    number = spec.attempt + 1
    path = spec.run_path / f"attempt-{number}"
    return spec.model_copy(update={"attempt": number, "resume": True, "attempt_path": path})


@pytest.mark.fault("F1", "kill -9 the real worker in mid-epoch", "resumed to the control's losses and bytes")
def test_killed_in_mid_epoch_and_resumed_ends_as_if_never_killed(
    tmp_path: Path, clips_path: Path, model_path: Path
) -> None:
    whole = tiny.make_spec(tmp_path / "whole", model_path, clips_path, **SETTINGS)
    assert start(whole, WORKER).wait(120) == 0

    killed = tiny.make_spec(tmp_path / "killed", model_path, clips_path, **SETTINGS)
    process = start(killed, WORKER)
    wait_for_step(killed, 13, deadline_s=120)
    process.kill()
    assert process.wait(10) == -signal.SIGKILL
    assert not (killed.attempt_path / "result.json").exists()
    newest = checkpoints.find_newest(killed.run_path / "checkpoints")
    assert newest is not None

    resumed = _next_attempt(killed)
    assert start(resumed, WORKER).wait(120) == 0
    steps = [event["step"] for event in tiny.read_events(resumed, "metric")]
    assert steps == list(range(newest.step + 1, 41))
    assert losses(whole)[newest.step :] == losses(resumed)
    assert adapter_bytes(whole) == adapter_bytes(resumed)
    assert result_of(resumed).base_metrics == result_of(whole).base_metrics


def test_sigterm_keeps_the_adapter(tmp_path: Path, clips_path: Path, model_path: Path) -> None:
    spec = tiny.make_spec(tmp_path / "run", model_path, clips_path, optimization={"max_steps": 5000})
    process = start(spec, WORKER)
    wait_for_step(spec, 3, deadline_s=120)
    # Without memory it goes before the server (0) and after the inference process (800).
    assert 0 < int(Path(f"/proc/{process.pid}/oom_score_adj").read_text()) < 800
    process.terminate()
    assert process.wait(30) == 0
    result = result_of(spec)
    assert result.reason is ExitReason.USER_STOP
    assert (Path(result.adapter_path or "") / "adapter_model.safetensors").is_file()
    assert tiny.read_events(spec)[-1]["type"] == "finished"


def test_heartbeats_tell_of_use_and_every_event_fits_the_contract(
    tmp_path: Path, clips_path: Path, model_path: Path
) -> None:
    from pydantic import TypeAdapter

    from qlora_studio.contracts.events import Event

    spec = tiny.make_spec(tmp_path / "run", model_path, clips_path)
    assert start(spec, WORKER).wait(120) == 0
    adapter = TypeAdapter(Event)
    for line in (spec.attempt_path / "events.jsonl").read_bytes().splitlines():
        adapter.validate_json(line)
    beats = tiny.read_events(spec, "heartbeat")
    assert beats[-1]["rss_bytes"] > 100 * 2**20
    log = (spec.attempt_path / "worker.log").read_text()
    assert "Traceback" not in log
    assert "%|" not in log  # no progress bars in the log


def test_validate_is_light_and_names_what_is_wrong(
    tmp_path: Path, clips_path: Path, model_path: Path
) -> None:
    good = tiny.make_spec(tmp_path / "good", model_path, clips_path)
    bad = tiny.make_spec(tmp_path / "bad", tmp_path, clips_path)
    for spec, status in ((good, 0), (bad, 1)):
        path = tiny.write_spec(spec)
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", WORKER, "validate", str(path)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == status
        report = json.loads(done.stdout)
        assert report["ok"] is (status == 0)
        assert "torch" not in [line.split("|")[-1].strip() for line in done.stderr.splitlines()]
    assert "config.json" in report["errors"][0]


def test_a_model_that_is_none_fails_with_a_sentence(tmp_path: Path, clips_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert"}')
    spec = tiny.make_spec(tmp_path / "run", folder, clips_path)
    assert start(spec, WORKER).wait(60) == 1
    result = result_of(spec)
    assert result.reason is ExitReason.MODEL_LOAD
    assert "bert" in result.message


def test_a_classifier_trains_as_a_process_and_its_events_fit_the_contract(tmp_path: Path) -> None:
    from pydantic import TypeAdapter

    from qlora_studio.contracts.events import Event

    listing = tones.write_tones(tmp_path / "tones")
    model_path = tones.make_ast(tmp_path / "model")
    spec = tones.make_spec(tmp_path / "run", model_path, listing, optimization={"max_steps": 20})
    assert start(spec, WORKER).wait(120) == 0
    adapter = TypeAdapter(Event)
    for line in (spec.attempt_path / "events.jsonl").read_bytes().splitlines():
        adapter.validate_json(line)
    result = result_of(spec)
    assert (result.reason, result.step) == (ExitReason.OK, 20)
    assert result.metrics["accuracy"] > result.base_metrics["accuracy"]  # type: ignore[operator]
    assert result.extra["classes"] == ["high", "low", "middle"]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", WORKER, "validate", str(tiny.write_spec(spec))],
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout)["ok"]
    assert not {"torch", "sklearn"} & {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
