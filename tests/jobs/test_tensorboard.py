"""TensorBoard's files, read back by TensorBoard's own reader."""

import json
import math
from pathlib import Path

import pytest
from tensorboard.backend.event_processing import event_accumulator, plugin_event_accumulator
from tensorboard.util import tensor_util

from qlora_studio.jobs import tensorboard
from qlora_studio.jobs.events import EventReader
from qlora_studio.jobs.tensorboard import EventFile
from qlora_studio.storage import layout

JOB = "job_0123456789"


@pytest.fixture(autouse=True)
def run_folder(data_folder: Path) -> Path:
    return layout.run_path(JOB)


class Worker:
    """Writes events as a worker does."""

    def __init__(self, attempt: int = 1) -> None:
        self.path = layout.attempt_path(JOB, attempt) / "events.jsonl"
        self.path.parent.mkdir(parents=True)
        self.seq = 0

    def write(self, **event: object) -> None:
        self.seq += 1
        with self.path.open("a") as file:
            file.write(json.dumps({"v": 1, "seq": self.seq, "ts": 1000.0 + self.seq, **event}) + "\n")

    def step(self, step: int, loss: float | None) -> None:
        self.write(type="metric", step=step, values={"loss": loss, "grad_norm": 1.0})


def take_in(worker: Worker, attempt: int = 1, file: EventFile | None = None) -> EventFile:
    reader = EventReader(worker.path)
    file = file or EventFile(JOB, attempt)
    file.take(reader.read(), offset=reader.offset)
    return file


def scalars(tag: str) -> list[tuple[int, float]]:
    """What TensorBoard's page shows of a tag."""
    accumulator = plugin_event_accumulator.EventAccumulator(
        str(tensorboard.folder_path(JOB)), tensor_size_guidance={"scalars": 0}
    )
    accumulator.Reload()
    if tag not in accumulator.Tags()["tensors"]:
        return []
    points = accumulator.Tensors(tag)
    return [(point.step, tensor_util.make_ndarray(point.tensor_proto).item()) for point in points]


def scalars_for_programs(tag: str) -> list[tuple[int, float]]:
    """What programs read with TensorBoard's library."""
    accumulator = event_accumulator.EventAccumulator(str(tensorboard.folder_path(JOB)))
    accumulator.Reload()
    return [(point.step, point.value) for point in accumulator.Scalars(tag)]


def test_every_kind_of_point_is_there_under_its_group():
    worker = Worker()
    worker.write(type="heartbeat", step=0, cpu_percent=50.0, rss_bytes=1024)
    worker.write(type="eval", step=0, values={"wer": 0.9}, base=True)
    worker.step(1, 2.5)
    worker.step(300, None)
    worker.write(type="eval", step=300, values={"wer": 0.25, "loss": 1.5})
    take_in(worker)
    assert scalars("train/grad_norm") == [(1, 1.0), (300, 1.0)]
    (first, lost) = scalars("train/loss")
    assert first == (1, 2.5)
    assert lost[0] == 300
    assert math.isnan(lost[1])
    assert scalars("eval/wer") == [(300, 0.25)]
    assert scalars("eval/loss") == [(300, 1.5)]
    assert scalars("system/cpu_percent") == [(0, 50.0)]


def test_events_that_come_again_are_there_once():
    worker = Worker()
    for step in range(1, 6):
        worker.step(step, float(step))
    file = take_in(worker)
    take_in(worker, file=file)
    take_in(worker)  # a server that was started anew, and reads from an older place
    assert scalars("train/loss") == [(step, float(step)) for step in range(1, 6)]


def test_what_a_killed_server_had_half_written_is_written_once():
    worker = Worker()
    worker.step(1, 1.0)
    take_in(worker)
    path = tensorboard.file_path(JOB, 1)
    whole = path.read_bytes()
    worker.step(2, 2.0)
    take_in(worker)
    both = path.read_bytes()
    position = path.with_name(".attempt-1.position")
    for n_bytes in range(len(whole), len(both) + 1, 7):
        path.write_bytes(whole)
        position.unlink()
        reader = EventReader(worker.path)
        first, _ = reader.read()
        file = EventFile(JOB, 1)
        file.take([first], offset=reader.offset)
        path.write_bytes(both[:n_bytes])  # killed anywhere in the second append
        take_in(worker)
        assert path.read_bytes() == both


@pytest.mark.parametrize("lost", ["file", "position", "both"])
def test_a_lost_file_is_made_again_from_the_events(lost):
    worker = Worker()
    for step in range(1, 4):
        worker.step(step, 1.0)
    take_in(worker)
    path = tensorboard.file_path(JOB, 1)
    if lost != "position":
        path.unlink()
    if lost != "file":
        path.with_name(".attempt-1.position").unlink()
    worker.step(4, 1.0)
    reader = EventReader(worker.path, last_seq=3)
    EventFile(JOB, 1).take(reader.read(), offset=reader.offset)
    assert [step for step, _ in scalars("train/loss")] == [1, 2, 3, 4]


def test_steps_taken_again_by_a_resumed_attempt_replace_the_old_ones():
    worker = Worker()
    for step in range(1, 7):
        worker.step(step, 1.0)
    take_in(worker)
    resumed = Worker(attempt=2)
    resumed.write(type="heartbeat", step=0, cpu_percent=1.0)
    for step in range(4, 9):
        resumed.step(step, 2.0)
    take_in(resumed, attempt=2)
    take_in(resumed, attempt=2)
    expected = [*((s, 1.0) for s in (1, 2, 3)), *((s, 2.0) for s in range(4, 9))]
    assert scalars("train/loss") == scalars_for_programs("train/loss") == expected
    assert len(tensorboard.list_files(JOB)) == 2


def test_a_full_disk_costs_nothing_but_time(monkeypatch):
    worker = Worker()
    worker.step(1, 1.0)
    file = take_in(worker)
    written = Path.open

    def full(self: Path, *args, **kwargs):
        if "tfevents" in self.name:
            raise OSError(28, "No space left on device")
        return written(self, *args, **kwargs)

    worker.step(2, 2.0)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        take_in(worker, file=file)
        file.finish(offset=worker.path.stat().st_size)
    worker.step(3, 3.0)
    take_in(worker, file=file)
    assert [step for step, _ in scalars("train/loss")] == [1, 2, 3]


def test_an_attempt_far_behind_is_caught_up_by_its_end():
    worker = Worker()
    padding = "x" * 4000
    with worker.path.open("w") as lines:
        for seq in range(1, 1601):
            event = {"v": 1, "seq": seq, "ts": 1.0, "type": "metric", "step": seq, "values": {"loss": 1.0}}
            lines.write(json.dumps(event | {"padding": padding}) + "\n")
    size = worker.path.stat().st_size
    file = EventFile(JOB, 1)
    file.take([], offset=size)
    n_at_once = len(scalars("train/loss"))
    file.finish(offset=size)
    assert 0 < n_at_once < 1600
    assert len(scalars("train/loss")) == 1600


def test_numbers_beyond_32_bits_do_not_break_the_file():
    worker = Worker()
    worker.step(2**40, 1e308)
    worker.step(2**41, float("nan"))
    take_in(worker)
    (step, value), (_, lost) = scalars("train/loss")
    assert math.isnan(lost)
    assert step == 2**40
    assert value == pytest.approx(3.4028235e38)
