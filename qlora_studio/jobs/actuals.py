"""What a job really took, beside its forecast: memory at the peak, disk, and time in its process."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qlora_studio.contracts.events import ResultFile
from qlora_studio.jobs.events import parse_line
from qlora_studio.storage import layout

PEAKS = ("peak_rss_bytes", "peak_gpu_bytes")
_TAIL_BYTES = 1 << 16
_MAX_LINE_BYTES = 1 << 16


def with_peaks(actual: Mapping[str, Any], found: Any) -> dict[str, Any]:
    """Return `actual` with the peaks of a heartbeat or a result, where they are higher."""
    peaks = {key: getattr(found, key) for key in PEAKS if getattr(found, key) is not None}
    return {**actual, **{key: max(value, actual.get(key) or 0) for key, value in peaks.items()}}


def at_end(job_id: str, attempt: int, result: ResultFile | None) -> dict[str, Any]:
    """Measure what an ended job took.

    Returns:
        `disk_bytes` of its run folder, `seconds` in all of its attempts, and the peaks of the result.
    """
    measured = {
        "disk_bytes": _size(layout.run_path(job_id)),
        "seconds": sum(_duration_s(layout.attempt_path(job_id, n)) for n in range(1, attempt + 1)),
    }
    return with_peaks(measured, result) if result is not None else measured


def merged(before: Mapping[str, Any], at_end: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was known while the job ran together with what its end tells."""
    peaks = {key: max(before.get(key) or 0, at_end.get(key) or 0) for key in PEAKS}
    return {**before, **at_end, **{key: value for key, value in peaks.items() if value}}


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size if not path.is_dir() else 0
        except OSError:  # gone in the meantime
            continue
    return total


def _duration_s(attempt_path: Path) -> float:
    """Seconds from the first to the last event; 0 for an attempt that never began."""
    try:
        with (attempt_path / "events.jsonl").open("rb") as file:
            first = parse_line(file.readline(_MAX_LINE_BYTES))
            end = file.seek(0, 2)
            file.seek(max(0, end - _TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return 0.0
    last = next((event for event in map(parse_line, reversed(lines)) if event is not None), first)
    return round(max(0.0, last.ts - first.ts), 1) if first and last else 0.0
