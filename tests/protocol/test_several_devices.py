"""The real worker on two devices: two processes on the CPU, the same launcher and exchange as on cards."""

import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from qlora_studio.contracts.enums import ExitReason, Split
from qlora_studio.contracts.spec import WorkerSpec
from qlora_studio.storage import checkpoints
from tests.protocol.test_toy import result_of, start, wait_for_step
from tests.training import tiny
from tests.training.running import adapter_bytes, adapter_tensors, losses

pytestmark = pytest.mark.slow
WORKER = "qlora_studio.training"
BATCH = 4
MODELS = {
    "ctc": tiny.make_wav2vec2_bert,
    "whisper": tiny.make_whisper,
    "moonshine": tiny.make_moonshine,
}


@pytest.fixture(scope="module")
def clips_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """13 clips: each epoch ends with a batch of one, which is nothing for the second device."""
    return tiny.write_clips(tmp_path_factory.mktemp("clips"), n_train=13, n_validation=3)


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_wav2vec2_bert(tmp_path_factory.mktemp("model"))


def _spec(root: Path, model_path: Path, clips_path: Path, n_devices: int = 2, **settings: Any) -> WorkerSpec:
    optimization = {"max_steps": 10, "batch_size": BATCH, "devices": n_devices}
    return tiny.make_spec(
        root,
        model_path,
        clips_path,
        qlora=settings.get("qlora"),
        optimization={**optimization, **settings.get("optimization", {})},
        evaluation={"every_steps": 5, "n_samples": 1, **settings.get("evaluation", {})},
    )


def _ranks(process: Any) -> list[psutil.Process]:
    """The processes that the worker has started, first one first."""
    return sorted(psutil.Process(process.pid).children(), key=lambda child: child.pid)


def _wait_until_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("ctc", {"evaluation": {"probe": True}}),
        ("ctc", {"optimization": {"mode": "exact", "gradient_accumulation": 2, "max_steps": 6}}),
        ("whisper", {}),
        ("whisper", {"qlora": {"target_modules": "decoder"}}),
        ("moonshine", {"optimization": {"gradient_accumulation": 2, "max_steps": 6}}),
    ],
)
def test_two_devices_take_the_same_steps_as_one(
    tmp_path: Path, clips_path: Path, family: str, settings: dict[str, Any]
) -> None:
    model_path = MODELS[family](tmp_path / "model")
    one = _spec(tmp_path / "one", model_path, clips_path, 1, **settings)
    two = _spec(tmp_path / "two", model_path, clips_path, 2, **settings)
    assert start(one, WORKER).wait(200) == 0
    assert start(two, WORKER).wait(200) == 0
    assert losses(two) == pytest.approx(losses(one), abs=1e-4)
    alone, shared = adapter_tensors(one), adapter_tensors(two)
    assert alone.keys() == shared.keys()
    for name, tensor in alone.items():
        torch.testing.assert_close(shared[name], tensor, atol=2e-4, rtol=1e-3)
    assert result_of(two).metrics == pytest.approx(result_of(one).metrics, abs=1e-3)
    # One stream of events, in order, and nothing of the processes' meeting left behind.
    events = tiny.read_events(two)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    steps = [event["step"] for event in events if event["type"] == "metric"]
    assert steps == list(range(1, len(losses(one)) + 1))
    assert not (two.attempt_path / "launcher").exists()


def test_all_of_them_end_early_together(tmp_path: Path, clips_path: Path, model_path: Path) -> None:
    spec = _spec(
        tmp_path / "run",
        model_path,
        clips_path,
        optimization={"max_steps": 500, "learning_rate": 1e-12},  # nothing gets better
        evaluation={"every_steps": 1, "early_stopping_patience": 2},
    )
    assert start(spec, WORKER).wait(120) == 0
    assert result_of(spec).reason is ExitReason.OK
    assert len(losses(spec)) < 10


def test_stopped_and_resumed_ends_as_if_never_stopped(
    tmp_path: Path, clips_path: Path, model_path: Path
) -> None:
    """With dropout, so that each process has randomness of its own to repeat."""
    settings: dict[str, Any] = {"qlora": {"dropout": 0.2}, "optimization": {"max_steps": 30}}
    whole = _spec(tmp_path / "whole", model_path, clips_path, **settings)
    assert start(whole, WORKER).wait(200) == 0

    stopped = _spec(tmp_path / "stopped", model_path, clips_path, **settings)
    process = start(stopped, WORKER)
    wait_for_step(stopped, 7, deadline_s=120)
    ranks = _ranks(process)
    process.terminate()  # as the shim does for one that is long in a step
    assert process.wait(60) == 0
    _wait_until_gone(ranks)
    result = result_of(stopped)
    assert result.reason is ExitReason.USER_STOP
    assert (Path(result.adapter_path or "") / "adapter_model.safetensors").is_file()
    newest = checkpoints.find_newest(stopped.run_path / "checkpoints")
    assert newest is not None
    assert newest.step == result.step < 30

    path = stopped.run_path / "attempt-2"
    resumed = stopped.model_copy(update={"attempt": 2, "resume": True, "attempt_path": path})
    assert start(resumed, WORKER).wait(200) == 0
    assert losses(resumed) == losses(whole)[newest.step :]
    assert adapter_bytes(resumed) == adapter_bytes(whole)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_job_as_it_ended(
    tmp_path: Path, clips_path: Path, model_path: Path, victim: int
) -> None:
    spec = _spec(tmp_path / "run", model_path, clips_path, optimization={"max_steps": 5000})
    process = start(spec, WORKER)
    wait_for_step(spec, 3, deadline_s=120)
    ranks = _ranks(process)
    assert len(ranks) == 2
    killed_at = time.monotonic()
    ranks[victim].kill()
    assert process.wait(20) == -signal.SIGKILL
    assert time.monotonic() - killed_at < 10
    _wait_until_gone(ranks)
    assert not (spec.attempt_path / "result.json").exists()


def test_the_processes_die_with_their_launcher(tmp_path: Path, clips_path: Path, model_path: Path) -> None:
    spec = _spec(tmp_path / "run", model_path, clips_path, optimization={"max_steps": 5000})
    process = start(spec, WORKER)
    wait_for_step(spec, 3, deadline_s=120)
    ranks = _ranks(process)
    assert len(ranks) == 2
    process.kill()
    process.wait(10)
    _wait_until_gone(ranks)
    assert not any(rank.is_running() for rank in ranks)


def test_stopped_before_the_first_step_nothing_waits_for_the_others(
    tmp_path: Path, clips_path: Path, model_path: Path
) -> None:
    spec = _spec(tmp_path / "run", model_path, clips_path)
    spec.attempt_path.mkdir(parents=True)
    (spec.attempt_path / "stop.json").write_text('{"mode": "save"}')
    process = start(spec, WORKER)
    assert process.wait(60) == 0
    result = result_of(spec)
    assert (result.reason, result.adapter_path) == (ExitReason.USER_STOP, None)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_cards_take_the_same_steps_as_one(tmp_path: Path, clips_path: Path, model_path: Path) -> None:
    """On CUDA sums are in another order, so the losses are near, not the same."""
    runs = []
    for cards in (["0"], ["0", "1"]):
        spec = _spec(tmp_path / f"on{len(cards)}", model_path, clips_path, len(cards))
        runs.append(spec.model_copy(update={"device": "cuda", "cards": cards}))
        assert start(runs[-1], WORKER).wait(300) == 0
    one, two = runs
    assert losses(two) == pytest.approx(losses(one), rel=1e-2)
    alone, shared = adapter_tensors(one), adapter_tensors(two)
    for name, tensor in alone.items():
        torch.testing.assert_close(shared[name], tensor, atol=1e-2, rtol=5e-2)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_a_killed_process_ends_the_others_on_cards_too(
    tmp_path: Path, clips_path: Path, model_path: Path
) -> None:
    """The others hang in NCCL then, where no signal handler of Python's would run."""
    spec = _spec(tmp_path / "run", model_path, clips_path, optimization={"max_steps": 5000})
    process = start(spec.model_copy(update={"device": "cuda", "cards": ["0", "1"]}), WORKER)
    wait_for_step(spec, 3, deadline_s=120)
    ranks = _ranks(process)
    ranks[1].kill()
    assert process.wait(20) == -signal.SIGKILL
    _wait_until_gone(ranks)


def test_what_went_wrong_beside_the_first_process_is_the_job_s_reason(
    tmp_path: Path, model_path: Path
) -> None:
    """A clip that cannot be decoded: every process finds it; whoever ends first, the sentence is the same."""
    clips_path = tiny.write_clips(tmp_path / "clips", n_train=8, n_validation=2)
    clips = tiny.read_clips(clips_path)
    broken = next(clip for clip in clips if clip.split is Split.TRAIN)
    Path(broken.path).write_bytes(b"no sound")
    spec = _spec(tmp_path / "run", model_path, clips_path)
    assert start(spec, WORKER).wait(120) == 1
    result = result_of(spec)
    assert result.reason is ExitReason.BAD_DATA
    assert broken.id in result.message
    types = [event["type"] for event in tiny.read_events(spec)]
    assert types[-2:] == ["error", "finished"]
    log = (spec.attempt_path / "worker.log").read_text()
    assert broken.id in log


def test_a_second_device_that_is_not_there_is_told(
    tmp_path: Path, clips_path: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    spec = _spec(tmp_path / "run", model_path, clips_path).model_copy(update={"device": "cuda"})
    assert start(spec, WORKER).wait(120) == 1
    result = result_of(spec)
    assert result.reason is ExitReason.MODEL_LOAD
    assert "no CUDA device" in result.message


def test_no_port_is_opened(tmp_path: Path, clips_path: Path, model_path: Path) -> None:
    spec = _spec(tmp_path / "run", model_path, clips_path, optimization={"max_steps": 5000})
    process = start(spec, WORKER)
    wait_for_step(spec, 2, deadline_s=120)
    for some in [psutil.Process(process.pid), *_ranks(process)]:
        listening = [c.laddr.ip for c in some.net_connections() if c.status == psutil.CONN_LISTEN]
        assert set(listening) <= {"127.0.0.1", "::1"}
    process.kill()
    process.wait(10)
