"""What a job really took is told from its heartbeats, its result and its files."""

import json
from pathlib import Path
from typing import Any

from qlora_studio.contracts.enums import ExitReason
from qlora_studio.contracts.events import HeartbeatEvent, ResultFile
from qlora_studio.jobs import actuals
from qlora_studio.storage import layout


def _beat(**values: Any) -> HeartbeatEvent:
    return HeartbeatEvent(seq=1, ts=0, step=1, **values)


def _write_events(job_id: str, attempt: int, times: list[float], end: str = "") -> None:
    folder = layout.attempt_path(job_id, attempt)
    folder.mkdir(parents=True)
    events = [{"v": 1, "seq": n, "ts": ts, "type": "heartbeat", "step": n} for n, ts in enumerate(times, 1)]
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events) + end)


def test_peaks_only_grow_and_what_is_not_told_changes_nothing() -> None:
    actual: dict[str, Any] = {}
    for beat in (_beat(peak_rss_bytes=5), _beat(peak_rss_bytes=3, peak_gpu_bytes=7), _beat()):
        actual = actuals.with_peaks(actual, beat)
    assert actual == {"peak_rss_bytes": 5, "peak_gpu_bytes": 7}


def test_the_end_adds_disk_and_the_time_of_all_attempts(data_folder: Path) -> None:
    _write_events("job_1", 1, [100.0, 110.0, 130.5], end='{"v": 1, "seq": 4, "ts": 9')  # killed in a line
    _write_events("job_1", 2, [500.0, 512.25])
    (layout.run_path("job_1") / "checkpoints").mkdir()
    (layout.run_path("job_1") / "checkpoints" / "a").write_bytes(b"x" * 10_000)
    result = ResultFile(reason=ExitReason.OK, step=3, peak_rss_bytes=40)
    found = actuals.at_end("job_1", 2, result)
    events = sum(path.stat().st_size for path in layout.run_path("job_1").rglob("events.jsonl"))
    assert found == {"seconds": 42.7, "disk_bytes": 10_000 + events, "peak_rss_bytes": 40}
    assert actuals.merged({"peak_rss_bytes": 50, "peak_gpu_bytes": 2}, found) == {
        "seconds": 42.7, "disk_bytes": 10_000 + events, "peak_rss_bytes": 50, "peak_gpu_bytes": 2,
    }  # fmt: skip


def test_a_job_that_never_began_took_nothing(data_folder: Path) -> None:
    assert actuals.at_end("job_none", 1, None) == {"seconds": 0.0, "disk_bytes": 0}
    (layout.attempt_path("job_2", 1)).mkdir(parents=True)
    (layout.attempt_path("job_2", 1) / "events.jsonl").write_text("")
    assert actuals.at_end("job_2", 1, None)["seconds"] == 0
