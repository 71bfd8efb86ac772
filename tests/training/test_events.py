"""The event stream: whole lines, right fields, nothing lost on a full disk."""

import errno
import json
import math
import os
import threading
import time
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from qlora_studio.contracts.events import EVENT_TYPES, Event
from qlora_studio.training.events import EventWriter


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_type_reads_back_through_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    fields = {
        "started": {"pid": 1, "device": "cpu", "versions": {"torch": "2"}},
        "phase": {"name": "model", "label": "Loading the model"},
        "progress": {"step": 1, "total_steps": 2, "epoch": 0.5, "eta_s": 1.0},
        "metric": {"step": 1, "values": {"loss": 1.5}},
        "eval": {"step": 1, "values": {"wer": 0.5}, "base": True},
        "sample": {"step": 1, "clip_id": "c", "reference": "ä\n", "base": None, "now": '"', "error": 0.0},
        "probe": {"status": "passed", "sentence": "Fine.", "took_s": 1.0},
        "checkpoint": {"step": 1, "name": "step-1", "size_bytes": 3},
        "heartbeat": {"step": 1, "cpu_percent": 3.0},
        "warning": {"code": "x", "message": "y"},
        "error": {"reason": "bad_data", "message": "z"},
        "finished": {"reason": "ok"},
    }
    assert fields.keys() == EVENT_TYPES
    with EventWriter(path) as events:
        for type_, values in fields.items():
            events.emit(type_, **values)
    adapter = TypeAdapter(Event)
    parsed = [adapter.validate_json(line) for line in path.read_bytes().splitlines()]
    assert [event.seq for event in parsed] == list(range(1, len(fields) + 1))
    assert [event.type for event in parsed] == list(fields)


def test_not_a_number_becomes_null(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    values = {"loss": math.nan, "grad_norm": math.inf, "rate": 1e-7, "none": None, 'odd "key"': -0.0}
    with EventWriter(path) as events:
        events.metric(3, values)
        events.emit("eval", step=3, values=values)
    expected = {"loss": None, "grad_norm": None, "rate": 1e-7, "none": None, 'odd "key"': -0.0}
    assert [line["values"] for line in _lines(path)] == [expected, expected]


def test_lines_of_several_threads_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventWriter(path) as events:
        threads = [
            threading.Thread(target=lambda: [events.metric(step, {"loss": 1.0}) for step in range(300)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [line["seq"] for line in _lines(path)] == list(range(1, 1201))


def test_a_line_is_readable_at_once(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventWriter(path) as events:
        events.metric(1, {"loss": 1.0})
        assert len(_lines(path)) == 1


@pytest.mark.slow
def test_a_line_is_synced_within_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[float] = []
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(time.monotonic()))
    with EventWriter(tmp_path / "events.jsonl") as events:
        written = time.monotonic()
        events.metric(1, {"loss": 1.0})
        while not synced and time.monotonic() < written + 5:
            time.sleep(0.02)
        assert synced
        assert synced[0] - written < 1


def test_a_full_disk_delays_lines_and_loses_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    real_write, room = os.write, [30]

    def write(descriptor: int, data: bytes) -> int:
        if room[0] <= 0:
            raise OSError(errno.ENOSPC, "full")
        written = real_write(descriptor, data[: room[0]])
        room[0] -= written
        return written

    with EventWriter(path) as events:
        monkeypatch.setattr(os, "write", write)
        for step in range(5):
            events.metric(step, {"loss": 1.0})
        assert path.stat().st_size == 30
        room[0] = 10**6
        events.metric(5, {"loss": 1.0})
    assert [line["step"] for line in _lines(path)] == [0, 1, 2, 3, 4, 5]


def test_numbering_goes_on_in_an_existing_file(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for _ in range(2):
        with EventWriter(path) as events:
            events.emit("finished", reason="ok")
    assert [line["seq"] for line in _lines(path)] == [1, 2]
